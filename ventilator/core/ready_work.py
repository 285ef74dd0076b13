"""The ready units of work of one stream, lowest position first; those that hold a suspect alone stand apart.

Part of the leases core: no socket, no clock. A unit is checked for suspects when it comes to the top, since items
become suspects while it waits; `stream_queue.py` then splits it. The death of a worker with a large task of a small
source makes thousands of units that stand apart, so they are looked at one by one when their turn comes.
"""

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import chain

from penstock.protocol.messages import TaskKey
from penstock.ventilator.core.item_deaths import ItemDeaths
from penstock.ventilator.core.work import Entry, Work, entry

#: Entries of the lines that may be out of date (in addition to as many as there is work) before they are made anew.
_STALE = 1024
#: Units with a suspect that are offered at once. Only idle workers get one, so more would be looked at for nothing.
_OFFERED = 64


class ReadyWork:
    """Work that is ready to be leased."""

    def __init__(
        self,
        works: Mapping[TaskKey, Work],
        deaths: ItemDeaths,
        split: Callable[[Work], None],
        home: Callable[[TaskKey], str],
    ) -> None:
        """Start empty. `works` is all work of the stream; `split` replaces a unit by its items, each on its own.

        `home` says which host has a unit's items; empty: any.
        """
        self._works, self._deaths, self._split, self._home = works, deaths, split, home
        #: The lowest missing task, which is never passed over, and how many tasks behind the lowest ready work that may
        #: be which is at a worker's home (`StreamQueue.need` sets them).
        self.head, self.far = 0, 0
        #: A line for each home, the lowest position last; no entry in any has a lower ordinal than the other number.
        self._lines: dict[str, list[Entry]] = {}
        self._floor = 0
        #: The units that hold a suspect alone, and that item; among them all ready ones. `suspects.py` leases them.
        self._apart: dict[TaskKey, int] = {}
        #: The same by item, and in a heap; entries that are in `_apart` no more are out of date.
        self._by_item: dict[int, set[TaskKey]] = {}
        self._apart_heap: list[Entry] = []

    def __bool__(self) -> bool:
        """Return whether there is any, or lately was."""
        return any(self._lines.values())

    def push(self, work: Work) -> None:
        """Make a unit of work ready, unless it was given up."""
        if work.failure is None and not work.ready:
            work.ready = True
            self._place(work.key)

    def push_fresh(self, works: Iterable[Work]) -> None:
        """Make work ready that no worker has had, while there is no suspect and nothing was given up or set apart."""
        fresh: dict[str, list[Entry]] = {}
        for work in works:
            work.ready = True
            work.home = self._home(work.key)
            fresh.setdefault(work.home, []).append(entry(work.key))
        for home, entries in fresh.items():
            line = self._lines.setdefault(home, [])
            line += entries
            line.sort(reverse=True)  # nearly always two runs, which are merged at once
            self._floor = min(self._floor, line[-1][0])

    def pop(self, host: str = "", *, elsewhere: bool = True) -> Work | None:
        """Take the ready work with the lowest position that holds no suspect, or None.

        With a `host`, take what is at home there, or anywhere, first: unless it is more than `far` tasks behind the
        lowest of all, or that is the `head`, or there is none; then only if `elsewhere`.
        """
        if not host and len(self._lines) == 1:  # nearly always
            [line] = self._lines.values()
            work = self._top_of(line)
        else:
            home, work = self._choose(host, elsewhere=elsewhere) or ("", None)
            line = self._lines.get(home, [])
        if work is None:
            return None
        line.pop()
        work.ready, work.tried = False, True
        return work

    def find(self, host: str = "", *, elsewhere: bool = True) -> Work | None:
        """Return the work that `pop` would take."""
        found = self._choose(host, elsewhere=elsewhere)
        return found and found[1]

    def _choose(self, host: str, *, elsewhere: bool) -> tuple[str, Work] | None:
        """Return what `pop` takes, and the home that it is kept under."""
        if host and not self._lines.get(""):  # nearly always: everything has a home
            line = self._lines.get(host)
            if line and (work := self._top_of(line)) and line[-1][0] <= self._reach():
                return host, work
        while True:
            home = self._near(host) if host else None
            if home is None or self._lines[home][-1][0] > self._reach():
                work = self.top()
                lowest = self._lowest()
                if work is None or lowest is None:
                    return None
                self._floor = work.key.ordinal
                if home is None or not self._lines[home] or self._lines[home][-1][0] > self._reach():
                    if host and not elsewhere and lowest not in ("", host):
                        return None
                    home = lowest
            if work := self._top_of(self._lines[home]):  # looking at one may have set others' work apart
                return home, work

    def _near(self, host: str) -> str | None:
        """Return the home of the lowest work that is at home on a host, or anywhere; None if there is none."""
        near = [(line[-1], at) for at in ("", host) if (line := self._lines.get(at)) and self._top_of(line)]
        return min(near)[1] if near else None

    def _reach(self) -> int:
        """Return the highest ordinal that is taken before lower ones, as far as it is known which these are."""
        return self._floor + (self.far if self._floor > self.head else 0)

    def top(self) -> Work | None:
        """Return the lowest ready work that holds no suspect, or None; set suspects before it apart."""
        while (lowest := self._lowest()) is not None:
            line = self._lines[lowest]
            first = line[-1]
            work = self._top_of(line)
            if work is not None and line[-1] is first:  # else another line's first entry may be lower now
                return work
        return None

    def _lowest(self) -> str | None:
        """Return the home whose first entry is the lowest."""
        if len(self._lines) == 1:
            [home] = self._lines
            return home if self._lines[home] else None
        return min((home for home, line in self._lines.items() if line), key=lambda h: self._lines[h][-1], default=None)

    def _top_of(self, line: list[Entry]) -> Work | None:
        while line:
            work = self._works.get(line[-1][3])
            if work is not None and work.ready and work.key not in self._apart:
                if self._is_clean(work):
                    return work
                line.pop()
                self.isolate(work)
            else:
                line.pop()
        return None

    def rehome(self) -> None:
        """Find the home of all ready work anew."""
        entries = list(chain.from_iterable(self._lines.values()))
        self._lines = {}
        for each in entries:
            if (work := self._works.get(each[3])) and work.ready:
                work.home = "" if work.tried else self._home(work.key)
                self._lines.setdefault(work.home, []).append(each)
        for line in self._lines.values():
            line.sort(reverse=True)

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
        passed: list[Entry] = []
        while self._apart_heap and len(chosen) < _OFFERED:
            each = heappop(self._apart_heap)
            key = each[3]
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
        """Make the lines anew if most of their entries are out of date."""
        if sum(map(len, self._lines.values())) > 2 * len(self._works) + _STALE:
            self.rehome()
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
                    self._queue(work)

    def _place(self, key: TaskKey) -> None:
        if self._deaths.is_suspect(key):
            self._set_apart(key)
        else:
            self._forget(key)
            self._queue(self._works[key])

    def _queue(self, work: Work) -> None:
        work.home = "" if work.tried else self._home(work.key)  # anywhere if a worker has had it: it is late
        self._floor = min(self._floor, work.key.ordinal)
        insort(self._lines.setdefault(work.home, []), entry(work.key), key=_from_behind)

    def _set_apart(self, key: TaskKey) -> None:
        if key not in self._apart:
            [item] = self._deaths.items(key)
            self._apart[key] = item
            self._by_item.setdefault(item, set()).add(key)
            heappush(self._apart_heap, entry(key))

    def _forget(self, key: TaskKey) -> None:
        """Let a unit stand apart no more; its entry there is out of date from now on."""
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
        assert all(line[-1][0] >= self._floor for line in self._lines.values() if line)  # noqa: S101
        assert all(list(line) == sorted(line, key=_from_behind) for line in self._lines.values())  # noqa: S101
        standing = {each[3] for line in self._lines.values() for each in line}
        apart = {each[3] for each in self._apart_heap}
        for key, work in self._works.items():
            stands = key in (apart if key in self._apart else standing)
            assert not work.ready or stands, f"{key} is ready and will never be leased"  # noqa: S101


def _from_behind(each: Entry) -> tuple[int, int]:
    """Return what lines ascend by: the highest position stands first, the lowest last."""
    return -each[0], -each[1]
