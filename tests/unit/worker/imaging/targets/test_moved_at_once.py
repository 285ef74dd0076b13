"""Boxes that are moved all at once end where each of them ends alone, to the last bit."""

import json
from typing import Any

import numpy as np
import pytest

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Window
from penstock.protocol.spec.targets.boxes import BoxesTarget
from penstock.worker.imaging.operations.geometry.moves import Affine, Crop, Mirror, Pad, Scale
from penstock.worker.imaging.targets.boxes import BoxesLoader
from penstock.worker.imaging.targets.moving import moved_bounds, moved_polygon

IMAGE = (120, 170)
MOVES = {
    "letterbox": [Crop(Window(0, 0, *IMAGE)), Scale((90, 127), "bilinear"), Pad(3, 0, 4, 1)],
    "mirrored": [Mirror(horizontal=True, vertical=False), Crop(Window(20, 30, 77, 81)), Scale((224, 224), "bilinear")],
    "turned": [Crop(Window(1, 2, 100, 101)), Affine((0.9, 0.1, 2.0, -0.1, 0.9, 5.0), "nearest", (0,))],
}


@pytest.mark.parametrize("name", MOVES)
def test_polygons_move_together_as_each_moves_alone(name: str) -> None:
    """Inside, on the edge, cut, gone, and without an area."""
    rng, size = np.random.default_rng(5), IMAGE
    for move in MOVES[name]:
        size = move.size(size)
    start = rng.integers(-5, 150, (200, 2)) + rng.random((200, 2)) * (rng.random((200, 1)) < 0.5)
    end = start + rng.integers(0, 90, (200, 2))
    left, top, right, bottom = start[:, 0], start[:, 1], end[:, 0], end[:, 1]
    polygons = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1).reshape(-1, 4, 2)
    for given, bounds, visible in zip(polygons, *moved_bounds(MOVES[name], polygons, IMAGE, size), strict=True):
        corners, share = moved_polygon(MOVES[name], given, IMAGE)
        if len(corners):
            first, last = np.clip(corners.min(axis=0), 0, size[::-1]), np.clip(corners.max(axis=0), 0, size[::-1])
            assert [*first.tolist(), *last.tolist(), share] == [*bounds.tolist(), visible]
        else:
            assert visible == -1.0


@pytest.mark.parametrize("form", ["xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize("normalized", [False, True])
def test_boxes_are_read_together_as_each_is_read_alone(form: Any, normalized: bool) -> None:  # noqa: FBT001
    """The same corners, and the same refusals."""
    loader = BoxesLoader(BoxesTarget(kind="boxes", column="b", format=form, normalized=normalized, classes=("a", "b")))
    rng = np.random.default_rng(6)
    scale = np.array([1.0, 1.0, 1.0, 1.0]) if normalized else np.array([170.0, 120.0, 170.0, 120.0])
    for turn in range(300):
        numbers = rng.random(4) * scale * rng.choice([1.0, 0.5]) + (scale * (0, 0, 0.4, 0.4) if form == "xyxy" else 0.0)
        row = [round(number, 3) if turn % 2 else int(number) for number in numbers.tolist()]
        wrong = ["a", 1, True, None, "c", 2, 1.0][turn % 7]
        value = [*row, wrong] if turn % 5 else [*row[:3], [-0.0, float("nan"), True, "4", 10**400][turn % 25 // 5], "a"]
        try:
            expected: Any = loader._box("box 0", json.loads(json.dumps(value)), IMAGE).corners.tobytes()
        except ItemError:
            expected = None
        found = loader._all([value], IMAGE)
        assert expected == (None if found is None else found[0].tobytes()), value
