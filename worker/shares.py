"""Which rows of a unit of work go to a sink: those of the samples at the positions that it gets. Pure functions."""

from collections.abc import Sequence

import numpy as np

from penstock.protocol import ranges
from penstock.protocol.messages import Failure, TaskKey
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array


def unit_positions(plan: StreamPlan, key: TaskKey, failures: Sequence[Failure]) -> Int64s:
    """Return the position of each row of a unit's fields: by item, then by patch, without the items that failed."""
    positions = plan.geometry.positions(key.ordinal)
    which = key.which
    offsets: Sequence[int] = range(len(positions)) if which is None else (which,) if isinstance(which, int) else which
    if failures:
        failed = {failure.offset for failure in failures}
        offsets = [offset for offset in offsets if offset not in failed]
    return positions[list(offsets)].ravel()


def rows_in(positions: Int64s, spans: ranges.Ranges) -> Int64s:
    """Return the rows whose position is in one of `spans`, which are sorted and disjoint, ascending."""
    return np.flatnonzero(ranges.contained(spans, positions))


def picked(arrays: Sequence[Array], rows: Int64s) -> list[Array]:
    """Return these rows of each field, without a copy where they follow each other. There is one row at least."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return [array[first : last + 1] for array in arrays]
    return [array[rows] for array in arrays]
