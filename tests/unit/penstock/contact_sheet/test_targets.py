"""Targets over pictures: each lies where its field says, at any size of the picture."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from penstock.contact_sheet.samples import Sample, lines, make_sheet, picture_names, ranges, texts
from penstock.contact_sheet.targets import draw_targets
from penstock.protocol.plan import StreamPlan, schema_of
from penstock.protocol.spec.spec import Stream

RED, GREEN, GRAY = [230, 25, 75], [60, 180, 75], [58, 58, 58]
TARGETS: dict[str, Any] = {
    "boxes": {"kind": "boxes", "column": "a", "max_boxes": 3},
    "mask": {"kind": "mask", "column": "b", "classes": 3},
    "pose": {"kind": "keypoints", "column": "c", "points": ["l", "r", "m"]},
    "tags": {"kind": "labels", "column": "d", "classes": ["sea", "sky"]},
    "text": {"kind": "text", "column": "e", "max_bytes": 16},
    "age": {"kind": "numbers", "column": "f"},
}


def plan_of(targets: dict[str, Any]) -> StreamPlan:
    """Return the plan of a stream of images of 40 × 60 pixels."""
    settings = Stream.model_validate(
        {
            "source": {"kind": "manifest", "root": "r", "path": "m.csv"},
            "transform": {"steps": [{"op": "letterbox", "size": [40, 60]}]},
            "targets": targets,
        }
    )
    return StreamPlan(name="t", seed=0, settings=settings, items=1, classes=(), fingerprint="f")


def fields_of(plan: StreamPlan, **values: Any) -> dict[str, Any]:
    """Return a sample's fields: zeros, or what is given."""
    fields = {field.name: np.zeros(field.shape, field.dtype) for field in schema_of(plan.settings)}
    return fields | {name: np.array(value, fields[name].dtype) for name, value in values.items()}


def drawn(name: str, scale: int, **values: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return what is drawn of one target over a black picture of `scale` times the image's size."""
    plan = plan_of({name: TARGETS[name]})
    return np.asarray(draw_targets(Image.new("RGB", (60 * scale, 40 * scale)), plan, fields_of(plan, **values)))


@pytest.mark.parametrize("scale", [1, 2])
def test_a_box_is_drawn_on_its_outermost_pixels(scale: int) -> None:
    """Only as many as the count says."""
    found = drawn("boxes", scale, boxes=[[10, 5, 30, 20], [40, 5, 50, 9], [0] * 4], boxes_count=1)
    rows, columns = np.nonzero((found == RED).all(axis=2))
    assert [10 * scale, 5 * scale, 30 * scale, 20 * scale] == [
        columns.min(),
        rows.min(),
        columns.max() + 1,
        rows.max() + 1,
    ]
    assert not found[6 * scale + 2, 12 * scale + 2].any()
    assert not (found == GREEN).all(axis=2).any()


def test_a_mask_colours_its_classes() -> None:
    """Class 0 is left alone; pixels without a class are gray."""
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:40], mask[:, 50:] = 1, 255
    found = drawn("mask", 2, mask=mask)
    assert [27, 81, 34] == found[39, 79].tolist() == found[20, 60].tolist()
    assert [0, 0, 0] == found[39, 80].tolist() == found[0, 0].tolist()
    assert GRAY == found[0, 119].tolist()


def test_keypoints_are_dots_and_rings() -> None:
    """Hidden ones are rings; those that the sample does not show are not drawn."""
    found = drawn("pose", 2, pose=[[10, 10], [30, 20], [0, 0]], pose_visible=[2, 1, 0])
    assert RED == found[20, 20].tolist()
    assert not found[40, 60].any()
    assert (found[36:45, 56:65] == GREEN).all(axis=2).any()
    assert not found[:5, :5].any()


def test_words_stand_below_the_picture() -> None:
    """Labels by name, text as it is, single numbers; what only says how much is used is left out."""
    plan = plan_of(TARGETS)
    text = np.frombuffer("süßes\nMeer".encode().ljust(16, b"\0"), np.uint8)
    fields = fields_of(plan, tags=[0, 1], text=text, text_bytes=12, age=2.5, boxes_count=2, label=-1)
    sample = Sample(0, "a/1.jpg", fields)
    assert ("age 2.5", "1.jpg") == lines(plan, sample)
    assert ["tags sky", "text süßes Meer"] == texts(plan, sample)


