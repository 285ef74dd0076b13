"""Places: offsets that fill the image evenly, and patches that never overlap, compared with exact arithmetic."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.order import DRAW_PLACES, sample_generator
from penstock.protocol.spec.transform import Patch
from penstock.worker.imaging import patch_positions
from penstock.worker.imaging.operations.rescale import Rescale

rooms = st.integers(0, 70_000)
sides = st.integers(1, 60)


@given(room=rooms, draw=st.floats(0.0, 1.0, exclude_max=True))
def test_random_offsets_stay_inside(room: int, draw: float) -> None:
    """The largest number below 1 stands for the last offset, 0 for the first."""
    assert 0 <= patch_positions.random_offset(room, draw) <= room
    assert 0 == patch_positions.random_offset(room, 0.0)
    assert room == patch_positions.random_offset(room, float(np.nextafter(1.0, 0.0)))


def test_random_offsets_reach_everything_evenly() -> None:
    """Each of 4 × 7 offsets turns up about equally often over items and patches, both edges included."""
    counts = np.zeros((4, 7), int)
    for item in range(400):
        for patch in range(7):
            y, x = sample_generator(1, 2, item, patch).random(2)
            counts[patch_positions.random_offset(3, y), patch_positions.random_offset(6, x)] += 1
    expected = counts.sum() / counts.size
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 60.0  # 27 degrees of freedom: one in 5,000 seeds would exceed 60, and this seed is fixed


@given(room_y=rooms, room_x=rooms, rows=st.integers(1, 40), columns=st.integers(1, 40))
def test_grids_are_even_from_edge_to_edge(room_y: int, room_x: int, rows: int, columns: int) -> None:
    """Patches count by rows; the first and last touch the edges; steps differ by a pixel at most; one is centred."""
    patch = Patch(kind="grid", height=1, width=1, rows=rows, columns=columns)
    offsets = [patch_positions.grid_offset(room_y, room_x, patch, index) for index in range(rows * columns)]
    ys, xs = [y for y, _ in offsets[::columns]], [x for _, x in offsets[:columns]]
    assert [(y, x) for y in ys for x in xs] == offsets
    for found, room in ((ys, room_y), (xs, room_x)):
        if len(found) == 1:
            assert [room // 2] == found
        else:
            assert (0, room) == (found[0], found[-1])
            assert np.ptp(np.diff(found)) <= 1


def test_the_centre_is_rounded_to_the_top_left() -> None:
    """Of an odd margin the smaller half is above and to the left."""
    assert [2, 3] == [patch_positions.center_offset(5), patch_positions.center_offset(6)]


# scattered


def scattered(count: int, cell: tuple[int, int], image: tuple[int, int], seed: int = 0) -> list[tuple[int, int]]:
    """Return offsets, having checked that they lie inside and that no two cells overlap."""
    found = patch_positions.scatter(count, cell, image, sample_generator(seed, 0, 0, 0, DRAW_PLACES))
    assert count == len(found)
    covered = np.zeros(image, np.uint8)
    for y, x in found:
        assert 0 <= y <= image[0] - cell[0]
        assert 0 <= x <= image[1] - cell[1]
        covered[y : y + cell[0], x : x + cell[1]] += 1
    assert covered.max() == 1
    return found


@given(st.data(), st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 2**63 - 1))
def test_scattered_cells_never_overlap_and_every_number_that_fits_is_placed(
    data: st.DataObject, cell: tuple[int, int], more: tuple[int, int], seed: int
) -> None:
    """Up to as many as a grid holds, which is as many as can be placed at all."""
    image = cell[0] + more[0] - 1, cell[1] + more[1] - 1
    capacity = (image[0] // cell[0]) * (image[1] // cell[1])
    count = data.draw(st.integers(1, min(capacity, 400)) | st.just(min(capacity, 400)))
    assert scattered(count, cell, image, seed) == scattered(count, cell, image, seed)


def test_a_full_image_leaves_only_the_grid() -> None:
    """Then every cell is used, in random order."""
    found = scattered(12, (10, 20), (30, 80))
    assert [(y, x) for y in (0, 10, 20) for x in (0, 20, 40, 60)] == sorted(found)
    assert found != sorted(found)


@pytest.mark.parametrize("count", [2, 8])
def test_scattered_cells_reach_everything(count: int) -> None:
    """Every offset turns up, the corners included."""
    found = {offset for seed in range(2000) for offset in scattered(count, (4, 4), (18, 23), seed)}
    assert {(y, x) for y in range(15) for x in range(20)} == found


def test_no_patch_is_favoured() -> None:
    """The first patch of an item lies where the last does, on average: in the middle."""
    for count in (3, 20):
        found = np.array([scattered(count, (4, 4), (18, 23), seed) for seed in range(400)])
        assert np.allclose((7.0, 9.5), found.mean(axis=0), atol=1.5)


@given(st.data(), st.integers(1, 300), st.floats(0.05, 4.0), st.integers(1, 80))
def test_a_patch_stays_inside_its_cell_when_the_image_is_resized(
    data: st.DataObject, side: int, value: float, patch: int
) -> None:
    """Compared as exact fractions of the side, wherever the cell begins."""
    rescale = Rescale(kind="resize", value=value)
    side = max(side, *rescale.least((patch, 1)))
    after, _ = rescale.size((side, 1))
    cell, _ = rescale.cell((patch, 1), (side, side))
    assert 0 < cell <= side
    start = data.draw(st.integers(0, side - cell))
    offset = patch_positions.cell_offset(start, cell, side, after, patch)
    assert Fraction(start, side) <= Fraction(offset, after)
    assert Fraction(offset + patch, after) <= Fraction(start + cell, side)


@pytest.mark.parametrize(("kind", "cells"), [("side by side", 10), ("corner to corner", 4)])
def test_touching_is_not_overlapping(kind: str, cells: int) -> None:
    """Neighbours may share an edge, else a full image could not be filled."""
    found = scattered(cells, (3, 3), (3, 30) if kind == "side by side" else (6, 6))
    assert any(abs(a[0] - b[0]) in (0, 3) and abs(a[1] - b[1]) in (0, 3) for a, b in combinations(found, 2))
