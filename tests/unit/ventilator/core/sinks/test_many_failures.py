"""A ventilator that starts again hears of all that failed, however much: nothing is decided a second time."""

from collections.abc import Iterator

import pytest
from support.plans import LEASE_KEY, PlannedTasks, make_plan

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Send
from penstock.protocol.messages import (
    Failure,
    Heartbeat,
    Intervals,
    Made,
    Outcomes,
    Progress,
    SinkHello,
    StreamNeed,
    Task,
    TaskKey,
)
from penstock.protocol.outcomes.failing_text import MOST_BARE, UNEXPLAINED
from penstock.protocol.outcomes.failure_budget import Budget
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.demand import Report
from penstock.sink.core.shared.needs import need_of
from penstock.sink.core.shared.store import SharedStore
from penstock.ventilator.core.leases import Leases

#: Tasks of which an item failed, each with a reason of some thousand characters.
_TASKS = 4000


def store_of(plan: StreamPlan, tasks: int, reason: str) -> SharedStore:
    """Return what a sink knows: of each of these tasks one item failed, another one each time."""
    store, size = SharedStore(plan), plan.geometry.task_items
    for ordinal in range(tasks):
        offset = ordinal % size
        item = plan.indices(ordinal).tolist()[offset]
        store.settle(ordinal, {offset: Failure(offset=offset, item=item, path=f"{item}.jpg", reason=reason)})
    store.meet()
    return store


def report(*stores: SharedStore) -> Progress:
    """Return what a sink without readers reports to a new ventilator, as it is read there."""
    named = {store.plan.name: store for store in stores}
    progress = Report().make({}, named, {name: Budget(store.plan) for name, store in named.items()}, {})
    found, _ = wire.decode(wire.encode(progress), wire.kinds(Progress))
    assert isinstance(found, Progress)
    return found


class Rows(PlannedTasks):
    """A source of rows: a whole task carries no items, since workers find them by its number."""

    def task(self, key: TaskKey, attempt: int) -> Task:
        """Return a task."""
        task = super().task(key, attempt)
        return task if key.which is not None else task.replaced(items=())


class Restarted:
    """The core of a ventilator that was started again, and two sinks."""

    def __init__(self, plan: StreamPlan, planned: type[PlannedTasks] = PlannedTasks) -> None:
        """Let the sinks join."""
        intervals = Intervals(heartbeat_s=1.0, silence_s=5.0)
        self._leases, self._now = Leases(planned(plan), {}, intervals, "1.0", LEASE_KEY), 0.0
        for name in ("a", "b"):
            hello = SinkHello(incarnation=f"i{name}", name=name, results=f"results {name}", version="1.0")
            self._leases.receive(name.encode(), hello, self._now)

    def hear(self, peer: bytes, progress: Progress) -> Iterator[Outcomes]:
        """Let a report come, and then time pass; yield what that sink is told."""
        told = list(self._leases.receive(peer, progress, self._now))
        for _ in range(3):
            self._now += 1.0
            for sink in (b"a", b"b"):
                told += self._leases.receive(sink, Heartbeat(), self._now)
        told += self._leases.tick(self._now)
        for each in told:
            if isinstance(each, Send) and each.peer == peer and isinstance(each.message, Outcomes):
                yield each.message


@pytest.mark.parametrize("planned", [PlannedTasks, Rows])
def test_no_outcome_is_forgotten_where_the_reasons_do_not_fit(planned: type[PlannedTasks]) -> None:
    """One sink knows of four thousand failures; another one reports that it got the samples of all these items.

    It is told at last that they failed, and their names; the reasons of the last ones, too.
    """
    plan = make_plan(items=8 * _TASKS, task_items=8)
    knows, learns = store_of(plan, _TASKS, "broken " * 500), SharedStore(plan)
    ventilator = Restarted(plan, planned)
    assert any(outcomes.heard for outcomes in ventilator.hear(b"a", report(knows)))
    failed: dict[int, Failure] = {}
    for sequence in range(1, 100):
        left = tuple(learns.known.settled())
        missing = ((left[0][1] if left else 0, _TASKS),)
        if missing == ((_TASKS, _TASKS),):
            break
        made = tuple(Made(ordinal=n, issuer="before", holder=1) for n in range(*missing[0]))[:4096]
        need = StreamNeed(stream="train", missing=missing, made=made)
        for outcomes in ventilator.hear(b"b", Progress(sequence=sequence, needs=(need,))):
            assert not outcomes.stopped
            told = {each.ordinal: each.failure for each in outcomes.failed}
            for low, high in outcomes.settled:
                for ordinal in range(low, high):
                    learns.settle(ordinal, {told[ordinal].offset: told[ordinal]})
            failed |= told
    assert list(range(_TASKS)) == sorted(failed)
    for ordinal, lost in knows.known.failures():
        [known] = lost.values()
        told_of = failed[ordinal]
        assert (known.offset, known.item, known.path) == (told_of.offset, told_of.item, told_of.path)
    assert ("broken", UNEXPLAINED) == (failed[_TASKS - 1].reason[:6], failed[0].reason)


def test_as_many_failures_as_a_sink_remembers_fit_one_report() -> None:
    """A hundred thousand of a stream, and as many of another: beyond what fits, the oldest tasks are not told of."""
    stores = [SharedStore(make_plan(name, items=8 * 100_000, task_items=8)) for name in ("train", "val")]
    lost = {7: Failure(offset=7, item=799_999, path="a.jpg", reason="x" * 4000)}
    for store in stores:
        for ordinal in range(100_000):
            store.known.settle(ordinal, lost)
        store.meet()
    first, second = report(*stores).needs
    assert ((0, 100_000),) == first.settled
    told = [len(need.bare) for need in (first, second)]
    assert (MOST_BARE, True) == (sum(told), 99_000 < told[0] < 100_000)
    assert 100_000 == second.settled[-1][1]
    assert len(second.failed) + len(second.bare) == second.settled[-1][1] - second.settled[0][0]


@pytest.mark.parametrize("bare", [(0, (9,), (1,)), (0, (2, 1), (1, 2)), (0, (1,), (1, 2))])
def test_items_that_there_are_not_are_refused(bare: tuple[int, tuple[int, ...], tuple[int, ...]]) -> None:
    """A report with an offset beyond its task, in no order, or without an index for each is an error."""
    ventilator = Restarted(make_plan(items=40, task_items=4))
    need = StreamNeed(stream="train", missing=(), settled=((0, 1),), bare=(bare,))
    with pytest.raises(RemoteProtocolError):
        list(ventilator.hear(b"a", Progress(sequence=1, needs=(need,))))


def test_a_report_without_room_tells_of_no_task_whose_failures_it_leaves_out() -> None:
    """Of such a task, nothing is called settled."""
    store = store_of(make_plan(items=4000, task_items=8), 500, "x" * 4000)
    need = need_of((), store, Budget(store.plan), most_bare=100)
    assert need is not None
    assert 100 == len(need.bare)
    assert ((500 - 100 - len(need.failed), 500),) == need.settled
