"""Plans: what a stream's sizes come to, and exactly what its fingerprint depends on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import SAMPLE_BYTES, make_plan

from penstock.protocol.fingerprint import fingerprint, fingerprint_1
from penstock.protocol.plan import schema_of
from penstock.protocol.spec.spec import Spec, parse_spec


def spec(seed: int = 7, **changes: Any) -> Spec:
    """Return a spec with one stream; dotted fields go into the stream's tables."""
    stream: dict[str, Any] = {
        "source": {"kind": "directory", "root": "photos"},
        "transform": {
            "resize": {"height": 32, "width": 32},
            "patch": {"kind": "random", "height": 16, "width": 16},
            "augment": {"horizontal_flip": True},
        },
        "patches": 2,
    }
    for path, value in changes.items():
        *tables, last = path.split("__")
        table = stream
        for name in tables:
            table = table[name]
        table[last] = value
    return parse_spec({"seed": seed, "roots": {"photos": "/photos", "other": "/other"}, "streams": {"train": stream}})


def digest(spec: Spec, listing: str = "listing") -> str:
    """Return the fingerprint of the one stream."""
    return fingerprint(spec, spec.streams["train"], listing)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"patches": 3},
        {"mix": 4},
        {"shuffle": False},
        {"shard": "1/2"},
        {"transform__color": "gray"},
        {"transform__exif_orientation": True},
        {"transform__resize__filter": "bicubic"},
        {"transform__resize__height": 33},
        {"transform__patch__width": 15},
        {"transform__augment__horizontal_flip": False},
        {"transform__patch__too_small": "pad"},
        {"transform__manipulations": {"choices": [{"kind": "rot90"}]}},
    ],
)
def test_the_fingerprint_changes_with_whatever_determines_samples(changes: dict[str, Any]) -> None:
    """A position of one such stream means nothing in the other."""
    assert digest(spec()) != digest(spec(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 7},
        {"drop_remainder": True},
        {"failure_budget": 0.5},
        {"window_mb": 1.0},
        {"task_items": 3},
        {"source__root": "other"},
    ],
)
def test_the_fingerprint_stays_when_only_the_cutting_or_the_place_changes(changes: dict[str, Any]) -> None:
    """Batches, tasks, memory and where roots lie may change between a run and its resumption."""
    assert digest(spec()) == digest(spec(**changes))


def test_the_fingerprint_changes_with_the_listing() -> None:
    """Other files are another stream."""
    assert digest(spec()) != digest(spec(), "other listing")


def test_the_fingerprint_of_a_spec_never_changes_by_accident() -> None:
    """Pinned: a change refuses every saved position and must be a decision. The first one is that of version 1."""
    assert "5848a2ddf3e6b190dfe3d75053653f5f" == fingerprint_1(spec(), spec().streams["train"], "listing")
    assert "2:fc0da156850d4d4c96a607d3a65b5c0f" == digest(spec())


def test_a_plan_knows_positions_of_both_versions() -> None:
    """Those that carry neither fingerprint, or none at all, are not of its stream."""
    plan = make_plan(fingerprint="2:new", fingerprint_1="old")
    assert [True, True, False, False] == [plan.is_of(each) for each in ("2:new", "old", "other", "")]
    assert not make_plan(fingerprint="2:new").is_of("")


