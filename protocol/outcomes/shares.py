"""Which samples of a unit of work go to which of several sinks. Pure functions of the plan and a list of positions.

The worker cuts its result by them, and a sink finds out by them which samples it has got.
"""

from collections.abc import Collection, Sequence

import numpy as np

from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges, contained
from penstock.protocol.records import TaskKey


def positions_of(plan: StreamPlan, key: TaskKey, failed: Collection[int] = ()) -> Int64s:
    """Return the positions of a unit's samples, by item and then by patch, without items at the offsets `failed`."""
    positions = plan.geometry.positions(key.ordinal)
    if key.which is None and not failed:
        return positions.ravel()
    offsets: Sequence[int] = key.offsets or (range(len(positions)) if key.item_offset is None else (key.item_offset,))
    return positions[[offset for offset in offsets if offset not in failed]].ravel()


def rows_in(positions: Int64s, share: Ranges) -> Int64s:
    """Return which of these rows of a result hold samples at the positions of a `share`, ascending."""
    return np.flatnonzero(contained(share, positions))
