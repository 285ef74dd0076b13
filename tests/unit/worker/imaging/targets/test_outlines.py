"""Polygons and oriented boxes: they follow the image, are simplified, and bad ones are quarantined."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from support.imaging.detection import NONE, by_name, failure, write_set
from support.imaging.geometric import GEOMETRIC, geometric_programs

from penstock.protocol.spec.operation import Window
from penstock.protocol.spec.step import Points
from penstock.worker.imaging.operations.geometry.moves import Crop
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.targets.moving import moved_corners, moved_outline
from penstock.worker.imaging.targets.polygons import area, is_convex, simplified

IMAGE = (40, 48)
#: An arrow, which is not convex.
ARROW = [8, 6, 40, 20, 8, 34, 18, 20]
POLYGONS: dict[str, Any] = {"kind": "polygons", "column": "p", "classes": ["cat", "dog"], "max_polygons": 4}
TURNED: dict[str, Any] = {"kind": "oriented_boxes", "column": "p", "max_boxes": 3}
_NAMES = ("label", "object")


def corners(numbers: Sequence[float]) -> Points:
    """Return corners given as x, y, x, y and so on."""
    return np.array(numbers, np.float64).reshape(-1, 2)


def filled(polygon: Points, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return an image of 0 and 200 that shows a polygon."""
    found = np.zeros(size, np.uint8)
    cv2.fillPoly(found, [np.rint((polygon - 0.5) * 256).astype(np.int32)], 200, shift=8)
    return found


@given(geometric_programs(IMAGE, "nearest", 0, tuple(GEOMETRIC.keys() - {"elastic", "pad"})))
@settings(max_examples=60, deadline=None)
def test_a_moved_polygon_covers_the_moved_picture_of_it(made: tuple[Program, list[str]]) -> None:
    """Drawing the moved corners gives the moved drawing but for the edges, for a shape that is not convex."""
    program, _ = made
    drawn = program.run(filled(corners(ARROW), IMAGE)[..., np.newaxis])[..., 0]
    outline, visible = moved_outline(program.moves, corners(ARROW), IMAGE)
    if not len(outline):
        assert (drawn > 0).mean() < 0.05
        return
    assert 0.0 < visible <= 1.0
    again = filled(outline, program.size)
    inner = cv2.erode(drawn, np.ones((7, 7), np.uint8), borderValue=0)
    outer = cv2.dilate(drawn, np.ones((7, 7), np.uint8))
    assert ((inner > 0) & (again == 0)).mean() < 0.01
    assert ((again > 0) & (outer == 0)).mean() < 0.03


@given(geometric_programs(IMAGE, "nearest", 0, tuple(GEOMETRIC.keys() - {"elastic"})))
@settings(max_examples=60, deadline=None)
def test_an_oriented_box_keeps_its_corners(made: tuple[Program, list[str]]) -> None:
    """Where the sample shows a corner, it is that of the outline; the area changes as the picture's does."""
    program, _ = made
    box = corners([16, 8, 36, 14, 32, 30, 12, 24])
    moved = moved_corners(program.moves, box, IMAGE)
    outline, visible = moved_outline(program.moves, box, IMAGE)
    assume(np.isfinite(moved).all())
    if visible > 1 - 1e-9:
        assert np.allclose(sorted(moved.tolist()), sorted(outline.tolist()), atol=1e-6)
    if len(outline):
        assert abs(area(outline)) <= abs(area(moved)) * (1 + 1e-9)


def test_polygons_are_read_cut_and_labelled(tmp_path: Path) -> None:
    """Each part is a polygon; parts of one object share its place; those outside of the sample are gone."""
    write_set(tmp_path, 1, {0: {"p": [["dog", [0, 0, 10, 0, 10, 10], [40, 30, 48, 30, 48, 40, 40, 40]], [0, ARROW]]}})
    found = by_name(tmp_path, [0], targets={"p": POLYGONS}, steps=[{"op": "center_crop", "size": (40, 24)}])
    assert [1, [0, -1], [1, -1]] == [found["p_count"][0], *(found[f"p_{name}"][0, :2].tolist() for name in _NAMES)]
    assert 24.0 == np.ptp(found["p"][0, 0, : found["p_points"][0, 0], 0])
    whole = by_name(tmp_path, [0], targets={"p": POLYGONS}, steps=NONE)
    assert [3, 4, 4, 0] == whole["p_points"][0].tolist()
    assert [1, 1, 0, -1] == whole["p_label"][0].tolist()
    assert [0, 0, 1, -1] == whole["p_object"][0].tolist()
    assert [[40, 30], [48, 30], [48, 40], [40, 40]] == whole["p"][0, 1, :4].tolist()
    assert not whole["p"][0, 1, 4:].any()


