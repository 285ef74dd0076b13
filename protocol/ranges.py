"""Sets of integers as sorted, disjoint, half-open ranges. Pure functions."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: ((start, stop), ...) sorted, disjoint, not touching, each start < stop.
Ranges = tuple[tuple[int, int], ...]


def normalise(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Return the union of `pairs`, dropping empty ones and joining those that touch."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(pairs):
        if start >= stop:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return tuple(merged)


def from_sorted(values: Iterable[int]) -> Ranges:
    """Return the ranges that hold exactly `values`, which ascend strictly."""
    ranges: list[tuple[int, int]] = []
    start = stop = None
    for value in values:
        if start is None or stop is None:
            start, stop = value, value + 1
        elif value == stop:
            stop += 1
        else:
            ranges.append((start, stop))
            start, stop = value, value + 1
    if start is not None and stop is not None:
        ranges.append((start, stop))
    return tuple(ranges)


def subtract(left: Ranges, right: Ranges) -> Ranges:
    """Return what is in `left` and not in `right`; one pass over both."""
    result: list[tuple[int, int]] = []
    index = 0
    for start, stop in left:
        low = start
        while index < len(right) and right[index][1] <= low:
            index += 1
        cursor = index
        while cursor < len(right) and right[cursor][0] < stop:
            if right[cursor][0] > low:
                result.append((low, right[cursor][0]))
            low = max(low, right[cursor][1])
            cursor += 1
        if low < stop:
            result.append((low, stop))
    return tuple(result)


def intersect(left: Ranges, right: Ranges) -> Ranges:
    """Return what is in both."""
    return subtract(left, subtract(left, right))


def clipped(ranges: Ranges, low: int, high: int) -> Ranges:
    """Return what is in `ranges` and in [low, high), at the cost of a search."""
    first = bisect_right(ranges, (low, 2**63)) - 1
    if first >= 0 and high <= ranges[first][1]:  # it holds all of them: most often so
        return ((low, high),) if low < high else ()
    if first < 0 or ranges[first][1] <= low:
        first += 1
    last = first
    while last < len(ranges) and ranges[last][0] < high:
        last += 1
    found = ranges[first:last]
    if found and (found[0][0] < low or found[-1][1] > high):
        return tuple((max(start, low), min(stop, high)) for start, stop in found)
    return found


def around(ranges: Ranges, value: int) -> tuple[int, int]:
    """Return the range that holds `value`; an empty one if none does."""
    index = bisect_right(ranges, (value, 2**63)) - 1
    return ranges[index] if index >= 0 and value < ranges[index][1] else (value, value)


def is_normal(ranges: Ranges) -> bool:
    """Return whether `ranges` are sorted, disjoint, not touching and hold no negative number."""
    previous = -1
    for start, stop in ranges:
        if not previous < start < stop:
            return False
        previous = stop
    return True


def members(ranges: Ranges) -> Iterator[int]:
    """Yield every integer in `ranges`, ascending."""
    for start, stop in ranges:
        yield from range(start, stop)


def lowest(ranges: Ranges, count: int) -> Ranges:
    """Return the `count` lowest integers of `ranges`, or all if there are fewer."""
    result: list[tuple[int, int]] = []
    for start, stop in ranges:
        if count <= 0:
            break
        result.append((start, min(stop, start + count)))
        count -= stop - start
    return tuple(result)


def size(ranges: Ranges) -> int:
    """Return how many integers `ranges` holds."""
    return sum(stop - start for start, stop in ranges)


def contained(ranges: Ranges, values: Int64s) -> Bools:
    """Return which of `values` (int64, any shape) are in `ranges`."""
    if not ranges:
        return np.zeros(values.shape, np.bool_)
    bounds = np.array(ranges, np.int64)
    index = np.searchsorted(bounds[:, 0], values, side="right") - 1
    found: Bools = (index >= 0) & (values < bounds[index, 1])
    return found


def holds(ranges: Ranges, value: int) -> bool:
    """Return whether `value` is in `ranges`."""
    index = bisect_right(ranges, (value, 2**63)) - 1
    return index >= 0 and value < ranges[index][1]
