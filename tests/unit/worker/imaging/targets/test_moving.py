"""Targets follow the image: moving one equals drawing it into the image and moving that."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.imaging.geometric import GEOMETRIC, geometric_programs

from penstock.protocol.spec.operation import Window
from penstock.protocol.spec.operation_table import step_models
from penstock.protocol.spec.step import Move, corners_of
from penstock.worker.imaging.operations.geometry.moves import Affine, Crop, Mirror, Pad, Perspective, Scale
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.targets.moving import moved_mask, moved_points, moved_polygon, reflected

IMAGE = (40, 48)
IGNORE = 255
#: Widest gap (pixels of the result) between a moved box and the drawn one, for each move that resamples it: the nearest
#: pixel is half a pixel off, and the tip of a turned corner covers no pixel's centre.
GAP = 1.6
#: The pixels around one, which the nearest pixel may be.
_AROUND = np.array([[x, y] for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0)])


@given(st.data(), geometric_programs(IMAGE, "nearest", IGNORE))
@settings(max_examples=60, deadline=None)
def test_a_moved_mask_is_the_moved_image_of_it(data: st.DataObject, made: tuple[Program, list[str]]) -> None:
    """With nearest sampling, a mask that moves is to the last pixel the image of the mask, moved by the program."""
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 9, IMAGE, np.uint8)
    expected = made[0].run(mask[..., np.newaxis])[..., 0]
    assert expected.tolist() == moved_mask(made[0].moves, mask, IGNORE).tolist()


@given(st.data(), geometric_programs(IMAGE, "nearest", 0, tuple(GEOMETRIC.keys() - {"elastic"})))
@settings(max_examples=120, deadline=None)
def test_a_moved_box_is_the_box_of_what_was_drawn(data: st.DataObject, made: tuple[Program, list[str]]) -> None:
    """The rectangle around a moved box's corners is that around the pixels of a drawn box, after any program."""
    left, top = data.draw(st.integers(0, 36)), data.draw(st.integers(0, 28))
    right, bottom = data.draw(st.integers(left + 8, 48)), data.draw(st.integers(top + 8, 40))
    image = np.zeros((*IMAGE, 1), np.uint8)
    image[top:bottom, left:right] = 200
    shown = np.argwhere(made[0].run(image)[..., 0] == 200)
    corners, visible = moved_polygon(made[0].moves, corners_of(left, top, right, bottom), IMAGE)
    gap = GAP * 1.5 ** len(made[1])
    if not len(shown) or not len(corners):
        assert not len(shown) or np.ptp(shown, axis=0).min() < gap
        assert not len(corners) or np.ptp(corners, axis=0).min() < gap
        return
    assume(np.ptp(corners, axis=0).min() > gap)  # of a sliver, no pixel's centre may be shown
    drawn = [*shown.min(axis=0)[::-1], *(shown.max(axis=0)[::-1] + 1)]
    assert drawn == pytest.approx([*corners.min(axis=0), *corners.max(axis=0)], abs=gap)
    assert 0.0 < visible <= 1.0


@given(st.data(), geometric_programs(IMAGE, "nearest", 0, ("elastic",), 1))
@settings(max_examples=15, deadline=None)
def test_a_box_follows_an_elastic_distortion(data: st.DataObject, made: tuple[Program, list[str]]) -> None:
    """Its rectangle is that around the pixels that show a part of it."""
    left, top = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 22))
    image = np.zeros((*IMAGE, 1), np.uint8)
    image[top : top + 14, left : left + 14] = 200
    shown = np.argwhere(made[0].run(image)[..., 0] == 200)
    corners, _ = moved_polygon(made[0].moves, corners_of(left, top, left + 14, top + 14), IMAGE)
    drawn = [*shown.min(axis=0)[::-1], *(shown.max(axis=0)[::-1] + 1)]
    assert drawn == pytest.approx([*corners.min(axis=0), *corners.max(axis=0)], abs=1.0)


