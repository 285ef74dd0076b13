"""The ready units of work of one stream, lowest position first; those that hold a suspect alone stand apart.

Part of the leases core: no socket, no clock. A unit is checked for suspects when it comes to the top, since items
become suspects while it waits; `stream_queue.py` then splits it. The death of a worker with a large task of a small
source makes thousands of units that stand apart, so they are looked at one by one when their turn comes.
"""

from collections.abc import Callable, Collection, Mapping
from heapq import heapify, heappop, heappush

from penstock.protocol.messages import TaskKey
from penstock.ventilator.core.item_deaths import ItemDeaths
from penstock.ventilator.core.work import Work, entry

#: Entries of the heap that may be out of date (in addition to as many as there is work) before it is made anew.
_STALE = 1024
#: Units with a suspect that are offered at once. Only idle workers get one, so more would be looked at for nothing.
_OFFERED = 64


class ReadyWork:
    """Work that is ready to be leased."""

    def __init__(self, works: Mapping[TaskKey, Work], deaths: ItemDeaths, split: Callable[[Work], None]) -> None:
        """Start empty. `works` is all work of the stream; `split` replaces a unit by its items, each on its own."""
        self._works, self._deaths, self._split = works, deaths, split
        self._heap: list[tuple[int, int, TaskKey]] = []
        #: The units that hold a suspect alone, and that item; among them all ready ones. `suspects.py` leases them.
        self._apart: dict[TaskKey, int] = {}
        #: The same by item, and in a heap; entries that are in `_apart` no more are out of date.
        self._by_item: dict[int, set[TaskKey]] = {}
        self._apart_heap: list[tuple[int, int, TaskKey]] = []

    def push(self, work: Work) -> None:
        """Make a unit of work ready, unless it was given up."""
        if work.failure is None and not work.ready:
            work.ready = True
            self._place(work.key)

    def pop(self) -> Work | None:
        """Take the ready work with the lowest position that holds no suspect, or None."""
        work = self.top()
        if work:
            heappop(self._heap)
            work.ready = False
        return work

    def top(self) -> Work | None:
        """Return the lowest ready work that holds no suspect, or None; set suspects before it apart."""
        while self._heap:
            work = self._works.get(self._heap[0][2])
            if work is not None and work.ready and work.key not in self._apart:
                if self._is_clean(work):
                    return work
                heappop(self._heap)
                self.isolate(work)
            else:
                heappop(self._heap)
        return None

    def isolate(self, work: Work) -> None:
        """Set work apart that holds a suspect or an item that was given up: together with other items, it is split."""
        if not self._deaths.is_single(work.key):
            self._split(work)
        elif failure := self._deaths.failure(work.key):
            work.failure, work.ready = failure, False
        else:
            work.ready = True
            self._set_apart(work.key)

    @property
    def has_suspects(self) -> bool:
        """Whether units were set apart that hold a suspect alone, or did when that was checked last."""
        return bool(self._apart)

    def suspects(self, running: Collection[TaskKey]) -> list[Work]:
        """Return ready work that holds a suspect alone, the lowest positions first: one unit of each item.

        An item that one of the units `running` holds alone is left out: it would cost two workers at once.
        """
        if self._deaths:
            self.top()  # items that became suspects while they waited come first, even if no worker has a free slot
        self._put_back()
        if not self._apart:
            return []
        busy = {self._deaths.items(key)[0] for key in running if self._deaths.is_suspect(key)}
        chosen: dict[int, Work] = {}
        passed: list[tuple[int, int, TaskKey]] = []
        while self._apart_heap and len(chosen) < _OFFERED:
            each = heappop(self._apart_heap)
            key = each[2]
            if key not in self._apart or (passed and each == passed[-1]):
                continue
            work = self._works.get(key)
            if work is None or not work.ready:
                self._forget(key)
                continue
            passed.append(each)
            if (item := self._apart[key]) not in busy:
                chosen.setdefault(item, work)
        for each in passed:
            heappush(self._apart_heap, each)
        return list(chosen.values())

    def tidy(self) -> None:
        """Make the heaps anew if most of their entries are out of date."""
        if len(self._heap) > 2 * len(self._works) + _STALE:
            self._heap = [each for each in self._heap if (work := self._works.get(each[2])) and work.ready]
            heapify(self._heap)
        if len(self._apart_heap) > 2 * len(self._apart) + _STALE:
            self._apart_heap = [entry(key) for key in self._apart]
            heapify(self._apart_heap)

    def _put_back(self) -> None:
        """Put units whose item was acquitted back among the others."""
        acquitted, self._deaths.acquitted = self._deaths.acquitted, set()
        for item in acquitted:
            for key in () if self._deaths.is_suspected(item) else list(self._by_item.get(item, ())):
                self._forget(key)
                if (work := self._works.get(key)) and work.ready:
                    heappush(self._heap, entry(key))

    def _place(self, key: TaskKey) -> None:
        if self._deaths.is_suspect(key):
            self._set_apart(key)
        else:
            self._forget(key)
            heappush(self._heap, entry(key))

    def _set_apart(self, key: TaskKey) -> None:
        if key not in self._apart:
            [item] = self._deaths.items(key)
            self._apart[key] = item
            self._by_item.setdefault(item, set()).add(key)
            heappush(self._apart_heap, entry(key))

    def _forget(self, key: TaskKey) -> None:
        """Let a unit stand apart no more; its entry in the heap is out of date from now on."""
        item = self._apart.pop(key, None)
        if item is None:
            return
        keys = self._by_item[item]
        keys.discard(key)
        if not keys:
            del self._by_item[item]

    def _is_clean(self, work: Work) -> bool:
        """Return whether a unit of work holds neither a suspect nor an item that was given up."""
        if work.checked != self._deaths.version:
            if self._deaths.concerns(work.key):
                return False
            work.checked = self._deaths.version
        return True

    def validate(self) -> None:
        """Raise AssertionError if something is ready that could not be leased."""
        standing, apart = ({each[:2] for each in heap} for heap in (self._heap, self._apart_heap))
        for key, work in self._works.items():
            stands = entry(key)[:2] in (apart if key in self._apart else standing)
            assert not work.ready or stands, f"{key} is ready and will never be leased"  # noqa: S101
