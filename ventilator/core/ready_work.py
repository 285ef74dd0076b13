"""The ready units of work of one stream, lowest position first; those that hold a suspect alone stand apart.

Part of the leases core: no socket, no clock. A unit is checked for suspects when it comes to the top, since items
become suspects while it waits; `stream_queue.py` then splits it.
"""

from collections.abc import Callable, Collection, Mapping
from heapq import heapify, heappop, heappush

from penstock.protocol.messages import TaskKey
from penstock.ventilator.core.item_deaths import ItemDeaths
from penstock.ventilator.core.work import Work, entry

#: Entries of the heap that may be out of date (in addition to as many as there is work) before it is made anew.
_STALE = 1024


class ReadyWork:
    """Work that is ready to be leased."""

    def __init__(self, works: Mapping[TaskKey, Work], deaths: ItemDeaths, split: Callable[[Work], None]) -> None:
        """Start empty. `works` is all work of the stream; `split` replaces a unit by its items, each on its own."""
        self._works, self._deaths, self._split = works, deaths, split
        self._heap: list[tuple[int, int, TaskKey]] = []
        #: Among others, the ready units that hold a suspect alone, and that item: `suspects.py` leases them.
        self._suspects: dict[TaskKey, int] = {}

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
            if work is not None and work.ready and work.key not in self._suspects:
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
            [self._suspects[work.key]] = self._deaths.items(work.key)

    @property
    def has_suspects(self) -> bool:
        """Whether units were set apart that hold a suspect alone, or did when that was checked last."""
        return bool(self._suspects)

    def suspects(self, running: Collection[TaskKey]) -> list[Work]:
        """Return the ready work that holds a suspect alone, lowest position first: one unit of each item.

        An item that one of the units `running` holds alone is left out: it would cost two workers at once.
        """
        if self._deaths:
            self.top()  # items that became suspects while they waited come first, even if no worker has a free slot
        self._review()
        if not self._suspects:
            return []
        busy = {self._deaths.items(key)[0] for key in running if self._deaths.is_suspect(key)}
        chosen: dict[int, Work] = {}
        for key in sorted(self._suspects, key=entry):
            item = self._suspects[key]
            if item not in busy:
                chosen.setdefault(item, self._works[key])
        return list(chosen.values())

    def tidy(self) -> None:
        """Make the heap anew if most of its entries are out of date."""
        if len(self._heap) > 2 * len(self._works) + _STALE:
            self._heap = [each for each in self._heap if (work := self._works.get(each[2])) and work.ready]
            heapify(self._heap)

    def _review(self) -> None:
        """Leave out what is not ready any more, and put units whose item was acquitted back among the others."""
        ready = {key: item for key, item in self._suspects.items() if (work := self._works.get(key)) and work.ready}
        self._suspects = {key: item for key, item in ready.items() if self._deaths.is_suspected(item)}
        for key in ready.keys() - self._suspects.keys() if len(ready) != len(self._suspects) else ():
            self._place(key)

    def _place(self, key: TaskKey) -> None:
        if self._deaths.is_suspect(key):
            [self._suspects[key]] = self._deaths.items(key)
        else:
            heappush(self._heap, entry(key))

    def _is_clean(self, work: Work) -> bool:
        """Return whether a unit of work holds neither a suspect nor an item that was given up."""
        if work.checked != self._deaths.version:
            if self._deaths.concerns(work.key):
                return False
            work.checked = self._deaths.version
        return True

    def validate(self) -> None:
        """Raise AssertionError if something is ready that could not be leased."""
        standing = {each[:2] for each in self._heap}
        for key, work in self._works.items():
            stands = key in self._suspects or entry(key)[:2] in standing
            assert not work.ready or stands, f"{key} is ready and will never be leased"  # noqa: S101
