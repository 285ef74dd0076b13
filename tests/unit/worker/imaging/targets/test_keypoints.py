"""Keypoints of a stream: their fields, what a flip exchanges, and what bad ones are called."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.imaging.detection import NONE, by_name, failure, write_set

POINTS = ["nose", "left eye", "right eye"]
TARGET: dict[str, Any] = {"kind": "keypoints", "column": "points", "points": POINTS, "pairs": [POINTS[1:]]}
FACE = [[20, 10, 2], [30, 8, 1], [12, 8, 2]]
FLIP = [*NONE, {"op": "flip"}]
COCO = [value for point in FACE for value in point]


def points(root: Path, cell: object, steps: list[dict[str, Any]] = NONE, **target: Any) -> dict[str, Any]:
    """Return the fields of the one image with these points."""
    write_set(root, 1, {0: {"points": cell}})
    found = by_name(root, [0], targets={"points": TARGET | target}, steps=steps)
    return {name: array[0].tolist() for name, array in found.items() if name.startswith("points")}


@pytest.mark.parametrize("cell", [FACE, COCO], ids=["points", "coco"])
def test_points_are_read_as_lists_or_in_one_flat_list(tmp_path: Path, cell: object) -> None:
    """Places and visibility, in the order of the spec; no field counts the one object."""
    expected = {"points": [[20, 10], [30, 8], [12, 8]], "points_visible": [2, 1, 2]}
    assert expected == points(tmp_path, cell)


def test_a_flip_exchanges_left_and_right(tmp_path: Path) -> None:
    """The eye on the left of the mirror image is its left eye; a turn by 180 degrees exchanges nothing."""
    expected = {"points": [[28, 10], [36, 8], [18, 8]], "points_visible": [2, 2, 1]}
    assert expected == points(tmp_path, FACE, FLIP)
    turned = points(tmp_path, FACE, [*FLIP, {"op": "flip", "direction": "vertical"}])
    assert {"points": [[28, 30], [18, 32], [36, 32]], "points_visible": [2, 1, 2]} == turned


def test_points_that_a_sample_does_not_show_are_zero(tmp_path: Path) -> None:
    """So are those that nobody has labelled, wherever their numbers lie."""
    crop = [{"op": "center_crop", "size": (40, 30)}]
    found = points(tmp_path, [[20, 10], [30, 8, 0], [5, 8]], crop)
    assert {"points": [[11, 10], [0, 0], [0, 0]], "points_visible": [2, 0, 0]} == found
    assert [0, 0, 0] == points(tmp_path, [], crop)["points_visible"]


def test_each_object_has_its_place(tmp_path: Path) -> None:
    """With max_objects, the cell is a list of objects, and a field counts them."""
    found = points(tmp_path, [COCO, [[1, 1], [2, 2], [3, 3]]], max_objects=3)
    assert 2 == found["points_count"]
    assert [[2, 1, 2], [2, 2, 2], [0, 0, 0]] == found["points_visible"]
    assert [[1, 1], [2, 2], [3, 3]] == found["points"][1]


def test_fractions_of_the_image_become_pixels(tmp_path: Path) -> None:
    """With `normalized`, as YOLO writes them."""
    found = points(tmp_path, [[0.5, 0.25], [1, 1], [0, 0, 1]], normalized=True)
    assert np.allclose([[24, 10], [48, 40], [0, 0]], found["points"])


@pytest.mark.parametrize(
    ("cell", "target", "reason"),
    [
        ([[20, 10, 2]] * 2, {}, "2 points, and the spec names 3"),
        (
            [[20, 10, 2], [60, 8], [1, 1]],
            {},
            r"left eye = .*: \(60, 8\) \(x, y\) lies outside .* 48 × 40 pix",
        ),
        ([[20, 10, 3], [3, 8], [1, 1]], {}, r"nose = \[20, 10, 3\]: visibility 3 must be 0"),
        ([[float("nan"), 10], [3, 8], [1, 1]], {}, r"nose = .*: nan is no finite number"),
        ([[20], [3, 8], [1, 1]], {}, r"nose = \[20\]: must be \[x, y\]"),
        ("left", {}, "'left' is not JSON"),
        ([COCO] * 3, {"max_objects": 2}, "3 objects, and max_objects = 2"),
        ([COCO, COCO[:-1]], {"max_objects": 2}, "object 1, 8 points, and the spec names 3"),
    ],
)
def test_bad_keypoints_are_quarantined(tmp_path: Path, cell: object, target: dict[str, Any], reason: str) -> None:
    """The reason names the manifest, the line, the column, the point and the value."""
    found = failure(tmp_path, {"points": cell}, {"points": TARGET | target}, {"points": []})
    assert found.startswith("list.jsonl, line 2: points (target points): ")
    assert re.search(reason, found), found