def test_oriented_boxes_are_dropped_by_what_is_visible(tmp_path: Path) -> None:
    """They are not cut: corners may lie outside of the sample."""
    write_set(tmp_path, 1, {0: {"p": [[4, 4, 20, 4, 20, 20, 4, 20], [0, 30, 6, 30, 6, 36, 0, 36]]}})
    crop = [{"op": "center_crop", "size": (40, 32)}]
    found = by_name(tmp_path, [0], targets={"p": TURNED | {"min_visibility": 0.5}}, steps=crop)
    assert 1 == found["p_count"][0]
    assert [[-4, 4], [12, 4], [12, 20], [-4, 20]] == found["p"][0, 0].tolist()
    found = by_name(tmp_path, [0], targets={"p": TURNED | {"min_visibility": 0.9}}, steps=crop)
    assert 0 == found["p_count"][0]


def test_files_of_yolo_hold_outlines_too(tmp_path: Path) -> None:
    """A class and the corners of one object in each line, as fractions."""
    write_set(tmp_path, 1, {0: {"p": "1.txt"}})
    (tmp_path / "1.txt").write_text("1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
    square = [[12, 10], [36, 10], [36, 30], [12, 30]]
    found = by_name(tmp_path, [0], targets={"p": POLYGONS | {"format": "yolo"}}, steps=NONE)
    assert (square, 1) == (found["p"][0, 0, :4].tolist(), found["p_label"][0, 0])
    found = by_name(tmp_path, [0], targets={"p": TURNED | {"format": "yolo", "classes": ["a", "b"]}}, steps=NONE)
    assert (square, 1) == (found["p"][0, 0].tolist(), found["p_label"][0, 0])


def test_of_many_corners_those_are_left_out_that_matter_least() -> None:
    """A circle of 100 corners becomes one of 20; a polygon with few stays as it is."""
    turn = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = np.stack([20 + 10 * np.cos(turn), 20 + 10 * np.sin(turn)], axis=1)
    few = simplified(circle, 20)
    assert 20 == len(few)
    assert 0.95 < area(few) / area(circle) < 1
    assert simplified(few, 20) is few
    assert [[0, 0], [9, 0], [9, 9]] == simplified(corners([0, 0, 5, 0.1, 9, 0, 9, 9]), 3).tolist()


def test_convexity_and_visibility_by_hand() -> None:
    """The arrow is not convex; half of it lies left of its notch or right of it, however it is turned."""
    assert not is_convex(corners(ARROW))
    assert is_convex(corners([0, 0, 4, 0, 4, 4, 0, 4]))
    assert not is_convex(corners([0, 0, 4, 4, 4, 0, 0, 4]))
    left, visible = moved_outline([Crop(Window(0, 0, 20, 48))], corners(ARROW), IMAGE)
    assert 0.5 == pytest.approx(visible)
    assert 20.0 == left[:, 1].max()


@pytest.mark.parametrize(
    ("target", "cell", "reason"),
    [
        (POLYGONS, [["cat", [1, 1, 5, 5]]], r"object 0 = .*: must be \[class, \[x, y, …\], …\], with three corners"),
        (POLYGONS, [["cow", ARROW]], "object 0 = .*class 'cow' is not known"),
        (POLYGONS, [["cat", [1, 1, 90, 5, 5, 9]]], "reaches outside of the image, which has 48 × 40 pixels"),
        (POLYGONS, [["cat", [1, 1, 5, 5, 9, 9]]], "has no area"),
        (POLYGONS, [["cat", [1, 1, 5, None, 9, 9]]], "None is no finite number"),
        (POLYGONS, [["cat", ARROW]] * 5, "5 polygons, and max_polygons = 4"),
        (POLYGONS, "x", "'x' is not JSON"),
        (TURNED, [[1, 2, 3]], r"object 0 = \[1, 2, 3\]: must be \[x, y, x, y, x, y, x, y\]"),
        (TURNED, [ARROW] * 4, "4 boxes, and max_boxes = 3"),
        (TURNED | {"format": "yolo"}, "none.txt", "none.txt: no such file"),
    ],
)
def test_bad_outlines_are_quarantined(tmp_path: Path, target: dict[str, Any], cell: object, reason: str) -> None:
    """The reason names the manifest, the line, the object and the value."""
    found = failure(tmp_path, {"p": cell}, {"p": target}, {"p": "" if target.get("format") else []})
    assert found.startswith("list.jsonl, line 2: p (target p): ")
    assert re.search(reason, found), found
