"""Moves targets by the moves of a sample's program, in the program's order."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from penstock.protocol.spec.operation import Pixels, Size
from penstock.protocol.spec.step import Move, Points
from penstock.worker.imaging.operations.geometry.moves import Crop, Mirror, Pad, Perspective, Scale
from penstock.worker.imaging.targets.polygons import area, areas, clipped, inside, is_convex

#: Moves that show an upright rectangle of the image.
_UPRIGHT = (Crop, Mirror, Scale, Pad)
#: A polygon needs so many corners.
_CORNERS = 3


def moved_mask(moves: Sequence[Move], mask: Pixels, outside: int) -> Pixels:
    """Return the moved mask (height, width), maybe as a view; `outside` where the image does not reach."""
    for move in moves:
        mask = move.mask(mask, outside)
    return mask


def moved_points(moves: Sequence[Move], points: Points, image: Size) -> tuple[Points, npt.NDArray[np.bool_]]:
    """Return where points are in the result, and which of them it shows: those that every move shows."""
    points, kept = points.copy(), np.ones(len(points), np.bool_)
    for move in moves:
        kept[kept] = inside(move.shown(image), points[kept, 0], points[kept, 1])
        points[kept] = move.points(points[kept], image)
        kept &= np.isfinite(points).all(axis=1)
        image = move.size(image)
    return points, kept


def reflected(moves: Sequence[Move]) -> bool:
    """Return whether the result is a mirror image; one that is mirrored along both axes is only turned."""
    return sum(move.reflects for move in moves) % 2 == 1


def moved_polygon(moves: Sequence[Move], corners: Points, image: Size) -> tuple[Points, float]:
    """Return the corners of a convex polygon in the result, and the visible fraction of its area.

    The polygon is cut to what each move shows, so that a part once cut off does not come back. The fraction is the
    product of those that each move leaves, each of the polygon that the move gets. Nothing visible: no corners, and 0.
    """
    return _moved(moves, corners, image, lambda move, left, size: move.polygon(left, size))


def moved_bounds(moves: Sequence[Move], polygons: Points, image: Size, result: Size) -> tuple[Points, Points]:
    """Return the upright rectangles around what `moved_polygon` makes of several convex polygons (n, corners, 2).

    They are (n, 4), inside of the result: least x and y, greatest x and y; and then the visible fractions, -1 where
    nothing is left. Polygons that no move cuts are moved all at once, by the same operations on each number.
    """
    corners, size = polygons, image
    uncut = (areas(polygons) != 0) & all(type(move) in _UPRIGHT for move in moves)
    for move in moves if uncut.any() else ():
        if isinstance(move, Scale) and move.to == size:
            continue
        region = move.shown(size)
        uncut &= ((region[0] <= corners) & (corners <= region[2])).all(axis=(1, 2))
        corners = move.points(corners.reshape(-1, 2), size).reshape(corners.shape)
        size = move.size(size)
    edge = np.array([result[1], result[0]], np.float64)
    bounds = np.clip(np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1), 0, np.tile(edge, 2))
    visible = np.ones(len(polygons))
    for number in np.flatnonzero(~uncut).tolist():
        left, part = moved_polygon(moves, polygons[number], image)
        visible[number] = part if len(left) else -1.0
        if len(left):
            bounds[number] = *np.clip(left.min(axis=0), 0, edge), *np.clip(left.max(axis=0), 0, edge)
    return bounds, visible


def moved_outline(moves: Sequence[Move], corners: Points, image: Size) -> tuple[Points, float]:
    """Do the same for a polygon that need not be convex, whose corners alone are moved.

    Where a move leaves several pieces of it, they are joined along the edge of what the move shows.
    """

    def carried(move: Move, left: Points, size: Size) -> Points:
        found = move.points(left, size)
        return found[np.isfinite(found).all(axis=1)]

    return _moved(moves, corners, image, carried)


def _moved(
    moves: Sequence[Move], corners: Points, image: Size, carry: Callable[[Move, Points, Size], Points]
) -> tuple[Points, float]:
    visible = 1.0
    for move in moves:
        whole = abs(area(corners))
        corners = clipped(corners, move.shown(image))
        left = abs(area(corners)) if len(corners) >= _CORNERS else 0.0
        if not left:
            return np.empty((0, 2)), 0.0
        visible *= min(1.0, left / whole)
        corners = carry(move, corners, image)
        if len(corners) < _CORNERS:
            return np.empty((0, 2)), 0.0
        image = move.size(image)
    return corners, visible


def moved_corners(moves: Sequence[Move], corners: Points, image: Size) -> Points:
    """Return where the corners of a convex polygon are in the result, also outside of it; NaN if one is nowhere.

    That is so beyond the horizon of a perspective, and where an elastic distortion shows nothing near the corner.
    """
    for move in moves:
        corners = move.points(corners, image)
        if isinstance(move, Perspective) and not is_convex(corners):
            return np.full(corners.shape, np.nan)
        image = move.size(image)
    return corners
