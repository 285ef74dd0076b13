"""Counts workers' deaths by item, and keeps the items that were given up for them.

Part of the leases core: no socket, no clock. Theory of operation. An item stands in one unit of work of every epoch in
the window, so its deaths are counted under the item. A worker that dies is charged to each item of the unit that it
ran; an item with a charge is a *suspect* and runs alone from then on (`suspects.py`), so that only one item can be to
blame. A suspect that a worker finishes is cleared once the sink has the result. `stream_queue.py` decides which unit an
item is run in.

A worker that is silent need not be dead: the network may have failed. Therefore:
- Workers that held an item at the same time and fell silent are one outage, and count once, also if they hung up then.
- A worker says what it holds before it runs a suspect. If a silent one never said so, the task may not have reached it:
  such a loss counts only a third.
- A worker that turns up again takes its charge back, and the item is no longer given up.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from penstock.protocol.messages import Failure, TaskKey
from penstock.protocol.plan import StreamPlan

#: Doubtful losses, in which the task may not have reached the worker, that count as much as one certain loss.
_DOUBTFUL = 3
#: Tasks whose items are remembered.
_KNOWN = 1024


@dataclass(frozen=True, slots=True)
class Loss:
    """How a worker was lost: facts about the unit of work that it probably ran."""

    worker: str
    #: When it got the unit (monotonic s).
    leased_at: float
    #: Whether it ever said that it had the unit.
    acknowledged: bool
    #: Whether its connection was closed before it fell silent: it died. Otherwise its line may have failed.
    closed: bool


@dataclass(frozen=True, slots=True)
class Charge:
    """The items that one loss was counted against, and whether it was doubtful."""

    certain: tuple[int, ...] = ()
    doubtful: tuple[int, ...] = ()


@dataclass(slots=True)
class _Count:
    certain: int = 0
    doubtful: int = 0
    charged_at: float = -math.inf

    @property
    def weight(self) -> int:
        return self.certain + self.doubtful // _DOUBTFUL


class ItemDeaths:
    """The suspects of one stream, and the items that were given up, in all epochs."""

    def __init__(self, plan: StreamPlan, limit: int) -> None:
        """Start without suspects; an item that ran alone when it caused death number `limit` may be given up."""
        self._plan, self._limit = plan, limit
        geometry = plan.geometry
        #: The tasks of an epoch that hold one item: all from the first of them on. All leases are checked in each turn.
        self._tasks = geometry.tasks_per_epoch
        self._single_from = 0 if geometry.task_items == 1 else self._tasks - (len(geometry.slots(self._tasks - 1)) == 1)
        #: The same tasks are asked for again and again while there are suspects, item by item once they are split.
        self._find_items = lru_cache(maxsize=_KNOWN)(self._find)
        self._counts: dict[int, _Count] = {}
        #: Items that were given up: item to its failure.
        self.poison: dict[int, Failure] = {}
        #: Grows with every new suspect: a unit of work that was checked at an older version must be checked again.
        self.version = 0
        #: Items that are no suspects any more, since `ready_work.py` last looked.
        self.acquitted: set[int] = set()

    def __bool__(self) -> bool:
        """Return whether there are suspects or items that were given up."""
        return bool(self._counts or self.poison)

    def items(self, key: TaskKey) -> tuple[int, ...]:
        """Return the items of a unit of work."""
        items, which = self._find_items(key.ordinal), key.which
        if which is None:
            return items
        return tuple(items[offset] for offset in which) if isinstance(which, tuple) else items[which : which + 1]

    def _find(self, ordinal: int) -> tuple[int, ...]:
        return tuple(self._plan.indices(ordinal).tolist())

    def is_single(self, key: TaskKey) -> bool:
        """Return whether a unit of work holds one item."""
        return key.item_offset is not None or (not key.offsets and key.ordinal % self._tasks >= self._single_from)

    def concerns(self, key: TaskKey) -> bool:
        """Return whether a unit of work holds a suspect or an item that was given up."""
        return bool(self) and any(item in self._counts or item in self.poison for item in self.items(key))

    def is_suspect(self, key: TaskKey) -> bool:
        """Return whether a unit of work holds a suspect and nothing else."""
        if not self._counts or not self.is_single(key):
            return False
        return self.is_suspected(self.items(key)[0])

    def is_suspected(self, item: int) -> bool:
        """Return whether an item is a suspect that was not given up."""
        return item in self._counts and item not in self.poison

    def failure(self, key: TaskKey) -> Failure | None:
        """Return why the one item of a unit of work was given up, or None."""
        if not self.poison or not self.is_single(key):
            return None
        known = self.poison.get(self.items(key)[0])
        return known and known.replaced(offset=key.item_offset or 0)

    def deaths(self, key: TaskKey) -> int:
        """Return how many workers were lost with the item of a unit of work that holds one, doubtful losses included.

        Of a unit of several items, which holds no suspect when it is leased, return 0.
        """
        if not self._counts or not self.is_single(key):
            return 0
        count = self._counts.get(self.items(key)[0])
        return count.certain + count.doubtful if count else 0

    def charge(self, key: TaskKey, loss: Loss, now: float) -> Charge:
        """Count a loss against all items of the unit of work that the worker ran; return what was counted."""
        items = self.items(key)
        alone = len(items) == 1
        certain, doubtful = [], []
        for item in items:
            count = self._counts.setdefault(item, _Count())
            if not loss.closed and loss.leased_at < count.charged_at:
                continue  # it held the item when another one fell silent with it: one outage
            if not alone and count.certain >= self._limit - 1:
                continue  # the last death is one of which no other item can be the cause
            if not alone or loss.acknowledged or loss.closed or not count.certain:
                count.certain += 1
                certain.append(item)
            else:
                count.doubtful += 1
                doubtful.append(item)
            count.charged_at = now
        self.version += 1
        return Charge(tuple(certain), tuple(doubtful))

    def is_fatal(self, key: TaskKey) -> bool:
        """Return whether a unit of work holds one item only, which cost too many workers and is to be given up."""
        if not self.is_single(key):
            return False
        count = self._counts.get(self.items(key)[0])
        return count is not None and count.weight >= self._limit

    def refund(self, charge: Charge) -> list[int]:
        """Take a charge back: the worker lives. Return the items that are no longer given up."""
        for item in charge.certain:
            if (count := self._counts.get(item)) and count.certain:
                count.certain -= 1
        for item in charge.doubtful:
            if (count := self._counts.get(item)) and count.doubtful:
                count.doubtful -= 1
        revoked = []
        for item in (*charge.certain, *charge.doubtful):
            count = self._counts.get(item)
            if count and item in self.poison and count.weight < self._limit:
                del self.poison[item]
                revoked.append(item)
            if count and not count.certain + count.doubtful:
                del self._counts[item]
                self.acquitted.add(item)
        return revoked

    def clear(self, key: TaskKey) -> None:
        """Acquit the items of a unit of work whose result has reached the sink."""
        for item in self.items(key) if self._counts else ():
            if self.is_suspected(item):
                del self._counts[item]
                self.acquitted.add(item)
