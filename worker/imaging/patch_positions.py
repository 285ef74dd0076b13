"""Computes where patches lie in an image: their offsets, on a grid or scattered.

A position is drawn as numbers in [0, 1) that are then scaled to the available room, so the same numbers give the same
relative position in images of any size. Numbers are `random()` and not `integers()`: its definition, 53 bits of the bit
generator's next word, is as lasting as the bit generator, where numpy may change its bounded integers (NEP 19). The
bias is below 2^-36.
"""

import numpy as np

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.transform import Patch

#: Candidates tried for each scattered patch. At half the density at which random placing jams, nearly every item is
#: done within 4; those that are not are placed on a jittered grid.
_TRIES = 8


def random_offset(room: int, draw: float) -> int:
    """Return the offset in [0, `room`] that a uniform of [0, 1) stands for."""
    return int(draw * (room + 1))


def center_offset(room: int) -> int:
    """Return the offset of the centred patch, rounded towards the top left."""
    return room // 2


def grid_offset(room_y: int, room_x: int, patch: Patch, index: int) -> tuple[int, int]:
    """Return the offset of patch `index`, counted by rows: evenly spaced from edge to edge; a single one is centred."""
    row, column = divmod(index, patch.columns)
    return _spread(room_y, patch.rows, row), _spread(room_x, patch.columns, column)


def _spread(room: int, count: int, index: int) -> int:
    if count == 1:
        return room // 2
    return (2 * room * index + count - 1) // (2 * (count - 1))  # rounds half up


def cell_offset(start: int, cell: int, side: int, after: int, patch: int) -> int:
    """Return the offset of a patch that lies, centred, inside a cell after a side of the image changed its length.

    The cell is [start, start + cell) of `side` pixels, which became `after`. It must be long enough (`Transform.cell`).
    """
    low = -(-start * after // side)
    high = (start + cell) * after // side - patch
    return (low + high) // 2


def scatter(count: int, cell: Size, image: Size, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return `count` random offsets (y, x) of cells in an image, no two of which overlap; sizes are (height, width).

    Random sequential addition (B. Widom, "Random Sequential Addition of Hard Spheres to a Volume", J. Chem. Phys. 44,
    1966; in the plane it jams at 0.562 of the area): uniform offsets, and those that overlap an earlier one are
    rejected. If too many are, all start again on a jittered grid (stratified sampling: R. L. Cook, "Stochastic Sampling
    in Computer Graphics", ACM TOG 5, 1986): as many rows of cells as fit, with random gaps between them, and in each
    row as many cells, again with random gaps; of these cells a random choice, in random order. That succeeds for every
    count up to `Transform.capacity`; a larger one is the caller's mistake.
    """
    rooms = image[0] - cell[0] + 1, image[1] - cell[1] + 1
    candidates = (rng.random((_TRIES * count, 2)) * rooms).astype(np.int64)
    found: dict[tuple[int, int], tuple[int, int]] = {}  # by square of the cells' size: it can hold one offset at most
    for y, x in candidates.tolist():
        row, column = y // cell[0], x // cell[1]
        near = (found.get((row + down, column + right)) for down in (-1, 0, 1) for right in (-1, 0, 1))
        if all(other is None or abs(other[0] - y) >= cell[0] or abs(other[1] - x) >= cell[1] for other in near):
            found[row, column] = y, x
            if len(found) == count:
                return list(found.values())
    return _jittered(count, cell, image, rng)


def _jittered(count: int, cell: Size, image: Size, rng: np.random.Generator) -> list[tuple[int, int]]:
    rows, columns = image[0] // cell[0], image[1] // cell[1]
    ys = _gaps(rows, cell[0], image[0], rng)
    xs = [_gaps(columns, cell[1], image[1], rng) for _ in range(rows)]
    chosen = np.argsort(rng.random(rows * columns), kind="stable")[:count].tolist()
    return [(ys[place // columns], xs[place // columns][place % columns]) for place in chosen]


def _gaps(count: int, length: int, side: int, rng: np.random.Generator) -> list[int]:
    """Return where `count` pieces of `length` start on a side, in order, with random gaps before and between them."""
    gaps = np.sort((rng.random(count) * (side - count * length + 1)).astype(np.int64))
    starts: list[int] = (gaps + np.arange(count) * length).tolist()
    return starts