def test_a_plan_knows_its_samples_sizes() -> None:
    """Bytes of a sample are those of all its fields."""
    assert SAMPLE_BYTES == make_plan().sample_bytes
    assert ["image", "label", "item", "patch"] == [field.name for field in make_plan().schema]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("hwc", "rgb", (16, 16, 3))),
        ({"transform__color": "gray"}, ("hwc", "gray", (16, 16, 1))),
        ({"transform__color": "rgba"}, ("hwc", "rgba", (16, 16, 4))),
        ({"transform__normalize": {"rescale": 0.5}}, ("hwc", "rgb", (16, 16, 3))),
        ({"transform__normalize": {"data_format": "channels_first"}}, ("chw", "rgb", (3, 16, 16))),
        # The trainer turns the axes after it got the batch, which the schema describes.
        ({"transform__normalize": {"data_format": "channels_first", "where": "trainer"}}, ("hwc", "rgb", (16, 16, 3))),
    ],
)
def test_the_schema_says_an_images_axes_and_channels(changes: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """As they leave the worker; other fields have none."""
    image, *others = schema_of(spec(**changes).streams["train"])
    assert expected == (image.axes, image.channels, image.shape)
    assert [("", "")] * 3 == [(field.axes, field.channels) for field in others]


def test_samples_say_their_manipulation_only_where_there_are_any() -> None:
    """An int32 behind the other fields."""
    changed = schema_of(spec(transform__manipulations={"choices": [{"kind": "rot90"}]}).streams["train"])
    assert changed[:-1] == schema_of(spec().streams["train"])
    assert ("manipulation", "int32", ()) == (changed[-1].name, changed[-1].dtype, changed[-1].shape)


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 8), st.integers(1, 4), st.integers(1, 4))
def test_a_window_holds_two_rounds_and_two_blocks_at_least(
    window: int, batch: int, mix: int, patches: int, world_size: int
) -> None:
    """Less would stall: a round may start anywhere in a block and end anywhere in another."""
    plan = make_plan(items=1000, window_samples=window, batch_size=batch, mix=mix, patches=patches, task_items=8)
    least = 2 * batch * world_size + 2 * plan.geometry.block_samples
    assert max(least, window) == pytest.approx(plan.window(world_size), abs=1)


def test_a_result_s_token_tells_apart_plans_whose_task_numbers_mean_other_items() -> None:
    """Equal samples cut into other tasks have equal fingerprints but other tokens."""
    assert make_plan(task_items=4).token != make_plan(task_items=2).token
    assert make_plan(fingerprint="a").token != make_plan(fingerprint="b").token
    assert make_plan(batch_size=3).token == make_plan(batch_size=5).token


def test_a_window_holds_no_more_epochs_and_blocks_than_anybody_needs() -> None:
    """256 MB of one tiny image would be millions of epochs, all made ahead, leased and reported one by one."""
    most = 50_000_000
    assert 16 == make_plan(items=1, task_items=1, batch_size=1, window_samples=most).window()
    assert 3 * 1000 == make_plan(items=1000, task_items=10, batch_size=4, window_samples=most).window()
    assert 4096 * 10 == make_plan(items=10**6, task_items=10, batch_size=4, window_samples=most).window()
    assert 400 == make_plan(items=1000, task_items=4, batch_size=4, window_samples=400).window()


def test_a_window_of_a_small_source_holds_work_for_several_workers() -> None:
    """A task of the default size holds many epochs of 60 images: what counts is how many there are."""
    assert 16 * 60 == make_plan(items=60, task_items=1280, batch_size=32, window_samples=50_000_000).window()
    plan = make_plan(items=60, task_items=4, batch_size=4, window_samples=50_000_000)
    settings = plan.settings.model_copy(update={"window_epochs": 100})
    assert 100 * 60 == plan.model_copy(update={"settings": settings}).window()


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_batch_far_larger_than_the_epoch_does_not_widen_the_window(world_size: int) -> None:
    """A batch ends with its epoch, so that the window holds as many epochs as with a batch of an epoch's size."""
    huge, whole = (make_plan(items=600, task_items=4, batch_size=size) for size in (1_000_000, 600))
    assert 600 == huge.round_samples(world_size)
    assert 2 * 600 + 2 * 4 == huge.window(world_size)
    assert whole.window(world_size) == huge.window(world_size)
    ample = make_plan(items=600, task_items=4, batch_size=1_000_000, window_samples=50_000_000)
    assert 3 * 600 == ample.window(world_size)
