"""Polygons: their areas, what is left of one inside of a convex one, and the same with fewer corners.

All arithmetic is on single numbers in a fixed order, so that every host gets the same bytes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.spec.step import Points


def area(corners: Points) -> float:
    """Return the area; positive if the corners run clockwise on the screen, where y points down."""
    total = 0.0
    places: list[list[float]] = corners.tolist()
    for (x, y), (next_x, next_y) in zip(places, places[1:] + places[:1], strict=True):
        total += x * next_y - next_x * y
    return total / 2.0


def areas(polygons: Points) -> Points:
    """Return the `area` of each polygon (n, corners, 2), by the same operations."""
    x, y = polygons[..., 0], polygons[..., 1]
    total = np.zeros(len(polygons))
    for here in range(polygons.shape[1]):
        after = (here + 1) % polygons.shape[1]
        total += x[:, here] * y[:, after] - x[:, after] * y[:, here]
    return total / 2.0


def clipped(corners: Points, region: Points) -> Points:
    """Return the part of a polygon that lies in a convex one, by Sutherland and Hodgman; maybe no corners."""
    size = area(region)
    if not size:
        return np.empty((0, 2))
    sides: list[list[float]] = region.tolist() if size > 0 else region[::-1].tolist()
    for (x, y), (next_x, next_y) in zip(sides, sides[1:] + sides[:1], strict=True):
        across, down = next_x - x, next_y - y
        corners = beyond(corners, -down, across, down * x - across * y, 0.0)
    return corners


def beyond(corners: Points, a: float, b: float, c: float, least: float) -> Points:
    """Return the part of a polygon where a x + b y + c is not below `least`; maybe no corners."""
    kept: list[tuple[float, float]] = []
    places: list[list[float]] = corners.tolist()
    for (x, y), (next_x, next_y) in zip(places, places[1:] + places[:1], strict=True):
        here, there = a * x + b * y + c - least, a * next_x + b * next_y + c - least
        if here >= 0.0:
            kept.append((x, y))
        if (here >= 0.0) != (there >= 0.0):
            part = here / (here - there)
            kept.append((x + part * (next_x - x), y + part * (next_y - y)))
    return np.array(kept, np.float64).reshape(-1, 2)


def inside(
    corners: Points, x: npt.NDArray[np.floating[Any]], y: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.bool_]:
    """Return which of the places (x, y) lie in a convex polygon, or on its edge; none in one without an area."""
    size = area(corners)
    if not size:
        return np.zeros(x.shape, np.bool_)
    sides: list[list[float]] = corners.tolist() if size > 0 else corners[::-1].tolist()
    found = np.ones(x.shape, np.bool_)
    for (left, top), (next_left, next_top) in zip(sides, sides[1:] + sides[:1], strict=True):
        found &= (next_left - left) * (y - top) - (next_top - top) * (x - left) >= 0
    return found


def is_convex(corners: Points) -> bool:
    """Return whether a polygon turns to one side at all of its corners."""
    places: list[list[float]] = corners.tolist()
    turns = [
        _doubled(before, here, after)
        for before, here, after in zip(places, places[1:] + places[:1], places[2:] + places[:2], strict=True)
    ]
    return all(turn > 0 for turn in turns) or all(turn < 0 for turn in turns)


def simplified(corners: Points, most: int) -> Points:
    """Return a polygon with at most so many corners: those are left out first that change its area least."""
    if len(corners) <= most:
        return corners
    places: list[list[float]] = corners.tolist()
    while len(places) > most:
        areas = [abs(_doubled(places[at - 1], places[at], places[(at + 1) % len(places)])) for at in range(len(places))]
        del places[areas.index(min(areas))]
    return np.array(places, np.float64)


def _doubled(one: list[float], two: list[float], three: list[float]) -> float:
    """Return twice the area of a triangle, negative if its corners run counterclockwise."""
    return (two[0] - one[0]) * (three[1] - one[1]) - (three[0] - one[0]) * (two[1] - one[1])
