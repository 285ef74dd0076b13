"""Views: several images made of one, each a field with steps, size and random numbers of its own."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import encode, picture
from support.imaging.detection import by_name, write_set
from support.imaging.pipelines import make_plan

from penstock.protocol.errors import SpecError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.spec.sequences.step_list import list_steps
from penstock.protocol.spec.spec import Stream, parse_spec
from penstock.protocol.spec.transform import Transform
from penstock.protocol.wire import Array
from penstock.worker.imaging.pipeline import Pipeline

CROP = {"op": "random_resized_crop", "size": 24}
NOISY = [CROP, {"op": "flip", "p": 0.5}, {"op": "color_jitter", "brightness": 0.5, "hue": 0.2}]
SMALL = [{"op": "random_resized_crop", "size": [10, 14]}, {"op": "grayscale", "p": 0.5}]
#: The beginning of the SHA-256 of what `dino` makes of the images.
PINNED = "210d4dd06f9716891aed10ad4f97a796"
VIEWS: dict[str, Any] = {"whole": {"steps": NOISY}, "part": {"count": 3, "steps": SMALL}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four JPEGs, one of them large enough to be decoded in part."""
    root = tmp_path_factory.mktemp("views")
    for number in range(4):
        size = (600, 640) if number == 3 else (50 + 9 * number, 70)
        (root / f"{number}.jpg").write_bytes(encode(picture(number, number % 3, *size)))
    return root


def make(photos: Path, transform: dict[str, Any], patches: int = 2) -> dict[str, Array]:
    """Return the fields of the samples of the four images."""
    plan = make_plan(transform, patches=patches)
    items = tuple(Item(item=number, path=f"{number}.jpg", label=0) for number in range(4))
    task = Task(key=TaskKey(stream=plan.name, ordinal=0), attempt=0, epoch=1, items=items)
    outcome = Pipeline(plan, {"photos": photos}).run(task)
    assert outcome.failures == ()
    return dict(zip((field.name for field in plan.schema), outcome.arrays, strict=True))


def test_each_view_is_a_field_of_its_own_shape(photos: Path) -> None:
    """In the spec's order, and no two of a sample are alike."""
    fields = make(photos, {"views": VIEWS})
    shapes = {"whole": (8, 24, 24, 3)} | {f"part_{number}": (8, 10, 14, 3) for number in (1, 2, 3)}
    assert shapes == {name: array.shape for name, array in list(fields.items())[:4]}
    assert ["label", "item", "patch"] == list(fields)[4:]
    parts = {sample.tobytes() for number in (1, 2, 3) for sample in fields[f"part_{number}"]}
    assert 24 == len(parts)


@pytest.mark.parametrize(
    "changed",
    [
        {"first": {"steps": NOISY}, **VIEWS},
        {"whole": VIEWS["whole"], "part": {"count": 5, "steps": SMALL}},
        {"part": VIEWS["part"], "whole": VIEWS["whole"]},
        {"whole": VIEWS["whole"], "part": {"count": 3, "steps": SMALL}, "last": {"recipe": "simclr"}},
    ],
    ids=["inserted", "more", "reordered", "added"],
)
def test_other_views_change_no_views_numbers(photos: Path, changed: dict[str, Any]) -> None:
    """Samples of a view are the same, byte for byte, whatever other views there are and in which order."""
    before, after = make(photos, {"views": VIEWS}), make(photos, {"views": changed})
    for name in ("whole", "part_1", "part_2", "part_3"):
        assert np.array_equal(before[name], after[name]), name


def test_an_inserted_step_changes_no_other_steps_numbers(photos: Path) -> None:
    """A step that does nothing, in the midst of a view's, changes no pixel of it."""
    idle = {"op": "rotate", "degrees": [0, 0]}
    changed = VIEWS | {"whole": {"steps": [CROP, idle, *NOISY[1:]]}}
    before, after = make(photos, {"views": VIEWS}), make(photos, {"views": changed})
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_view_with_no_steps_of_its_own_is_the_image_without_views(photos: Path) -> None:
    """Steps before the views are the same for all of them, with the numbers that they have without views."""
    plain = make(photos, {"steps": NOISY})["image"]
    found = make(photos, {"steps": NOISY, "views": {"one": {}, "other": {"steps": [{"op": "flip"}]}}})
    assert np.array_equal(plain, found["one"])
    assert np.array_equal(plain[:, :, ::-1], found["other"])


def test_keys_of_held_steps_are_the_views_own(photos: Path) -> None:
    """A step with a key, inside of another, draws apart in each of a view's fields."""
    held = {"op": "one_of", "steps": [{"op": "rotate", "degrees": 90, "key": "turn"}]}
    fields = make(photos, {"views": {"a": {"count": 2, "steps": [{"op": "resize", "size": 16}, held]}}})
    assert not np.array_equal(fields["a_1"], fields["a_2"])


