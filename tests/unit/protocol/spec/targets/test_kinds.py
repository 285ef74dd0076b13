"""Targets in the spec: the fields that they make, what cannot have them, and that they determine the samples."""

from typing import Any

import pytest
from pydantic import ValidationError
from support.imaging.detection import STEPS, TARGETS

from penstock.protocol.fingerprint import fingerprint, fingerprint_1
from penstock.protocol.plan import schema_of
from penstock.protocol.spec.spec import Spec, Stream

SOURCE = {"kind": "manifest", "root": "photos", "path": "list.csv"}

POSE: dict[str, Any] = {"kind": "keypoints", "column": "pose", "points": ["a", "b"]}


def stream(targets: dict[str, Any], **transform: Any) -> Stream:
    """Return a stream with targets."""
    transform = transform or {"steps": STEPS}
    return Stream.model_validate({"source": SOURCE, "transform": transform, "targets": targets})


def test_targets_are_fields_of_the_schema() -> None:
    """Their shapes follow from the spec alone, and columns are named once however many targets they hold."""
    found = stream(TARGETS | {"few": {"kind": "boxes", "column": "boxes", "max_boxes": 2}})
    assert [
        ("boxes", "float32", (4, 4), ""),
        ("boxes_count", "int32", (), ""),
        ("boxes_label", "int32", (4,), ""),
        ("mask", "uint8", (32, 32), "hw"),
        ("few", "float32", (2, 4), ""),
        ("few_count", "int32", (), ""),
    ] == [(field.name, field.dtype, field.shape, field.axes) for field in schema_of(found)[4:]]
    assert ("boxes", "mask") == found.target_columns


def test_every_kind_says_its_fields() -> None:
    """Objects, points and their places are axes; text has a length."""
    targets = {
        "one": POSE,
        "all": POSE | {"max_objects": 3},
        "tags": {"kind": "labels", "column": "tags", "classes": ["a", "b"]},
        "age": {"kind": "numbers", "column": "age", "dtype": "float64"},
        "words": {"kind": "text", "column": "words", "max_bytes": 9},
    }
    assert [
        ("one", "float32", (2, 2)),
        ("one_visible", "uint8", (2,)),
        ("all", "float32", (3, 2, 2)),
        ("all_visible", "uint8", (3, 2)),
        ("all_count", "int32", ()),
        ("tags", "uint8", (2,)),
        ("age", "float64", ()),
        ("words", "uint8", (9,)),
        ("words_bytes", "int32", ()),
    ] == [(field.name, field.dtype, field.shape) for field in schema_of(stream(targets))[4:]]


@pytest.mark.parametrize(
    ("targets", "transform", "message"),
    [
        (TARGETS, {"resize": (32, 32)}, "targets move with steps only"),
        (TARGETS, {"steps": [*STEPS, {"op": "aug_mix"}]}, "targets cannot follow step aug_mix"),
        (TARGETS, {"steps": [*STEPS, {"op": "one_of", "steps": [{"op": "aug_mix"}]}]}, "cannot follow step one_of"),
        ({"label": TARGETS["mask"]}, {}, "target 'label' makes the fields label: .* are taken"),
        ({"a": TARGETS["boxes"], "a_count": TARGETS["mask"]}, {}, "target 'a_count' makes the fields a_count"),
        ({"m" * 60: TARGETS["mask"]}, {}, "names may have 48 characters"),
        ({"boxes": TARGETS["boxes"] | {"classes": ["a", "a"]}}, {}, "name at least one class, and each once"),
        ({"mask": TARGETS["mask"] | {"folder": "../masks"}}, {}, "must be a relative path"),
        ({"p": POSE | {"points": ["a", "a"]}}, {}, "points has a name twice"),
        ({"p": POSE | {"pairs": [["a", "c"]]}}, {}, "pairs has 'c', and points has no such name: a, b"),
        ({"p": POSE | {"pairs": [["a", "b"], ["b", "a"]]}}, {}, "pairs has a name twice"),
        ({"l": {"kind": "labels", "column": "x", "classes": ["a", "a"]}}, {}, "name at least one class, and each once"),
        ({"mask": {"kind": "cloud", "column": "x"}}, {}, "'boxes', 'oriented_boxes', 'polygons', 'mask'"),
    ],
)
def test_targets_that_cannot_follow_are_refused(targets: dict[str, Any], transform: Any, message: str) -> None:
    """When the spec is read, and never when samples are made."""
    with pytest.raises(ValidationError, match=message):
        stream(targets, **transform)


def test_targets_determine_the_samples() -> None:
    """Another parameter is another fingerprint, and version 1 has none; without targets both stay as they were."""
    spec = Spec.model_validate({"streams": {"train": stream({}).model_dump()}})
    more = TARGETS | {"boxes": TARGETS["boxes"] | {"max_boxes": 5}}
    found = {fingerprint(spec, stream(targets), "digest") for targets in ({}, TARGETS, more)}
    assert 3 == len(found)
    assert "" == fingerprint_1(spec, stream(TARGETS), "digest")
    assert "targets" not in stream({}).model_dump()
