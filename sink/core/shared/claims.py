"""Which positions one rank trains on: a pure function of the plan, its place, and what is known to have failed.

A *round* is `world_size` batches of consecutive survivors, of which each rank takes its own (`reader.py`). Which
survivor stands at a position depends on all failures before it in the epoch. Samples of which it is not known yet
whether they can be made count as survivors here; when one turns out to have failed, the claims behind it move on.
"""

import numpy as np

from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges, normalise

#: Rounds that are looked ahead at most.
_MOST_ROUNDS = 4096


def claims(plan: StreamPlan, rank: int, world_size: int, cursor: int, failed: Int64s, limit: int) -> tuple[Ranges, int]:
    """Return what a rank claims of the positions from `cursor` to before `limit`, and the position up to which it is.

    `failed`: positions, ascending, of samples that are known to have failed; they may stand within the claims, but for
    the first and the last position of each rank's share. A round begins at the cursor.
    """
    size = plan.geometry.samples_per_epoch
    taken = plan.settings.batch_size * world_size
    spans: list[tuple[int, int]] = []
    left = _MOST_ROUNDS
    while cursor < limit and left > 0:
        stop = (cursor // size + 1) * size
        lost = failed[np.searchsorted(failed, cursor) : np.searchsorted(failed, stop)] if len(failed) else failed
        alive = stop - cursor - len(lost)
        within = min(limit, stop) - cursor - (int(np.searchsorted(lost, min(limit, stop))) if len(lost) else 0)
        full, rest = divmod(alive, taken)
        rounds = min(full, -(-within // taken), left)
        first = np.arange(rounds, dtype=np.int64) * taken
        low, high = rank * taken // world_size, (rank + 1) * taken // world_size
        begins, ends = first + low, first + high - 1
        last = rounds == full and rest >= world_size and not plan.settings.drop_remainder
        if last:
            begins = np.append(begins, full * taken + rank * rest // world_size)
            ends = np.append(ends, full * taken + (rank + 1) * rest // world_size - 1)
        starts, stops = survivors(cursor, lost, begins), survivors(cursor, lost, ends) + 1
        spans += zip(starts.tolist(), stops.tolist(), strict=True)
        left -= rounds + 1
        if rounds < full:
            reached = int(survivors(cursor, lost, np.array([rounds * taken]))[0])
            limit = min(limit, reached)
        cursor = stop
    limit = min(limit, cursor)
    return normalise((start, min(stop, limit)) for start, stop in spans), limit


def survivors(cursor: int, failed: Int64s, numbers: Int64s) -> Int64s:
    """Return the positions of the survivors with these numbers, counted from `cursor` on; `failed` do not count."""
    positions: Int64s = cursor + numbers
    if len(failed):
        positions = positions + np.searchsorted(failed - cursor - np.arange(len(failed)), numbers, side="right")
    return positions
