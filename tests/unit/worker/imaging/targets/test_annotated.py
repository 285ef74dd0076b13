"""COCO, Pascal VOC and YOLO through the worker: the same boxes from each, and bad ones by file, place and value."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.imaging.annotated import CLASSES, mask, write_coco, write_voc, write_yolo
from support.imaging.detection import BOXES, NONE, make

from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.sources.base import list_source
from penstock.worker.imaging.pipeline import Outcome

Write = Callable[[Path, int, dict[int, Any] | None], None]
#: How each set is written, its source, and its boxes.
SETS: dict[str, tuple[Write, dict[str, Any], dict[str, Any]]] = {
    "coco": (
        write_coco,
        {"path": "annotations/instances_train2017.json", "images": "train2017"},
        {"column": "boxes", "format": "xywh"},
    ),
    "voc": (write_voc, {}, {"column": "annotation", "format": "voc"}),
    "yolo": (write_yolo, {"path": "images/train"}, {"column": "labels", "format": "yolo"}),
}


def made(root: Path, kind: str, changes: dict[int, Any] | None = None, **targets: Any) -> tuple[StreamPlan, Outcome]:
    """Write a set of three images and make its samples, which no step changes."""
    write, source, boxes = SETS[kind]
    write(root, 3, changes)
    targets = targets or {"boxes": {"kind": "boxes", "classes": CLASSES, **boxes}}
    stream = Stream.model_validate(
        {"source": {"kind": kind, "root": "photos", **source}, "transform": {"steps": NONE}, "targets": targets}
    )
    listing = list_source(stream.source, {"photos": str(root)}, stream.target_columns)
    plan = StreamPlan(name="t", seed=0, settings=stream, items=len(listing), classes=(), fingerprint="f")
    return plan, make(root, plan, listing, range(len(listing)))


def fields(plan: StreamPlan, outcome: Outcome) -> dict[str, Any]:
    """Return the samples' fields by name."""
    return dict(zip((field.name for field in plan.schema), outcome.arrays, strict=True))


@pytest.mark.parametrize("kind", SETS)
def test_every_layout_gives_the_same_boxes(tmp_path: Path, kind: str) -> None:
    """COCO counts from the corner and by width, VOC from 1 with the last pixel, YOLO in fractions from the middle."""
    plan, outcome = made(tmp_path, kind)
    assert () == outcome.failures
    found = fields(plan, outcome)
    assert [2, 2, 2] == found["boxes_count"].tolist()
    assert np.allclose([box[:4] for box in BOXES], found["boxes"][:, :2], rtol=0, atol=1e-5)
    assert [[0, 1]] * 3 == found["boxes_label"][:, :2].tolist()


def test_an_image_without_a_label_file_has_no_boxes(tmp_path: Path) -> None:
    """So has one whose file is empty."""
    plan, outcome = made(tmp_path, "yolo", {0: None, 1: "\n"})
    assert [0, 0, 2] == fields(plan, outcome)["boxes_count"].tolist()


def test_masks_of_voc_are_the_indices_of_their_palette(tmp_path: Path) -> None:
    """The very classes, not the colours."""
    plan, outcome = made(tmp_path, "voc", mask={"kind": "mask", "column": "mask", "classes": 21})
    assert np.array_equal([mask()] * 3, fields(plan, outcome)["mask"])


def test_keypoints_of_coco_are_those_of_its_annotations(tmp_path: Path) -> None:
    """One object an annotation that has any."""
    pose = {"kind": "keypoints", "column": "keypoints", "points": ["head", "tail"], "max_objects": 4}
    plan, outcome = made(tmp_path, "coco", pose=pose)
    found = fields(plan, outcome)
    assert [1, 1, 1] == found["pose_count"].tolist()
    assert [[4, 6], [20, 22]] == found["pose"][2, 0].tolist()
    assert [2, 1] == found["pose_visible"][2, 0].tolist()


BOX = "<object><name>cat</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        (
            "coco",
            {"bbox": [4, 6, 60, 2]},
            r"json, image id 11: boxes .*annotation 100 = \[4, 6, 60, 2, 'cat', 100\].*out",
        ),
        (
            "coco",
            {"bbox": None},
            r"image id 11: boxes .*\[None, 'cat', 100\]: must be \[left, top, width, height, class",
        ),
        ("coco", {"category_id": 5}, "annotation 100 .*class 'category_id 5' is not known; classes: cat, dog"),
        ("coco", {"bbox": [4, 6, float("nan"), 2]}, "annotation 100 .*: nan is no finite number"),
        (
            "yolo",
            "0 0.5 0.5 2.0 0.1\n",
            r"images/train/001.jpg: labels .*labels/train/001.txt, line 1 = '0 0.5 0.5 2.0",
        ),
        ("yolo", "\n7 0.5 0.5 0.1 0.1\n", "labels/train/001.txt, line 2 = .*class 7 is not known"),
        ("yolo", "cat 0.5 0.5 0.1 0.1", "line 1 = 'cat 0.5 0.5 0.1 0.1': must be numbers: class, then"),
        ("yolo", "0 0.5 0.5 0.1", "line 1 = .*: must be .middle x, middle y, width, height, class., 5 values"),
        (
            "voc",
            BOX.format(49),
            r"JPEGImages/2008_000001.jpg: annotation .*Annotations/2008_000001.xml, object 0 = 'cat'",
        ),
        ("voc", BOX.format("left"), r"object 0 = 'cat' \(left, 1.0, 9.0, 9.0\): bndbox must have the numbers xmin"),
        ("voc", "<object>", "Annotations/2008_000001.xml: not valid XML"),
        ("voc", "<!DOCTYPE x>", "has a document type, which is not read"),
    ],
)
def test_bad_annotations_are_quarantined(tmp_path: Path, kind: str, change: Any, reason: str) -> None:
    """The reason names the file, the line, object or annotation, and the value; the other images are made."""
    _, outcome = made(tmp_path, kind, {1: change})
    assert [1] == [failure.item for failure in outcome.failures]
    assert re.search(reason, outcome.failures[0].reason), outcome.failures[0].reason