def test_fields_of_another_shape_are_left_alone() -> None:
    """A custom transform may replace a target by something else."""
    plan = plan_of({"boxes": TARGETS["boxes"]})
    fields = fields_of(plan) | {"boxes": np.zeros(7), "boxes_count": np.array(2, np.int32)}
    assert not np.asarray(draw_targets(Image.new("RGB", (60, 40)), plan, fields)).any()


def test_polygons_and_oriented_boxes_are_outlines() -> None:
    """Closed, in the colour of their class; what lies inside is left alone."""
    polygon = {"kind": "polygons", "column": "a", "max_polygons": 2, "max_points": 4, "classes": ["sea", "sky"]}
    plan = plan_of({"p": polygon, "o": {"kind": "oriented_boxes", "column": "b", "max_boxes": 2}})
    fields = fields_of(plan, p_points=[3, 0], p_count=1, p_label=[1, -1], o_count=1)
    fields["p"][0, :3] = [[5, 30], [25, 30], [15, 38]]
    fields["o"][0] = [[40, 5], [50, 15], [40, 25], [30, 15]]
    found = np.asarray(draw_targets(Image.new("RGB", (120, 80)), plan, fields))
    assert (found[74:76, 28:32] == GREEN).all(axis=2).any()
    assert (found[8:12, 78:82] == RED).all(axis=2).any()
    assert not found[66, 30].any()
    assert not found[30, 80].any()


def plan_with(transform: dict[str, Any], targets: dict[str, Any]) -> StreamPlan:
    """Return the plan of a stream with this transform and these targets."""
    source = {"kind": "manifest", "root": "r", "path": "m.csv"}
    settings = Stream.model_validate({"source": source, "transform": transform, "targets": targets})
    return StreamPlan(name="t", seed=0, settings=settings, items=1, classes=(), fingerprint="f")


def test_further_images_and_views_stand_next_to_each_other() -> None:
    """Each image, and its further ones after it; targets are drawn over their own view; words stand under the first."""
    box, right = TARGETS["boxes"], {"kind": "image", "column": "g"}
    steps = [{"op": "resize", "size": [20, 30]}]
    plan = plan_with(
        {"views": {"near": {"count": 2, "steps": steps}, "far": {"steps": [{"op": "resize", "size": 10}]}}},
        {"boxes": box, "right": right, "text": TARGETS["text"], "age": TARGETS["age"]},
    )
    names = picture_names(plan)
    assert ("near_1", "near_1_right", "near_2", "near_2_right", "far", "far_right") == names
    fields = fields_of(plan, near_2_boxes=[[2, 2, 9, 9], [0] * 4, [0] * 4], near_2_boxes_count=1, label=-1)
    drawn_over = [
        np.asarray(draw_targets(Image.new("RGB", (30, 20)), plan, fields, name)).any()
        for name in ("near_1", "near_2", "near_2_right", "far")
    ]
    assert [False, True, False, False] == drawn_over
    sample = Sample(0, "a/1.jpg", fields)
    assert [1, 0, 0] == [len(texts(plan, sample, name)) for name in names[:3]]
    assert [("near_1", "age 0", "1.jpg"), ("near_2", "1.jpg")] == [lines(plan, sample, name) for name in names[:3:2]]
    sheet = make_sheet("t", plan, [sample, Sample(1, "b.jpg", {}, "damaged")], 64)
    assert sheet.width >= 6 * 128


def test_floats_are_shown_in_a_range_of_their_own() -> None:
    """A further image holds levels, whatever `normalize` makes of the image."""
    transform = {"steps": [{"op": "resize", "size": 8}], "normalize": {"rescale": 1 / 255}}
    plan = plan_with(transform, {"right": {"kind": "image", "column": "g"}})
    image = np.linspace(0, 1, 192, dtype=np.float32).reshape(8, 8, 3)
    found = ranges(plan, [("image", image), ("right", np.zeros((8, 8, 3), np.uint8))])
    assert [(0.0, 1.0), (0.0, 255.0)] == [(found[name].low, found[name].high) for name in ("image", "right")]
