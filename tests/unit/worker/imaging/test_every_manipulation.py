"""Samples under every manipulation: each field is, byte for byte, what the stream of one manipulation shows."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from support.images import encode, picture
from support.transforms import install, write_package

from penstock.commands.preview import main as preview
from penstock.protocol import wire
from penstock.protocol.fingerprint import fingerprint
from penstock.protocol.messages import Task, TaskKey
from penstock.protocol.philox import uniforms
from penstock.protocol.plan import FieldSchema, StreamPlan, schema_of
from penstock.protocol.spec.manipulation import Manipulations
from penstock.protocol.spec.spec import Spec, parse_spec
from penstock.protocol.wire import Array
from penstock.sink.core.block import Slice
from penstock.sink.core.reader import join
from penstock.sources.base import Loaded
from penstock.trainer.adapters.normalize import batch_normalizer
from penstock.worker.imaging.patches import Cutter
from penstock.worker.imaging.pipeline import Outcome, Pipeline

CUP: dict[str, Any] = {"preset": "ieee-sp-cup-2018"}
TURNED: dict[str, Any] = CUP | {"choices": [{"kind": "rot90", "turns": 3}, {"kind": "gamma", "value": 0.5}]}
PATCH: dict[str, Any] = {"kind": "random", "height": 20, "width": 24}
SEED, EPOCH = 11, 3
#: Fields that stand behind the images.
IDENTITY = ["label", "item", "patch"]


def spec_of(transform: dict[str, Any], patches: int = 1, root: str | Path = "/photos") -> Spec:
    """Return a spec with one stream."""
    stream = {"source": {"kind": "directory", "root": "photos"}, "transform": transform, "patches": patches}
    return parse_spec({"seed": SEED, "roots": {"photos": str(root)}, "streams": {"train": stream}})


def plan_of(transform: dict[str, Any], patches: int = 1) -> StreamPlan:
    """Return the plan of such a stream."""
    settings = spec_of(transform, patches).streams["train"]
    return StreamPlan(name="train", seed=SEED, settings=settings, items=9, classes=("cat", "dog"), fingerprint="f")


def every(transform: dict[str, Any]) -> dict[str, Any]:
    """Return a transform that shows all of its manipulations, not one of them."""
    return transform | {"manipulations": transform["manipulations"] | {"every": True}}


def make(transform: dict[str, Any], patches: int, contents: list[Any]) -> tuple[dict[str, Array], Outcome]:
    """Return what a worker makes of images, files and failures: the fields by name, and the outcome."""
    plan = plan_of(transform, patches)
    items = np.arange(len(contents), dtype=np.int64) * 1000 + 7
    loaded = Loaded(items, (items % 2).astype(np.int32), [f"{item}.jpg" for item in items.tolist()], contents)
    task = Task(key=TaskKey(stream="train", ordinal=5), attempt=0, epoch=EPOCH, items=())
    outcome = Pipeline(plan, {"photos": "/nowhere"}).make(task, loaded)
    names = [field.name for field in plan.schema]
    return dict(zip(names, outcome.arrays, strict=True)), outcome


@settings(max_examples=60)
@given(
    st.sampled_from(["center", "random", "grid", "scattered"]),
    st.sampled_from([CUP, TURNED]),
    st.lists(st.tuples(st.integers(20, 150), st.integers(20, 150)), min_size=1, max_size=3),
    st.sampled_from(["quarantine", "pad", "resize"]),
    st.sampled_from(["moved", "still"]),
    st.sampled_from(["rgb", "gray"]),
)
@example("random", TURNED, [(150, 150), (90, 130)], "quarantine", "moved", "rgb")
@example("scattered", TURNED, [(150, 150), (30, 130)], "quarantine", "moved", "gray")
def test_each_field_is_what_the_stream_of_one_manipulation_shows(
    kind: str, mix: dict[str, Any], sizes: list[tuple[int, int]], too_small: str, moved: str, color: str
) -> None:
    """Same seed, item and patch: `Cutter.cuts` of that manipulation, and, moved, what a stream that chooses shows."""
    patches = 1 if kind == "center" else 4
    patch = PATCH | {"kind": kind, "too_small": too_small} | ({"rows": 2, "columns": 2} if kind == "grid" else {})
    changes = {"rotation_range": 30.0, "channel_shift_range": 9.0, "horizontal_flip": True, "vertical_flip": True}
    transform = {"patch": patch, "manipulations": mix, "color": color, "augment": changes if moved == "moved" else {}}
    contents = [picture(number, 1, *size)[..., : 3 if color == "rgb" else 1] for number, size in enumerate(sizes)]
    found, outcome = make(every(transform), patches, contents)
    chosen, other = make(transform, patches, contents)
    names = Manipulations.model_validate(mix).names
    assert [*names, *IDENTITY] == list(found)
    assert [failure.reason for failure in other.failures] == [failure.reason for failure in outcome.failures]
    for name in IDENTITY:
        assert np.array_equal(chosen[name], found[name])
    for row, index in enumerate(chosen["manipulation"].tolist()):
        assert np.array_equal(chosen["image"][row], found[names[index]][row])
    if moved == "still":
        cutter = Cutter(spec_of(transform, patches).streams["train"], SEED)
        for row, item in enumerate(found["item"][::patches].tolist()):
            draws = uniforms(SEED, EPOCH, np.array([item]), patches, cutter.columns)[0]
            for index, name in enumerate(names):
                expected = [cut.copy() for cut, _ in cutter.cuts(contents[item // 1000], EPOCH, item, draws, index)]
                assert np.array_equal(expected, found[name][row * patches : (row + 1) * patches]), name


def test_a_large_photo_is_decoded_where_any_manipulation_looks() -> None:
    """All parts at once, with the same bytes as from the whole photo."""
    photo = encode(picture(3, 0, 900, 1100), quality=90)
    transform = every({"patch": PATCH, "manipulations": CUP})
    whole, _ = make(transform | {"partial_decoding": False}, 2, [photo])
    parts, _ = make(transform, 2, [photo])
    sources = Cutter(spec_of(transform, 2).streams["train"], SEED).sources((900, 1100), EPOCH, 7, np.zeros((2, 3)))
    assert sources is not None
    assert 2 * 9 == len(sources)
    for name, array in whole.items():
        assert np.array_equal(array, parts[name]), name


def test_larger_regions_of_the_image_hold_the_smaller_ones() -> None:
    """The field's patch of half the scale shows all that the unchanged one shows; that one, all of twice the scale."""
    y, x = np.mgrid[:240, :240].astype(np.uint8)
    pixels = np.stack([y, x, y], axis=2)
    factors = [0.5, 0.8, 1.5, 2.0]
    mix = {"choices": [{"kind": "resize", "value": factor} for factor in factors]}
    found, _ = make(every({"patch": PATCH, "manipulations": mix}), 8, [pixels])
    order = ["bicubic05", "bicubic08", "img", "bicubic15", "bicubic20"]
    for axis in (0, 1):
        ends = [(found[name][..., axis].min((1, 2)), found[name][..., axis].max((1, 2))) for name in order]
        for (low, high), (inner_low, inner_high) in pairwise(ends):
            assert (low <= inner_low + 2).all()  # pixels are read, and levels rounded
            assert (high + 2 >= inner_high).all()