@given(st.data(), geometric_programs(IMAGE, "nearest", IGNORE))
@settings(max_examples=100, deadline=None)
def test_a_moved_point_is_where_the_image_shows_it(data: st.DataObject, made: tuple[Program, list[str]]) -> None:
    """An image of its own coordinates, moved by any program, says where each point has gone, and which are gone."""
    program, ops = made
    pixels = np.indices(IMAGE).transpose(1, 2, 0)[..., [1, 0, 0]].astype(np.uint8)
    result = program.run(pixels)[..., :2].astype(float)
    count, reach = len(ops), GAP * 1.5 ** len(ops)
    points = np.array([[data.draw(st.integers(0, 47)), data.draw(st.integers(0, 39))] for _ in range(8)]) + 0.5
    moved, kept = moved_points(program.moves, points, IMAGE)
    rows, columns = np.indices(result.shape[:2]) + 0.5
    inner = (rows > reach) & (rows < len(rows) - reach) & (columns > reach) & (columns < len(rows[0]) - reach)
    for point, place, is_kept in zip(points, moved, kept, strict=True):
        off = np.abs(result + 0.5 - point).max(axis=2)
        if not is_kept:
            around = np.clip(point + count * _AROUND, 0.5, np.array(IMAGE[::-1]) - 0.5)
            if not moved_points(program.moves, around, IMAGE)[1].any():  # else the edge of a move is near
                assert not (inner & (off < 0.6)).any()
            continue
        assert off.min() <= 2 + count
        shown = off <= max(0.75 * count, off.min())
        assert np.hypot(columns[shown] - place[0], rows[shown] - place[1]).min() < reach


def test_what_lies_beyond_the_horizon_is_followed_too() -> None:
    """A strong perspective may have its line of zero depth between the result's first pixel and the image."""
    coefficients = (-14.2424240112, -8.41597843171, 277.727264404, -7.09090900421, -12.8925619126, 234.0)
    move = Perspective((*coefficients, -0.154269978404, -0.179063364863), "nearest", (IGNORE,))
    mask = np.zeros(IMAGE, np.uint8)
    mask[16:36, 10:40] = 1
    rows, columns = np.nonzero(move.mask(mask, IGNORE) == 1)
    box, visible = moved_polygon([move], corners_of(10, 16, 40, 36), IMAGE)
    assert 1.0 == pytest.approx(visible)
    drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert drawn == pytest.approx([*box.min(axis=0), *box.max(axis=0)], abs=1.5)
    places, kept = moved_points([move], np.array([[25.0, 26.0]]), IMAGE)
    assert [True] == kept.tolist()
    assert np.hypot(columns + 0.5 - places[0, 0], rows + 0.5 - places[0, 1]).min() < 1


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([], False),
        ([Mirror(horizontal=True, vertical=False)], True),
        ([Mirror(horizontal=False, vertical=True)], True),
        ([Mirror(horizontal=True, vertical=True)], False),
        (
            [Mirror(horizontal=True, vertical=False), Scale((9, 9), "box"), Mirror(horizontal=False, vertical=True)],
            False,
        ),
    ],
)
def test_a_mirror_image_is_one_that_no_turn_makes(moves: list[Move], expected: bool) -> None:  # noqa: FBT001 - a case
    """Mirrored along one axis, left and right are exchanged; along both, or twice, they are not."""
    assert expected == reflected(moves)


@pytest.mark.parametrize(
    ("moves", "corners", "visible"),
    [
        ([Crop(Window(0, 10, 40, 38))], (0, 10, 10, 30), 0.5),
        ([Mirror(horizontal=True, vertical=False)], (28, 10, 48, 30), 1.0),
        ([Scale((80, 24), "bilinear")], (0, 20, 10, 60), 1.0),
        ([Crop(Window(20, 0, 20, 20)), Pad(20, 0, 0, 0)], (0, 20, 20, 30), 0.5),
        ([Affine((1.0, 0.0, 10.0, 0.0, 1.0, 0.0), "nearest", (0,))], (0, 10, 10, 30), 0.5),
        ([Perspective((1.0, 0.0, 0.0, 0.0, 1.0, 15.0, 0.0, 0.0), "nearest", (0,))], (0, 0, 20, 15), 0.75),
        ([Crop(Window(0, 30, 40, 18))], None, 0.0),
    ],
)
def test_what_is_left_of_a_box(moves: list[Move], corners: tuple[float, ...] | None, visible: float) -> None:
    """A box of 20 × 20 pixels at (0, 10), by hand; a part that was cut off does not come back with the padding."""
    found, fraction = moved_polygon(moves, corners_of(0, 10, 20, 30), IMAGE)
    assert visible == fraction
    assert corners == ((*found.min(axis=0), *found.max(axis=0)) if len(found) else None)


def test_every_geometric_step_is_tried() -> None:
    """A new step that moves pixels belongs into the table of the property tests."""
    folder = "penstock.worker.imaging.operations.geometry."
    geometric: set[str] = {op for op, model in step_models().items() if model.__module__.startswith(folder)}
    assert geometric == GEOMETRIC.keys()
