"""The pipeline where it decodes less than whole images: the same samples, in less time, by a rule that hosts share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import Pixels, encode, picture

from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Transform
from penstock.protocol.wire import Array
from penstock.sources.directory import DirectorySource
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.partial_jpeg import Box
from penstock.worker.imaging.pipeline import Outcome, Pipeline

FILES = ("plain.jpg", "turned.jpg", "restarts.jpg", "progressive.jpg", "small.jpg", "picture.png")
TASK = Task(
    key=TaskKey(stream="train", ordinal=2),
    attempt=0,
    epoch=3,
    items=tuple(Item(item=10 * place, path=path, label=0) for place, path in enumerate(FILES)),
)
MANIPULATIONS = {"preset": "ieee-sp-cup-2018"}
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "centre": ({"patch": {"kind": "center", "height": 64, "width": 80}}, 1),
    "random": ({"patch": {"kind": "random", "height": 64, "width": 80}}, 4),
    "grid": ({"patch": {"kind": "grid", "height": 64, "width": 80, "rows": 2, "columns": 2}}, 4),
    "scattered": ({"patch": {"kind": "scattered", "height": 32, "width": 32}}, 3),
    "manipulated": (
        {"patch": {"kind": "random", "height": 64, "width": 80}, "manipulations": MANIPULATIONS, "color": "gray"},
        10,
    ),
    "too small": ({"patch": {"kind": "center", "height": 700, "width": 80, "too_small": "pad"}}, 1),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one image of each kind."""
    folder, exif = tmp_path_factory.mktemp("photos"), Image.Exif()
    exif[0x0112] = 6
    pixels = picture(5, 1, 600, 800)
    for name, data in zip(
        FILES,
        (
            encode(pixels),
            encode(pixels, exif=exif),
            encode(pixels, restart_marker_blocks=25),
            encode(pixels, progressive=True),
            encode(picture(5, 1, 200, 240)),
            encode(pixels, "PNG"),
        ),
        strict=True,
    ):
        (folder / name).write_bytes(data)
    return folder


def pipeline(root: Path, transform: dict[str, Any], patches: int = 1, **settings: Any) -> Pipeline:
    """Return a pipeline over a folder."""
    stream = Stream(
        source=DirectorySource(kind="directory", root="photos"),
        transform=Transform.model_validate(transform | {"exif_orientation": True} | settings),
        patches=patches,
    )
    plan = StreamPlan(name="train", seed=3, settings=stream, items=100, classes=("a",), fingerprint="f")
    return Pipeline(plan, {"photos": root})


def same(expected: Outcome, found: Outcome) -> bool:
    """Tell whether two outcomes hold the same failures and bytes."""
    arrays: zip[tuple[Array, Array]] = zip(expected.arrays, found.arrays, strict=True)
    return expected.failures == found.failures and all(np.array_equal(one, other) for one, other in arrays)


class Spoiling:
    """A decoder's `decode_parts` with noise wherever no box is: nothing outside may matter."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._decode_parts = pipeline._decoder.decode_parts
        self.calls = 0

    def __call__(self, data: bytes, boxes: Sequence[Box], reduction: int = 1) -> Pixels:
        """Spoil what the decoder gave, which is not reduced here."""
        assert 1 == reduction
        self.calls += 1
        pixels = self._decode_parts(data, boxes)
        spoiled = np.random.default_rng(self.calls).integers(0, 256, pixels.shape, np.uint8)
        for box in boxes:
            spoiled[box.slices] = pixels[box.slices]
        return spoiled


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("extension", [partial_jpeg.load_extension(), None], ids=["extension", "without it"])
def test_samples_are_those_of_whole_images(
    case: str, extension: object, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of patch and manipulation needs no more than what it asks for, with and without the extension."""
    monkeypatch.setattr(partial_jpeg, "_EXTENSION", extension)
    transform, patches = CASES[case]
    whole = pipeline(root, transform, patches, partial_decoding=False)
    parts = pipeline(root, transform, patches)
    spoiling = Spoiling(parts)
    monkeypatch.setattr(parts._decoder, "decode_parts", spoiling)
    assert same(whole.run(TASK), parts.run(TASK))
    assert (0 if case == "too small" else 3) <= spoiling.calls


def test_damage_below_the_patches_is_seen_only_if_the_spec_says_so(root: Path, tmp_path: Path) -> None:
    """`partial_decoding = false` is for those who would rather lose the file."""
    data = (root / "plain.jpg").read_bytes()
    at = len(data) * 9 // 10
    (tmp_path / "broken.jpg").write_bytes(data[:at] + data[at + 500 :])
    task = Task(
        key=TaskKey(stream="train", ordinal=2), attempt=0, epoch=0, items=(Item(item=0, path="broken.jpg", label=0),)
    )
    transform = CASES["centre"][0]
    assert 0 == len(pipeline(tmp_path, transform).run(task).failures)
    [failure] = pipeline(tmp_path, transform, partial_decoding=False).run(task).failures
    assert "pixels are lost" in failure.reason


def test_a_resize_may_start_from_a_scaled_image(root: Path) -> None:
    """With `dct_scaling` samples differ by little, and only those of JPEGs much larger than the target."""
    size: dict[str, Any] = {"height": 150, "width": 150, "filter": "area"}
    [plain] = [array for array in pipeline(root, {"resize": size}).run(TASK).arrays if array.ndim == 4]
    [scaled] = [
        array for array in pipeline(root, {"resize": size | {"dct_scaling": True}}).run(TASK).arrays if array.ndim == 4
    ]
    differences = np.abs(plain.astype(int) - scaled).reshape(len(FILES), -1)
    assert [True, True, True, True, False, False] == [bool(each.any()) for each in differences]
    assert differences.mean() < 4.0