@pytest.mark.parametrize("normalize", [{"samplewise_std_normalization": True, "data_format": "channels_first"}])
def test_every_field_is_normalised_by_itself_here_or_there(normalize: dict[str, Any]) -> None:
    """A worker's floats are what the trainer makes of the levels of each field."""
    transform = every({"patch": PATCH, "manipulations": CUP})
    contents = [picture(number, 1, 90, 100) for number in range(3)]
    levels, _ = make(transform, 2, contents)
    floats, _ = make(transform | {"normalize": normalize | {"where": "worker"}}, 2, contents)
    normalizer = batch_normalizer(plan_of(transform | {"normalize": normalize | {"where": "trainer"}}))
    assert list(levels) == list(floats)
    for name in Manipulations.model_validate(CUP).names:
        assert ("float32", (6, 3, 20, 24)) == (floats[name].dtype.name, floats[name].shape)
        assert np.array_equal(normalizer(levels[name]), floats[name])


def test_an_image_that_is_too_small_for_any_manipulation_is_no_sample() -> None:
    """Half the scale needs nearly twice the patch; the other items' samples stand together."""
    contents = [picture(1, 0, 60, 60), picture(2, 0, 38, 60), picture(3, 0, 39, 47)]
    found, outcome = make(every({"patch": PATCH, "manipulations": CUP}), 2, contents)
    assert [7, 7, 2007, 2007] == found["item"].tolist()
    [failure] = outcome.failures
    assert 1 == failure.offset
    assert "less than the 39 × 47 that the manipulations need" in failure.reason
    assert {4} == {len(array) for array in found.values()}


