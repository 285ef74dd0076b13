"""A random part of a large JPEG may be made of the image at a fraction of its size, if its step permits that."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image
from support.images import picture
from support.imaging.jpeg_parts import EXTENSION

from penstock.protocol.errors import ItemError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.operation import Window
from penstock.protocol.spec.spec import Stream
from penstock.sources.base import list_source
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.cache.prefix import fixed_steps
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.operations.geometry.moves import Crop, Scale
from penstock.worker.imaging.partial_jpeg import Box
from penstock.worker.imaging.pipeline import Outcome, Pipeline
from penstock.worker.imaging.program import Programmer

HEIGHT, WIDTH = 803, 1005
CROP: dict[str, Any] = {"op": "random_resized_crop", "size": [50, 60], "scale": [0.3, 0.6]}


def jpeg(**settings: Any) -> bytes:
    """Return a photo whose sides are no multiples of eight."""
    out = io.BytesIO()
    Image.fromarray(picture(3, 1, HEIGHT, WIDTH)).save(out, "JPEG", quality=88, **settings)
    return out.getvalue()


def made(root: Path, steps: list[dict[str, Any]], data: bytes, patches: int = 1) -> Outcome:
    """Return the samples of one file."""
    (root / "a.jpg").write_bytes(data)
    source = {"kind": "directory", "root": "photos"}
    stream = Stream.model_validate({"source": source, "transform": {"steps": steps}, "patches": patches})
    plan = StreamPlan(name="train", seed=5, settings=stream, items=9, classes=("a",), fingerprint="f")
    task = Task(
        key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=1, items=(Item(item=4, path="a.jpg", label=0),)
    )
    return Pipeline(plan, {"photos": root}).run(task)


def program(window: Window, size: tuple[int, int], *, dct_scaling: bool) -> Any:
    """Return the program of a part that is resized."""
    programmer = Programmer((HEIGHT, WIDTH), 10**7)
    programmer.add([Crop(window), Scale(size, "bilinear", dct_scaling)])
    return programmer.program()


@pytest.mark.parametrize("extension", [EXTENSION, None], ids=["extension", "top rows"])
@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_rows": 2}], ids=str)
@pytest.mark.parametrize("window", [Window(3, 5, 400, 480), Window(403, 525, 400, 480), Window(0, 0, HEIGHT, WIDTH)])
def test_a_part_is_that_of_the_image_as_libjpeg_reduces_it(
    extension: object, reduction: int, options: dict[str, Any], window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow's `draft` reduces the whole; the part is resized from the same fraction of a pixel to the other."""
    monkeypatch.setattr(partial_jpeg, "_EXTENSION", extension)
    data, decoder = jpeg(**options), Decoder("rgb")
    assert (HEIGHT, WIDTH) == decoder.size(data)
    pixels = decoder.decode_parts(data, [Box(window.y, window.x, window.height, window.width)], reduction)
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (WIDTH // reduction, HEIGHT // reduction))
    whole = np.asarray(image)
    assert whole.shape == pixels.shape
    left, top = window.x // reduction, window.y // reduction
    part = whole[top : -(-(window.y + window.height) // reduction), left : -(-(window.x + window.width) // reduction)]
    ends = (window.x + window.width) / reduction - left, (window.y + window.height) / reduction - top
    box = (window.x / reduction - left, window.y / reduction - top, *ends)
    resized = Image.fromarray(part).resize((60, 50), Image.Resampling.BILINEAR, box)
    found = np.empty((50, 60, 3), np.uint8)
    program(window, (50, 60), dct_scaling=True).write(pixels, found, reduction)
    assert np.array_equal(np.asarray(resized), found)


@pytest.mark.parametrize(
    ("size", "expected"), [((100, 120), 4), ((50, 60), 8), ((10, 10), 8), ((101, 120), 2), ((200, 241), 1)]
)
def test_no_side_becomes_shorter_than_the_result(size: tuple[int, int], expected: int) -> None:
    """The greatest reduction of 1, 2, 4 and 8 is taken; without the step's consent, or after a mirroring, none."""
    window = Window(1, 2, 400, 480)
    assert expected == program(window, size, dct_scaling=True).reduction
    assert 1 == program(window, size, dct_scaling=False).reduction


@pytest.mark.parametrize("patches", [1, 3])
def test_samples_are_nearly_those_of_the_whole_image(patches: int, tmp_path: Path) -> None:
    """With the option the same parts are taken, whose levels differ by little, and with whatever follows."""
    following: list[dict[str, Any]] = [{"op": "flip", "p": 0.5}, {"op": "color_jitter", "brightness": 0.2}]
    exact, scaled = (
        made(tmp_path, [CROP | {"dct_scaling": scaling}, *following], jpeg(), patches).arrays[0].astype(np.int16)
        for scaling in (False, True)
    )
    assert not np.array_equal(exact, scaled)
    assert np.abs(exact - scaled).mean() < 3


@pytest.mark.parametrize("damage", ["truncated", "progressive", "turned", "small"])
def test_other_files_are_made_as_without_the_option(damage: str, tmp_path: Path) -> None:
    """A damaged file fails alike; what cannot be decoded in part, or is stored turned, is not reduced."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = {
        "truncated": lambda: jpeg()[:-3000],
        "progressive": lambda: jpeg(progressive=True),
        "turned": lambda: jpeg(exif=exif),
        "small": _small,
    }[damage]()
    found = [made(tmp_path, [CROP | {"dct_scaling": scaling}], data) for scaling in (False, True)]
    if damage == "turned":  # only where orientation is asked for
        decoder = Decoder("rgb", exif_orientation=True)
        assert (WIDTH, HEIGHT) == decoder.size(data)
        assert (WIDTH, HEIGHT, 3) == decoder.decode_parts(data, [Box(0, 0, 500, 500)], 8).shape
        return
    assert found[0].failures == found[1].failures
    assert found[0].arrays[0].tobytes() == found[1].arrays[0].tobytes()
    assert bool(found[0].failures) == (damage == "truncated")


def _small() -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(3, 1, 400, 500)).save(out, "JPEG")
    return out.getvalue()


def test_nothing_is_cached_that_depends_on_what_is_drawn() -> None:
    """Fixed steps before the part are kept only if the image is decoded at one size, also inside of a choice."""
    crop = {"op": "center_crop", "size": [600, 600]}

    def kept(step: dict[str, Any]) -> int:
        source = {"kind": "directory", "root": "photos"}
        return fixed_steps(Stream.model_validate({"source": source, "transform": {"steps": [crop, step]}}).transform)

    assert [1, 0] == [kept(CROP), kept(CROP | {"dct_scaling": True})]
    assert [1, 0] == [kept({"op": "one_of", "steps": [CROP | {"dct_scaling": scaling}]}) for scaling in (False, True)]
    for scaling in (False, True):
        views = {name: {"steps": [CROP | {"dct_scaling": scaling}]} for name in ("one", "two")}
        transform = {"steps": [crop], "views": views}
        stream = Stream.model_validate({"source": {"kind": "directory", "root": "photos"}, "transform": transform})
        assert int(not scaling) == fixed_steps(stream.transform)


def test_a_lack_of_memory_makes_no_other_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding all of the image instead would give other bytes on a host that is short of memory for a moment."""

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    decoder, data = Decoder("rgb"), jpeg()
    assert (HEIGHT, WIDTH) == decoder.size(data)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    monkeypatch.setattr(partial_jpeg, "_EXTENSION", None)
    with pytest.raises(ItemError, match="not enough memory"):
        decoder.decode_parts(data, [Box(0, 0, 500, 500)], 8)


def test_boxes_follow_the_part_of_the_whole_image(tmp_path: Path) -> None:
    """They do not depend on the size at which the image is decoded."""
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "list.jsonl").write_text('{"path": "a.jpg", "label": "x", "boxes": [[300, 200, 700.5, 600]]}\n')
    found = []
    for scaling in (False, True):
        stream = Stream.model_validate(
            {
                "source": {"kind": "manifest", "root": "photos", "path": "list.jsonl"},
                "transform": {"steps": [CROP | {"dct_scaling": scaling}]},
                "targets": {"boxes": {"kind": "boxes", "column": "boxes"}},
                "patches": 4,
            }
        )
        listing = list_source(stream.source, {"photos": str(tmp_path)}, stream.target_columns)
        plan = StreamPlan(name="train", seed=5, settings=stream, items=1, classes=("x",), fingerprint="f")
        task = Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=1, items=(listing.item(0),))
        outcome = Pipeline(plan, {"photos": tmp_path}).run(task)
        found.append({field.name: array for field, array in zip(plan.schema, outcome.arrays, strict=True)})
    assert found[0]["boxes"].any()
    assert np.array_equal(found[0]["boxes"], found[1]["boxes"])
    assert not np.array_equal(found[0]["image"], found[1]["image"])