def test_dino_is_two_global_crops_and_six_local_ones(photos: Path) -> None:
    """The second global one alone is solarised; local ones have 3/7 of the side."""
    transform = Transform.model_validate({"recipe": "dino"})
    names = ["global_1", "global_2", *(f"local_{number}" for number in range(1, 7))]
    assert {name: (224, 224, 3) if "global" in name else (96, 96, 3) for name in names} == transform.image_shapes
    listed = [(step.images, step.op, step.p) for step in list_steps(transform)]
    assert [("global_1", "gaussian_blur", 1.0)] == [step for step in listed if step[0] == "global_1"][4:]
    assert [("global_2", "gaussian_blur", 0.1), ("global_2", "solarize", 0.2)] == listed[9:11]
    assert ("local_1 to local_6", "gaussian_blur", 0.5) == listed[-1]
    fields = make(photos, {"recipe": {"name": "dino", "size": 28, "local_views": 3}}, patches=1)
    assert (4, 12, 12, 3) == fields["local_3"].shape
    assert "local_4" not in fields


def test_the_bytes_of_views_are_those_of_earlier_releases(photos: Path) -> None:
    """The names of a view's generators never change: dino's samples, pinned."""
    sha = hashlib.sha256()
    for array in make(photos, {"recipe": {"name": "dino", "size": 56}}).values():
        sha.update(array.tobytes())
    assert PINNED == sha.hexdigest()[:32]


def test_parts_of_a_large_jpeg_give_the_pixels_of_all_of_it(photos: Path) -> None:
    """What all views need of it is decoded, and no more."""
    whole, parts = (make(photos, {"views": VIEWS, "partial_decoding": part}) for part in (False, True))
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_views_are_normalised_apart(photos: Path) -> None:
    """Each with its own size; levels are those without."""
    plain = make(photos, {"views": VIEWS})
    found = make(photos, {"views": VIEWS, "normalize": {"rescale": 0.5, "data_format": "channels_first"}})
    for name in ("whole", "part_2"):
        assert np.array_equal(plain[name].transpose(0, 3, 1, 2) * np.float32(0.5), found[name])


def test_a_target_moves_with_each_view(tmp_path: Path) -> None:
    """The mask of a view is where the view's image is; a caption belongs to all views."""
    write_set(tmp_path, 3)
    targets: dict[str, Any] = {
        "mask": {"kind": "mask", "column": "mask", "folder": "masks", "classes": 3},
        "boxes": {"kind": "boxes", "column": "boxes", "classes": ("cat", "dog"), "max_boxes": 4},
        "caption": {"kind": "text", "column": "caption", "max_bytes": 24},
    }
    crop = {"op": "random_resized_crop", "size": [32, 32], "scale": [0.3, 1.0], "filter": "nearest"}
    views = {"near": {"steps": [crop]}, "far": {"count": 2, "steps": [{**crop, "size": [16, 20]}, {"op": "flip"}]}}
    fields = by_name(tmp_path, range(3), targets=targets, steps=[], patches=2, views=views)
    names = ("near", "far_1", "far_2")
    for name in names:
        image, mask = fields[name][..., 0].astype(int), fields[f"{name}_mask"]
        assert np.array_equal((image + 50) // 100, mask), name
        assert (6, 4, 4) == fields[f"{name}_boxes"].shape
        assert (fields[f"{name}_boxes_count"] <= 2).all()
    assert (6, 24) == fields["caption"].shape
    assert {"caption", "caption_bytes"} == {name for name in fields if "caption" in name}


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        ({"views": VIEWS, "resize": [8, 8]}, "views are made by steps alone: give resize, patch and augment as steps"),
        ({"views": {"a": {"steps": [{"op": "flip"}]}}}, "view 'a': samples need one shape"),
        ({"views": {"a": {"steps": [CROP, {"op": "random_crop", "size": 30}]}}}, "view 'a': step random_crop#0"),
        ({"views": {"a": {"count": 2, "steps": [CROP]}, "a_1": {"steps": [CROP]}}}, "another view makes a field 'a_1'"),
        ({"views": {"a": {"recipe": "dino"}}}, "recipe = 'dino' is no sequence of steps"),
        ({"recipe": "dino", "steps": [CROP]}, "steps come before views, and the views of recipe 'dino' begin with"),
        ({"recipe": "dino", "views": {"local_1": {"steps": [CROP]}}}, "views.local_1: the recipe has a view"),
        ({"recipe": {"name": "simclr", "local_views": 3}}, "local_views = 3: recipe 'simclr' has none"),
        ({"views": {"a b": {"steps": [CROP]}}}, "views"),
        (
            {"views": VIEWS, "normalize": {"zca_whitening": True, "statistics": "s.npz"}},
            "zca_whitening has a matrix for one size, and views have several",
        ),
    ],
)
def test_views_that_cannot_be_made_are_refused(transform: dict[str, Any], words: str) -> None:
    """When the spec is read, and naming the view."""
    source = {"kind": "directory", "root": "photos"}
    with pytest.raises(SpecError, match=words):
        parse_spec({"streams": {"train": {"source": source, "transform": transform}}})


def test_a_stream_with_views_survives_being_sent() -> None:
    """What the ventilator dumps is what a worker reads, in the same order."""
    data = {"source": {"kind": "directory", "root": "photos"}, "transform": {"views": VIEWS}}
    stream = Stream.model_validate(data)
    again = Stream.model_validate_json(stream.model_dump_json())
    assert stream == again
    assert list(stream.transform.image_shapes) == list(again.transform.image_shapes)
