"""Convex polygons: their areas, and what is left of one inside of another.

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


def clipped(corners: Points, region: Points) -> Points:
    """Return the part of a convex polygon that lies in another one, by Sutherland and Hodgman; maybe no corners."""
    size = area(region)
    if not size:
        return np.empty((0, 2))
    sides: list[list[float]] = region.tolist() if size > 0 else region[::-1].tolist()
    for (x, y), (next_x, next_y) in zip(sides, sides[1:] + sides[:1], strict=True):
        across, down = next_x - x, next_y - y
        corners = beyond(corners, -down, across, down * x - across * y, 0.0)
    return corners


def beyond(corners: Points, a: float, b: float, c: float, least: float) -> Points:
    """Return the part of a convex polygon where a x + b y + c is not below `least`; maybe no corners."""
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
