"""The work of one stream: what is missing at the sink, what is ready to be leased, what is poisoned.

Part of the leases core: no socket, no clock. A unit of work exists exactly as long as the sink says that it is missing.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from penstock.protocol import ranges
from penstock.protocol.event_log import EventLog
from penstock.protocol.messages import Failure, StreamNeed, Task, TaskKey, Timings
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.records import MOST_S
from penstock.ventilator.core.observation import StreamObservation

#: Weight of the newest duration in a queue's typical task duration (exponential moving average).
_NEWEST = 0.1
#: Entries of the heap of ready work that may be out of date (beside as many as there is work) before it is made anew.
_STALE = 1024

#: (key, attempts) to the task: a pure function of the plan and the source's listing. Of a source of rows only what is
#: run alone has its item, so that it can be named; workers know the others by the plan.
MakeTask = Callable[[TaskKey, int], Task]


@dataclass(slots=True)
class Work:
    """A unit of work that the sink misses."""

    key: TaskKey
    #: When the sink began to miss it: a lease that is older was for another time that it was missed.
    since: float
    #: Workers that died while they ran it.
    deaths: int = 0
    #: When a worker last said that its result was sent; None: not since it was last ready.
    finished_at: float | None = None
    #: Who has sent a result of it, and when, the latest last; and how often it was made again because none arrived.
    senders: dict[bytes, float] = field(default_factory=dict)
    remade: int = 0
    #: Whether it stands in the heap of work that is ready.
    ready: bool = False
    #: Set once it was given up: repeated to the sink until it is no longer missing.
    failure: Failure | None = None
    #: Whether the sink was told of the failure at least once.
    told: bool = False


class StreamQueue:
    """The work of one stream, lowest position first."""

    def __init__(self, plan: StreamPlan, make_task: MakeTask, log: EventLog) -> None:
        """Start with nothing missing."""
        self.plan = plan
        self.geometry = plan.geometry
        self.missing: Ranges = ()
        self.stopped = ""
        #: Smoothed seconds that a task takes on a worker; None until one was finished.
        self.typical_s: float | None = None
        #: Seconds that workers spent on this stream so far, by the fields of `Timings`.
        self.spent_s: Counter[str] = Counter()
        #: Tasks that were finished, given to a second worker, and leased again after a loss.
        self.finished = self.hedged = self.repeated = 0
        #: Since when the lowest missing task has been that.
        self.head_since = 0.0
        self.works: dict[TaskKey, Work] = {}
        #: Items that kill workers, kept for all epochs: item to its failure.
        self.poison: dict[int, Failure] = {}
        #: Every missing task's units of work: itself, or its items alone; and which of the tasks are split so.
        self._parts: dict[int, list[TaskKey]] = {}
        self._split_up: set[int] = set()
        self._ready: list[tuple[int, int, TaskKey]] = []
        #: Among others, what is ready and has cost a worker its life: not in the heap, others lease it.
        self._suspects: set[TaskKey] = set()
        self._make_task = make_task
        self._log = log
        self._now = 0.0

    def need(self, need: StreamNeed | None, held: Callable[[TaskKey], bool], now: float) -> list[Work]:
        """Take over what the sink says is missing; `held` tells whether some worker already has a unit of work.

        Return the work that is not missing any more.
        """
        self._now = now
        over: list[Work | None] = []
        missing = need.missing if need else ()
        if missing and (not self.missing or missing[0][0] != self.missing[0][0]):
            self.head_since = now
        arrived_whole, fresh = ranges.subtract(self.missing, missing), ranges.subtract(missing, self.missing)
        self._log.add_ranges(now, self.plan.name, arrived_whole, "no longer missing at the sink")
        self._log.add_ranges(now, self.plan.name, fresh, "missing at the sink")
        for ordinal in ranges.members(arrived_whole):
            self._split_up.discard(ordinal)
            over += [self.works.pop(key, None) for key in self._parts.pop(ordinal)]
        for ordinal in ranges.members(fresh):
            self._add(ordinal, held)
        arrived = dict(need.partial) if need else {}
        for ordinal in self._split_up:
            for key in self._parts[ordinal]:
                if key.item_offset in arrived.get(ordinal, ()):
                    over.append(self.works.pop(key, None))
                elif key not in self.works:  # the sink had it, and dropped it with the reader that wanted it
                    self._restore(key, held)
        self.missing = missing
        self.stopped = need.stopped if need else self.stopped
        if len(self._ready) > 2 * len(self.works) + _STALE:
            self._ready = [entry for entry in self._ready if (work := self.works.get(entry[2])) and work.ready]
            heapify(self._ready)
        return [work for work in over if work]

    def push(self, work: Work) -> None:
        """Make a unit of work ready for a lease (again)."""
        work.finished_at = None
        if not work.ready and work.failure is None:
            work.ready = True
            if work.deaths:
                self._suspects.add(work.key)
            else:
                heappush(self._ready, _entry(work.key))

    def pop(self) -> Work | None:
        """Take the ready work with the lowest position that is not suspected, or None."""
        while self._ready:
            work = self.works.get(heappop(self._ready)[2])
            if work is not None and work.ready and not work.deaths:
                work.ready = False
                return work
        return None

    def lead(self) -> float | None:
        """Return how far the next ready work is ahead of the trainer, in windows; None: nothing is ready."""
        while self._ready:
            ordinal, _, key = self._ready[0]
            work = self.works.get(key)
            if work is not None and work.ready and not work.deaths:
                ahead = (ordinal - self.missing[0][0]) * self.geometry.task_items * self.geometry.patches
                return ahead / self.plan.window()
            heappop(self._ready)
        return None

    def suspects(self) -> list[Work]:
        """Return the ready work that has cost a worker its life, lowest position first."""
        if not self._suspects:
            return []
        self._suspects = {key for key in self._suspects if self.is_suspect(key) and self.works[key].ready}
        return [self.works[key] for key in sorted(self._suspects, key=_entry)]

    def is_suspect(self, key: TaskKey) -> bool:
        """Return whether this is work that has cost a worker its life, and was not given up."""
        work = self.works.get(key)
        return work is not None and work.deaths > 0 and work.failure is None

    def head(self) -> Work | None:
        """Return the missing work with the lowest position: what holds up the stream."""
        if not self.missing:
            return None
        for key in self._parts[self.missing[0][0]]:
            if key in self.works:
                return self.works[key]
        return None

    def took(self, timings: Timings) -> None:
        """Note where a task's time went on its worker."""
        self.finished += 1
        for name, seconds in timings:
            self.spent_s[name] = min(MOST_S, self.spent_s[name] + seconds)
        seconds = timings.read_s + timings.decode_s + timings.transform_s + timings.send_s
        self.typical_s = seconds if self.typical_s is None else (1 - _NEWEST) * self.typical_s + _NEWEST * seconds

    @property
    def spent(self) -> Timings:
        """Seconds that workers spent on this stream so far, by stage."""
        return Timings.model_validate(dict(self.spent_s))

    def observe(self, is_held: Callable[[TaskKey], bool]) -> StreamObservation:
        """Return what is shown of it; `is_held` tells whether a worker has a unit of work."""
        works = self.works.values()
        return StreamObservation(
            plan=self.plan,
            wanted=len(works),
            ready=sum(work.ready for work in works),
            leased=sum(is_held(work.key) for work in works),
            under_way=sum(work.finished_at is not None for work in works),
            head_since=self.head_since if self.missing else None,
            typical_s=self.typical_s,
            finished=self.finished,
            hedged=self.hedged,
            repeated=self.repeated,
            given_up=len(self.poison),
            spent=self.spent,
            stopped=self.stopped,
        )

    def task(self, work: Work) -> Task:
        """Return the task of a unit of work."""
        return self._make_task(work.key, work.deaths)

    def charge(self, work: Work, limit: int, worker: str) -> None:
        """Count a worker's death against the work it ran: retried item by item, given up after `limit`."""
        work.deaths += 1
        if work.ready:
            self._suspects.add(work.key)
        if work.key.item_offset is None and len(self.geometry.slots(work.key.ordinal)) > 1:
            self._split(work)
        elif work.deaths < limit:
            self.push(work)
        else:
            offset = work.key.item_offset or 0
            key = TaskKey.model_construct(stream=self.plan.name, ordinal=work.key.ordinal, item_offset=offset)
            [item] = self._make_task(key, work.deaths).items
            reason = f"its worker died {work.deaths} times while it ran this item"
            failure = Failure(
                offset=offset,
                item=item.item,
                path=item.name,
                reason=reason,
                kind="killed",
                attempts=work.deaths,
                worker=worker,
            )
            self.poison[item.item] = work.failure = failure
            self._log.add(self._now, work.key, f"given up: {reason}")

    def refund(self, key: TaskKey) -> None:
        """Take back a death that was charged: the worker lives."""
        for part in self._parts.get(key.ordinal, ()):
            work = self.works.get(part)
            if work and work.deaths and work.failure is None and key.item_offset in (None, part.item_offset):
                work.deaths -= 1
                if work.ready and not work.deaths:
                    heappush(self._ready, _entry(work.key))

    def untold(self) -> list[Work]:
        """Return the work that was given up and that the sink was not told of, as told from now on."""
        works = [work for work in self.works.values() if work.failure and not work.told] if self.poison else []
        for work in works:
            work.told = True
        return works

    def _add(self, ordinal: int, held: Callable[[TaskKey], bool]) -> None:
        work = self._work(TaskKey.model_construct(stream=self.plan.name, ordinal=ordinal, item_offset=None), deaths=0)
        self._parts[ordinal] = [work.key]
        if self.poison and not self.poison.keys().isdisjoint(self.plan.indices(ordinal).tolist()):
            self._split(work)
            return
        if not held(work.key):
            self.push(work)

    def _split(self, work: Work) -> None:
        ordinal = work.key.ordinal
        self._log.add(self._now, work.key, "split into its items, each run alone")
        del self.works[work.key]
        self._split_up.add(ordinal)
        self._parts[ordinal] = []
        for offset, item in enumerate(self.plan.indices(ordinal).tolist()):
            key = TaskKey.model_construct(stream=self.plan.name, ordinal=ordinal, item_offset=offset)
            part = self._work(key, work.deaths)
            self._parts[ordinal].append(key)
            known = self.poison.get(item)
            part.failure = known and known.model_copy(update={"offset": offset})
            self.push(part)

    def _restore(self, key: TaskKey, held: Callable[[TaskKey], bool]) -> None:
        work = self._work(key, deaths=0)
        [item] = self.plan.indices(key.ordinal, key.item_offset).tolist()
        known = self.poison.get(item)
        work.failure = known and known.model_copy(update={"offset": key.item_offset})
        if not held(key):
            self.push(work)

    def _work(self, key: TaskKey, deaths: int) -> Work:
        work = self.works[key] = Work(key, self._now, deaths)
        return work

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        assert self._parts.keys() == set(ranges.members(self.missing))  # noqa: S101
        assert self._split_up == {n for n, [key, *_] in self._parts.items() if key.item_offset is not None}  # noqa: S101
        known = 0
        for ordinal, keys in self._parts.items():
            for key in keys:
                assert key.ordinal == ordinal  # noqa: S101
                assert key.item_offset is not None or key in self.works, f"{key} is missing and no work"  # noqa: S101
                known += key in self.works
        assert known == len(self.works), "work for what is not missing"  # noqa: S101
        standing = {(ordinal, item_offset) for ordinal, item_offset, _ in self._ready}
        for key, work in self.works.items():
            stands = key in self._suspects if work.deaths else _entry(key)[:2] in standing
            assert not work.ready or work.failure or stands, f"{key} is ready and nobody will lease it"  # noqa: S101


def _entry(key: TaskKey) -> tuple[int, int, TaskKey]:
    """Return a key's entry in the heap: by position."""
    return (key.ordinal, -1 if key.item_offset is None else key.item_offset, key)
