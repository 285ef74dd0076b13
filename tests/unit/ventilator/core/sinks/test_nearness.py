"""Of several sinks' work, a worker gets first what the sink on its own host needs; nobody waits for that."""

from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import LEASE_KEY, PlannedTasks, make_plan

from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.messages import (
    Done,
    Finished,
    Goodbye,
    Hello,
    Intervals,
    Made,
    Progress,
    SinkHello,
    StreamNeed,
    Tasks,
    Timings,
)
from penstock.protocol.ranges import from_sorted, normalise
from penstock.protocol.spec.spec import Cache
from penstock.ventilator.core import dispatch
from penstock.ventilator.core.leases import Leases
from penstock.ventilator.core.sinks import patience

#: Items of a task.
ITEMS = 4
INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)


class Nodes:
    """A ventilator's core, with workers and sinks on hosts; task n is for sink number n modulo their number."""

    def __init__(
        self, sinks: Sequence[str], workers: Mapping[str, str], *, slots: int = 2, cached: bool = False
    ) -> None:
        """Let workers (their hosts, by name) and sinks (their hosts) say hello, and wait until outcomes are decided."""
        self.plan = make_plan(items=4000, task_items=ITEMS, batch_size=ITEMS)
        if cached:
            settings = self.plan.settings.model_copy(update={"cache": Cache(gb=1.0)})
            self.plan = self.plan.model_copy(update={"settings": settings})
        self.leases = Leases(PlannedTasks(self.plan), {}, INTERVALS, "1.0", LEASE_KEY)
        self.now, self.sequence, self.sinks = 0.0, 0, len(sinks)
        for number, host in enumerate(sinks):
            hello = SinkHello(incarnation=f"{number}", name=f"s{number}", results="r", host=host, version="1.0")
            self.leases.receive(b"sink %d" % number, hello, self.now)
        for name, host in workers.items():
            self.join(name, host, slots)
        self.now += 3.0

    def join(self, name: str, host: str, slots: int = 2) -> None:
        """Let a worker say hello."""
        hello = Hello(worker=name, incarnation=name, host=host, slots=slots, version="1.0")
        self.leases.receive(name.encode(), hello, self.now)

    def need(self, tasks: Iterable[int], came: Iterable[int] = ()) -> None:
        """Let all sinks report: these tasks are missing, each sink lacks its own; and which have come."""
        wanted, here = sorted(tasks), sorted(came)
        for number in range(self.sinks):
            own = [n for n in wanted if n % self.sinks == number]
            need = StreamNeed(
                stream="train",
                missing=from_sorted(sorted({*wanted, *here})),
                lacks=normalise((n * ITEMS, (n + 1) * ITEMS) for n in own),
                made=tuple(Made(ordinal=n, issuer="v", holder=1) for n in here if n % self.sinks == number),
            )
            self.sequence += 1
            self.leases.receive(b"sink %d" % number, Progress(sequence=self.sequence, needs=(need,)), self.now)

    def deal(self) -> dict[str, list[int]]:
        """Return which tasks workers are leased now."""
        dealt: dict[str, list[int]] = {}
        for each in self.take(self.leases.dispatch(self.now)):
            if isinstance(each.message, Tasks):
                dealt.setdefault(each.peer.decode(), []).extend(task.key.ordinal for task in each.message.tasks)
        return dealt

    def take(self, instructions: Iterable[Instruction]) -> list[Send]:
        """Return what is sent; check all invariants."""
        self.leases.validate()
        return [each for each in instructions if isinstance(each, Send)]

    def finish(self, name: str, count: int = 1) -> None:
        """Let a worker finish its oldest tasks."""
        held = list(self.leases.workers[name.encode()].held)[:count]
        done = tuple(Done(key=key, timings=Timings()) for key in held)
        self.leases.receive(name.encode(), Finished(done=done), self.now)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No task waits for other sinks' reports, and homes are found as soon as anyone comes or goes."""
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(dispatch, "_HOMES_S", 0.0)


def test_each_worker_gets_what_its_own_host_s_sink_needs() -> None:
    """Whoever stands first in line, and though the other host's tasks come earlier."""
    nodes = Nodes(["x", "y"], {"on y": "y", "on x": "x"})
    nodes.need(range(40))
    assert {"on x": [0, 2], "on y": [1, 3]} == nodes.deal()
    nodes.finish("on y", 2)
    assert {"on y": [5, 7]} == nodes.deal()


def test_a_worker_with_nothing_near_takes_what_others_need() -> None:
    """It does not idle, nor wait with a free slot."""
    nodes = Nodes(["x", "y"], {"on x": "x", "on y": "y"})
    nodes.need([1, 3, 5, 7])
    assert {"on x": [3, 7], "on y": [1, 5]} == nodes.deal()


def test_the_foremost_task_goes_to_whoever_is_free() -> None:
    """A trainer waits for it: it is not passed over for what is near."""
    nodes = Nodes(["x", "y"], {"on x": "x", "on y": "y"}, slots=1)
    nodes.need(range(40))
    assert {"on x": [0], "on y": [1]} == nodes.deal()
    for came in range(2):
        nodes.need(range(2 + came, 40), came=range(2 + came))
        nodes.finish("on x")
        assert {"on x": [2 + came]} == nodes.deal(), "the other one is busy"


