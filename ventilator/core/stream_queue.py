"""The work of one stream: tasks missing at the sink, work ready to be leased, items that were given up.

Part of the leases core: no socket, no clock. A unit of work exists exactly as long as the sink says that it is missing.
No unit of several items holds a suspect (`item_deaths.py`) when it is leased: it is split into its items first.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import add
from types import MappingProxyType

from penstock.protocol import ranges
from penstock.protocol.event_log import EventLog
from penstock.protocol.messages import Failure, Item, StreamNeed, Task, TaskKey, Timings
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.records import MOST_S
from penstock.protocol.runtime.printable import printable
from penstock.ventilator.core.hosts.homes import Homes
from penstock.ventilator.core.item_deaths import Charge, ItemDeaths, Loss
from penstock.ventilator.core.parts import Parts
from penstock.ventilator.core.ready_work import ReadyWork
from penstock.ventilator.core.work import MakeTask, Work

#: Weight of the newest duration in a queue's typical task duration (exponential moving average).
_NEWEST = 0.1
#: Stages of a task: reading, decoding, transforming, sending.
_STAGES = 4
_NOTHING: Mapping[int, Sequence[int]] = MappingProxyType({})


class StreamQueue:
    """The work of one stream, lowest position first."""

    def __init__(
        self, plan: StreamPlan, make_task: MakeTask, log: EventLog, attempts: int = 3, homes: Homes | None = None
    ) -> None:
        """Start with nothing missing. An item is given up once `attempts` workers have died running it.

        If the stream keeps decoded images, tasks are cut by their items' `homes`.
        """
        self.plan = plan
        self.geometry = plan.geometry
        self.missing: Ranges = ()
        self.stopped = ""
        #: Smoothed seconds that a task takes on a worker; None until one was finished.
        self.typical_s: float | None = None
        #: Seconds that workers spent on this stream so far, by stage: the first fields of `Timings`.
        self._spent_s = [0.0] * _STAGES
        #: Tasks that were finished, given to a second worker, and leased again after a loss.
        self.finished = self.hedged = self.repeated = 0
        #: Since when the lowest missing task has been the lowest (monotonic s).
        self.head_since = 0.0
        self.works: dict[TaskKey, Work] = {}
        self.deaths = ItemDeaths(plan, attempts)
        #: Every missing task's units of work.
        self.parts = Parts(plan, homes)
        #: Units of work on which the sink wants a second worker's word.
        self._doubted: dict[TaskKey, Work] = {}
        #: What waits for a worker with a free slot.
        self.ready = ReadyWork(self.works, self.deaths, self._split, self.parts.home)
        self._make_task = make_task
        self._log = log
        self._now = 0.0

    def need(
        self,
        need: StreamNeed | None,
        held: Callable[[TaskKey], bool],
        now: float,
        few: Mapping[int, Sequence[int]] = _NOTHING,
    ) -> list[Work]:
        """Adopt the sink's list of missing tasks; `held` tells whether a worker has a unit of work.

        Of the new tasks in `few`, these items are a unit of their own. Return the work that is not missing any more.
        """
        self._now = now
        over: list[Work | None] = []
        missing = need.missing if need else ()
        if missing:
            self.ready.head, self.ready.far = missing[0][0], ranges.size(missing) // 2
        if missing and (not self.missing or missing[0][0] != self.missing[0][0]):
            self.head_since = now
        arrived_whole, fresh = ranges.subtract(self.missing, missing), ranges.subtract(missing, self.missing)
        self._log.add_ranges(now, self.plan.name, arrived_whole, "no longer missing at the sink")
        self._log.add_ranges(now, self.plan.name, fresh, "missing at the sink")
        for ordinal in ranges.members(arrived_whole):
            over += [self.works.pop(key, None) for key in self.parts.remove(ordinal)]
        # No worker's word acquits an item: what is not missing any more may have come, or lost its reader.
        for ordinal in ranges.members(ranges.intersect(arrived_whole, need.came) if need and self.deaths else ()):
            self.deaths.clear(_unit(self.plan, ordinal))
        self._add(fresh, held, few)
        over += self._doubt(need, held, now)
        came, again = self.parts.arrive(dict(need.partial) if need else {}, self.works)
        for key in came:
            if work := self.works.pop(key, None):  # that it came earlier acquits it of no later death
                over.append(work)
                if key.ordinal not in few:
                    self.deaths.clear(key)
        for work in map(self._work, again):
            if not held(work.key):
                self.push(work)
        self.missing, self.stopped = missing, need.stopped if need else self.stopped
        self.ready.tidy()
        return [work for work in over if work]

    def rehome(self) -> None:
        """Cut the tasks that wait whole by their items' homes, and find the homes of all ready work anew."""
        for work in [work for work in self.works.values() if work.ready and work.key.which is None]:
            if keys := self.parts.by_home(work.key.ordinal):
                self._replace(work, keys)
        self.ready.rehome()

    def cut(self, work: Work, chosen: Sequence[int]) -> None:
        """Divide a whole task into these items and the others."""
        self._replace(work, self.parts.cut(work.key.ordinal, chosen))

    def push(self, work: Work) -> None:
        """Make a unit of work ready for a lease (again)."""
        work.finished_at = None
        self.ready.push(work)

    def pop(self, host: str = "", *, elsewhere: bool = True) -> Work | None:
        """Take the ready work with the lowest position that holds no suspect, or None; see `ReadyWork.pop`."""
        return self.ready.pop(host, elsewhere=elsewhere)

    def lead(self, host: str = "", *, elsewhere: bool = True) -> float | None:
        """Return how far the work that `pop` would take is ahead of the trainer, in windows; None: it takes none."""
        work = self.ready.find(host, elsewhere=elsewhere)
        if work is None:
            return None
        return (work.key.ordinal - self.missing[0][0]) * self.plan.task_samples / self.plan.window()

    @property
    def has_suspects(self) -> bool:
        """Whether `suspects` may return anything."""
        return bool(self.deaths) or self.ready.has_suspects

    def suspects(self, running: Collection[TaskKey]) -> list[Work]:
        """Return the suspected work to lease next, given the units of work that run now; see `ReadyWork.suspects`."""
        return self.ready.suspects([key for key in running if key.stream == self.plan.name])

    def heads(self) -> list[Work]:
        """Return the missing work of the lowest task, which holds up the stream."""
        units = self.parts.units(self.missing[0][0]) if self.missing else ()
        return [self.works[key] for key in units if key in self.works]

    def took(self, timings: Timings, leased_s: float) -> None:
        """Note where a task's time went on its worker, which had it for so long: more would be a lie."""
        self.finished += 1
        stages = [timings.read_s, timings.decode_s, timings.transform_s, timings.send_s]
        seconds = sum(stages)
        if seconds > leased_s:
            stages, seconds = [min(each, leased_s) for each in stages], leased_s
        self._spent_s = list(map(add, self._spent_s, stages))
        self.typical_s = seconds if self.typical_s is None else (1 - _NEWEST) * self.typical_s + _NEWEST * seconds

    @property
    def spent(self) -> Timings:
        """Seconds that workers spent on this stream so far, by stage."""
        return Timings(*(min(MOST_S, each) for each in self._spent_s))

    def task(self, work: Work) -> Task:
        """Return the task of a unit of work, leased to no worker."""
        return self._make_task(work.key, self.deaths.deaths(work.key))

    def charge(self, work: Work, loss: Loss, now: float) -> Charge:
        """Count a worker's loss against the items that it ran: they run alone from now on, or are given up."""
        charge = self.deaths.charge(work.key, loss, now)
        if not self.deaths.is_single(work.key):
            self._split(work)
        elif self.deaths.is_fatal(work.key):
            self._give_up(work, loss.worker)
        else:
            self.push(work)
        return charge

    def refund(self, charge: Charge, held: Callable[[TaskKey], bool]) -> list[int]:
        """Take a charge back: the worker lives. Return the items that are no longer given up."""
        revoked = self.deaths.refund(charge)
        for work in self.works.values() if revoked else ():
            if work.failure and work.failure.item in revoked:
                self._log.add(self._now, work.key, "no longer given up: a worker that was taken for dead is back")
                work.failure, work.told = None, False
                if not held(work.key):
                    self.push(work)
        return revoked

    def untold(self) -> list[Work]:
        """Return the given-up work that the sink has not heard of; from now on it counts as reported."""
        works = [work for work in self.works.values() if work.failure and not work.told] if self.deaths.poison else []
        for work in works:
            work.told = True
        return works

    def _give_up(self, work: Work, worker: str) -> None:
        """Give up the one item of a unit of work, wherever it is missing."""
        offset = work.key.item_offset or 0
        named = _unit(self.plan, work.key.ordinal, offset)
        deaths = self.deaths.deaths(work.key)
        [item] = self._make_task(named, deaths).items
        failure = self.deaths.poison[item.item] = _killed(item, offset, deaths, worker)
        for each in list(self.works.values()):
            if each is work or (each.ready and item.item in self.deaths.items(each.key)):
                self._log.add(self._now, each.key, f"given up: {failure.reason}")
                self.ready.isolate(each)

    def _add(self, fresh: Ranges, held: Callable[[TaskKey], bool], few: Mapping[int, Sequence[int]]) -> None:
        if few or self.parts.homes or self.has_suspects:
            for ordinal in ranges.members(fresh):
                self._add_one(ordinal, held, few.get(ordinal, ()))
            return
        works = [Work(self.parts.add(ordinal), self._now) for ordinal in ranges.members(fresh)]  # nearly always
        self.works.update((work.key, work) for work in works)
        self.ready.push_fresh(work for work in works if not held(work.key))

    def _add_one(self, ordinal: int, held: Callable[[TaskKey], bool], few: Sequence[int] = ()) -> None:
        work = self._work(self.parts.add(ordinal))
        if self.parts.homes and not held(work.key) and (keys := self.parts.by_home(ordinal)):
            self._replace(work, keys, held)
        elif few and not self.parts.homes and len(few) < len(self.geometry.slots(ordinal)):
            self._replace(work, self.parts.cut(ordinal, few), held)
        elif self.deaths.poison and self.deaths.concerns(work.key):
            self.ready.isolate(work)
        elif not held(work.key):
            self.push(work)

    def _split(self, work: Work) -> None:
        self._log.add(self._now, work.key, "split into its items")
        self._replace(work, self.parts.single(work.key))

    def _replace(self, work: Work, keys: Sequence[TaskKey], held: Callable[[TaskKey], bool] = lambda _: False) -> None:
        """Put other units of work in the place of one; those that a worker has `held` on to are not ready."""
        del self.works[work.key]
        work.ready = False
        self.parts.replace(work.key, keys)
        for part in [self._work(key) for key in keys]:
            if self.deaths.poison and self.deaths.concerns(part.key):
                self.ready.isolate(part)
            elif not held(part.key):
                self.push(part)

    def _doubt(self, need: StreamNeed | None, held: Callable[[TaskKey], bool], now: float) -> list[Work]:
        """Note which items need a second worker's word: each becomes a unit of its own, and is made again at once.

        Return the work whose result has come, except for these items.
        """
        came = []
        doubted: dict[TaskKey, Work] = {}
        for ordinal, offset, holders in need.doubted if need else ():
            unit = self.parts.holding(ordinal, offset)
            if unit and (work := self.works.get(unit)):
                came.append(work)
                self._split(work)
            key = TaskKey(stream=self.plan.name, ordinal=ordinal, item_offset=offset)
            if work := self.works.get(key):
                if not work.doubted_by:
                    self._log.add(now, key, "failed; a second worker is asked")
                    work.doubted_since = now
                if work.finished_at is not None and not (held(key) or work.doubted_by.issuperset(holders)):
                    came.append(work)  # it was alone already
                    since, work = work.doubted_since, self._work(key)
                    work.doubted_since = since
                    if not work.failure:
                        self.push(work)
                work.doubted_by = frozenset(holders)
                doubted[key] = work
        for key in self._doubted.keys() - doubted.keys():
            self._doubted[key].doubted_by = frozenset()
        self._doubted = doubted
        return came

    def _work(self, key: TaskKey) -> Work:
        work = self.works[key] = Work(key, self._now)
        work.failure = self.deaths.failure(key)
        return work

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        self.parts.validate(ranges.members(self.missing), self.works)
        self.ready.validate()


def _killed(item: Item, offset: int, deaths: int, worker: str) -> Failure:
    """Return the failure of an item that cost so many workers, the last of them `worker`."""
    return Failure(
        offset=offset,
        item=item.item,
        path=item.name,
        reason=f"its worker died {deaths} times while it ran this item",
        kind="killed",
        attempts=deaths,
        worker=printable(worker),
    )


def _unit(plan: StreamPlan, ordinal: int, item_offset: int | None = None) -> TaskKey:
    """Return the name of a task or of one item of it; its numbers come from the plan and need no check."""
    return TaskKey(stream=plan.name, ordinal=ordinal, item_offset=item_offset)