def test_a_custom_transform_gets_all_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under their names, as every other field of a sample."""
    monkeypatch.syspath_prepend(install(write_package(tmp_path / "source"), tmp_path / "target"))
    transform = every({"patch": PATCH, "manipulations": {"choices": [{"kind": "jpeg", "value": 9}]}})
    contents = [picture(1, 0, 60, 60)]
    before, _ = make(transform, 1, contents)
    after, outcome = make(transform | {"custom": [{"name": "swap"}]}, 1, contents)
    assert () == outcome.failures
    assert np.array_equal(before["img"], after["qf9"])
    assert np.array_equal(before["qf9"], after["img"])


# the spec


def test_the_schema_has_an_image_for_each_name() -> None:
    """In place of `image` and `manipulation`, by index; each with the type and axes of an image."""
    transform = every({"patch": PATCH, "manipulations": TURNED, "color": "gray"})
    schema = schema_of(spec_of(transform).streams["train"])
    assert [*Manipulations.model_validate(TURNED).names, *IDENTITY] == [field.name for field in schema]
    assert {("uint8", (20, 24, 1), "hwc", "gray")} == {
        (field.dtype, field.shape, field.axes, field.channels) for field in schema[:-3]
    }
    assert 11 * 20 * 24 + 4 + 8 + 4 == plan_of(transform).sample_bytes


def test_it_is_another_stream_than_one_that_chooses() -> None:
    """Its samples have other fields, so its positions are refused by the other."""
    transform = {"patch": PATCH, "manipulations": CUP}
    one, other = spec_of(transform), spec_of(every(transform))
    assert fingerprint(one, one.streams["train"], "l") != fingerprint(other, other.streams["train"], "l")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"unchanged_weight": 2.0}, "shows all and chooses none: leave out unchanged_weight = 2"),
        ({"choices": [{"kind": "rot90", "weight": 0.5}]}, "leave out weight of rot90 = 0.5"),
        ({"preset": None}, "no manipulation at all"),
    ],
)
def test_weights_make_no_sense_where_nothing_is_chosen(fields: dict[str, Any], words: str) -> None:
    """They would be ignored in silence."""
    with pytest.raises(ValidationError, match=words):
        Manipulations.model_validate(CUP | {"every": True} | fields)


def test_all_manipulations_of_a_stream_that_chooses_can_be_shown() -> None:
    """The same names, whatever the weights: a file of them is written from a spec that was made to train from."""
    mix = Manipulations.model_validate(CUP | {"unchanged_weight": 8.0, "choices": [{"kind": "rot90", "weight": 0.5}]})
    shown = mix.all_shown()
    assert (True, mix.names) == (shown.every, shown.names)
    assert shown == shown.all_shown() == Manipulations.model_validate_json(shown.model_dump_json())


def test_it_survives_its_way_through_a_message() -> None:
    """The welcome carries the spec as JSON, with every field in it."""
    mix = Manipulations.model_validate(TURNED | {"every": True})
    assert mix == Manipulations.model_validate_json(mix.model_dump_json())


# what passes samples on


def test_a_batch_of_many_fields_has_no_more_frames_than_a_message_takes() -> None:
    """64 slices of 40 fields are joined; trainers would drop them as they lie."""
    schema = [FieldSchema(name=f"f{number}", dtype="uint8", shape=(4096,)) for number in range(40)]
    rows: list[Array] = [np.full((16, 4096), number, np.uint8) for number in range(40)]
    slices = [Slice(rows, range(16)) for _ in range(64)]
    frames, arrays = join(schema, slices)
    assert len(frames) <= wire.MAX_FRAMES - 2
    assert 40 * 64 * 16 == sum(len(array) for array in arrays)


def sheet_of(tmp_path: Path, spec: Spec, *options: str) -> Any:
    """Draw a sheet; return its pixels."""
    (tmp_path / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    assert 0 == preview([str(tmp_path / "spec.json"), "-o", str(tmp_path / "sheet.png"), *options])
    with Image.open(tmp_path / "sheet.png") as sheet:
        return np.asarray(sheet.convert("RGB"))


def test_a_sheet_shows_each_sample_in_a_row_of_its_own(tmp_path: Path) -> None:
    """All its images, side by side; an item that failed has one tile."""
    (tmp_path / "photos" / "red").mkdir(parents=True)
    shades = [40 * number + 15 for number in range(5)]
    for shade in shades:
        image = Image.new("RGB", (80, 80), (255, shade, 0))
        (tmp_path / "photos" / "red" / f"{shade:03}.png").write_bytes(encode(image, "PNG"))
    (tmp_path / "photos" / "red" / "020.png").write_bytes(b"no picture")
    mix = {"choices": [{"kind": "rot90", "turns": turns} for turns in (1, 2, 3)]}
    spec = spec_of(every({"patch": {"height": 24, "width": 24}, "manipulations": mix}), root=tmp_path / "photos")
    pixels = sheet_of(tmp_path, spec, "--count", "6", "--side", "24")
    for shade in shades:
        ys, xs = np.nonzero((pixels == (255, shade, 0)).all(axis=2))
        assert 4 * 24 * 24 == len(ys)  # four images
        assert 24 == len(set(ys.tolist()))  # in one row
        assert 4 * 24 == len(set(xs.tolist()))


def test_a_sheet_has_no_more_pictures_than_it_takes(tmp_path: Path) -> None:
    """Each of 251 would be a picture; one sample is drawn, whatever the count."""
    (tmp_path / "photos" / "red").mkdir(parents=True)
    for number in range(3):
        image = Image.new("RGB", (40, 40), (255, number, 0))
        (tmp_path / "photos" / "red" / f"{number}.png").write_bytes(encode(image, "PNG"))
    mix = {"choices": [{"kind": "gamma", "value": 1 + number / 1000} for number in range(1, 251)]}
    spec = spec_of(every({"patch": {"height": 8, "width": 8}, "manipulations": mix}), root=tmp_path / "photos")
    pixels = sheet_of(tmp_path, spec, "--count", "60", "--side", "16")
    reds = pixels[(pixels[..., 0] == 255) & (pixels[..., 2] == 0)]
    assert 251 * 8 * 8 == len(reds)