def test_a_host_s_own_work_is_preferred_within_half_a_window() -> None:
    """A sink whose host is slow does not fall behind by more."""
    nodes = Nodes(["x", "y"], {"on x": "x", "on y": "y"}, slots=1)
    nodes.need(range(40))
    assert {"on x": [0], "on y": [1]} == nodes.deal()
    got = []
    for _ in range(14):
        nodes.finish("on x")
        got += nodes.deal()["on x"]
    assert [*range(2, 24, 2), 3, 24, 5] == got


def test_an_idle_worker_elsewhere_is_preferred_to_a_busy_one_at_home() -> None:
    """It would wait there in a queue, and the sink lacks all of its window."""
    nodes = Nodes(["x", "y"], {"on x": "x", "on y": "y"}, slots=3)
    nodes.need([0, 2])
    assert {"on x": [0], "on y": [2]} == nodes.deal()


def test_what_a_sink_has_in_plenty_may_wait_for_a_busy_worker_on_its_host() -> None:
    """As long as the sink lacks no more than half of its window: no trainer notices."""
    nodes = Nodes(["x", "y"], {"on x": "x", "on y": "y"}, slots=8)
    nodes.need(range(40))
    nodes.deal()
    nodes.finish("on x", 8)
    nodes.finish("on y", 8)
    nodes.need(range(40, 52, 2), came=range(40))
    assert {"on x": [40, 42, 44, 46, 48, 50]} == nodes.deal()


def test_workers_elsewhere_help_sinks_without_workers_first() -> None:
    """What has workers beside it is left to them as long as there is other work."""
    nodes = Nodes(["x", "y"], {"on z": "z", "on x": "x"}, slots=2)
    nodes.need(range(40))
    assert 0 in nodes.deal()["on x"]
    for _ in range(5):
        nodes.finish("on z")
        assert all(n % 2 for n in nodes.deal()["on z"])


def test_hosts_are_forgotten_with_their_workers_and_sinks() -> None:
    """Then the lowest comes first again, for all."""
    nodes = Nodes(["x", "y"], {"on x": "x", "on y": "y"}, slots=1)
    nodes.need(range(40))
    nodes.deal()
    assert {"x", "y"} == set(nodes.leases.sinks.hosts.values())
    nodes.leases.receive(b"on y", Goodbye(), nodes.now)
    nodes.deal()
    assert {} == nodes.leases.sinks.hosts, "one host of workers: there is no choice"
    nodes.join("on y again", "y", slots=1)
    nodes.deal()
    nodes.leases.receive(b"sink 1", Goodbye(), nodes.now)
    assert ["x"] == list(nodes.leases.sinks.hosts.values())


def test_sinks_that_tell_no_host_are_served_as_ever() -> None:
    """Workers are served in turn, the lowest position first."""
    nodes = Nodes(["", ""], {"on y": "y", "on x": "x"})
    nodes.need(range(40))
    assert {"on y": [0, 2], "on x": [1, 3]} == nodes.deal()


def test_where_hosts_keep_decoded_images_that_decides() -> None:
    """A decode that is saved is worth more than samples that stay on their host."""
    nodes = Nodes(["x", "y"], {"on x": "x", "on y": "y"}, slots=8, cached=True)
    nodes.need(range(40))
    dealt = nodes.deal()
    parts = nodes.leases.queues["train"].parts
    for name in dealt:
        held = nodes.leases.workers[name.encode()].held
        assert {name.removeprefix("on ")} == {parts.home(key) for key in held}
        assert {0, 1} == {key.ordinal % 2 for key in held}


_HOSTS = ("x", "y", "z", "")


@given(
    sinks=st.lists(st.sampled_from(_HOSTS), min_size=1, max_size=4),
    workers=st.lists(st.sampled_from(("x", "y", "z", "w")), min_size=1, max_size=6),
    slots=st.integers(1, 4),
    window=st.integers(1, 24),
    turns=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.booleans()), max_size=30),
)
def test_no_slot_is_free_while_anything_is_ready(
    sinks: list[str], workers: list[str], slots: int, window: int, turns: list[tuple[int, int, bool]]
) -> None:
    """Whatever hosts there are; and the foremost task is never left for later while others are leased."""
    nodes = Nodes(sinks, {f"w{n}": host for n, host in enumerate(workers)}, slots=slots)
    names = [f"w{n}" for n in range(len(workers))]
    base, came, made = 0, set[int](), list[int]()
    for turn, count, reports in [(0, 0, True), *turns, (0, 0, True)]:
        name = names[turn % len(names)]
        held = [key.ordinal for key in nodes.leases.workers[name.encode()].held][:count]
        if held:
            nodes.finish(name, count)
            came.update(held)
        if reports:
            while base in came:
                base += 1
            tasks = range(base, base + window)
            nodes.need([n for n in tasks if n not in came], came=[n for n in tasks if n in came])
        dealt = nodes.deal()
        made += [n for tasks in dealt.values() for n in tasks]
        works = nodes.leases.queues["train"].works.values()
        ready = [work.key.ordinal for work in works if work.ready]
        assert not (ready and nodes.leases.workers.free), "someone idles"
        assert not (dealt and base in ready), "the foremost task was passed over"
    assert len(made) == len(set(made)), "made twice"
