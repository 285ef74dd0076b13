"""Any events in any order: the invariants of the leases core hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.cores.leases_harness import SINK, CoreHarness
from support.plans import make_plan

from penstock.protocol import ranges
from penstock.protocol.messages import (
    Goodbye,
    TaskKey,
)


class LeasesMachine(RuleBasedStateMachine):
    """Any events in any order: invariants hold, and work that is missing can always be got at."""

    @initialize(items=st.integers(1, 30), task_items=st.integers(1, 5))
    def begin(self, items: int, task_items: int) -> None:
        """Start with a sink."""
        self.harness = CoreHarness(make_plan(items=items, task_items=task_items))
        self.harness.sink()
        self.joined = 0
        self.missing: set[int] = set()

    def _some(self, data: st.DataObject) -> bytes:
        return data.draw(st.sampled_from(sorted(self.harness.leases.workers)))

    def _has_workers(self) -> bool:
        return bool(self.harness.leases.workers)

    @rule(slots=st.integers(1, 4), same=st.booleans())
    def join(self, slots: int, same: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        """A worker joins, perhaps one that was here before."""
        self.joined += 1
        incarnation = f"w{self.joined // 2 if same else self.joined}"
        self.harness.join(f"{incarnation}.{self.joined}".encode(), slots, incarnation)

    @rule(missing=st.sets(st.integers(0, 12)), data=st.data())
    def progress(self, missing: set[int], data: st.DataObject) -> None:
        """The sink reports any need."""
        self.missing = missing
        partial = {}
        for ordinal in sorted(missing):
            size = len(self.harness.plans["train"].geometry.slots(ordinal))
            if size > 1 and data.draw(st.booleans()):
                partial[ordinal] = tuple(sorted(data.draw(st.sets(st.integers(0, size - 1), max_size=size - 1))))
        self.harness.miss(*((n, n + 1) for n in missing), partial=tuple(partial.items()))

    @rule()
    def deal(self) -> None:
        """Ready work is leased."""
        self.harness.deal()

    @precondition(_has_workers)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A worker finishes some of what it holds, in order or not."""
        peer = self._some(data)
        held = list(self.harness.leases.workers[peer].held)
        if held:
            self.harness.finish(peer, *data.draw(st.lists(st.sampled_from(held), unique=True)))

    @precondition(_has_workers)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        """A heartbeat that knows only some of the leases."""
        peer = self._some(data)
        held = list(self.harness.leases.workers[peer].held)
        known = data.draw(st.lists(st.sampled_from(held), unique=True)) if held else []
        self.harness.beat(peer, *known)

    @precondition(_has_workers)
    @rule(data=st.data(), how=st.sampled_from(["gone", "goodbye"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        """A worker dies or leaves."""
        peer = self._some(data)
        if how == "gone":
            self.harness.die(peer)
        else:
            self.harness.hear(peer, Goodbye())

    @rule(seconds=st.sampled_from([0.1, 1.1, 3.0, 6.0]), heard=st.booleans())
    def wait(self, seconds: float, heard: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        """Time passes, with or without heartbeats from the workers."""
        self.harness.wait(seconds, *(tuple(self.harness.leases.workers) if heard else ()), step_s=1.0)

    @rule(peer=st.sampled_from([SINK, b"sink 2"]))
    def sink(self, peer: bytes) -> None:
        """The sink says hello, perhaps another one."""
        if self.harness.leases.sinks.first.peer is None or peer == SINK:
            if self.harness.leases.sinks.first.peer is None:
                self.missing = set()
            sequence = self.harness.sequence
            known = self.harness.leases.sinks.first.peer is not None
            self.harness.sink(SINK)
            self.harness.sequence = sequence if known else 0

    @invariant()
    def all_missing_work_exists(self) -> None:
        """Every missing task is there: ready, leased, on its way or given up (validate says which)."""
        self.harness.leases.validate()
        queue = self.harness.leases.queues["train"]
        if self.harness.leases.sinks.first.peer:
            assert self.missing == set(ranges.members(queue.missing))

    def teardown(self) -> None:
        """In the end a healthy worker can do all that is left."""
        if not hasattr(self, "harness"):
            return
        harness = self.harness
        if harness.leases.sinks.first.peer is None:
            harness.sink()
        for peer in list(harness.leases.workers):
            harness.hear(peer, Goodbye())
        harness.miss(*((n, n + 1) for n in self.missing))
        harness.join(b"last", slots=256)
        harness.wait(11.0, b"last", step_s=1.0)
        given: set[TaskKey] = set()
        harness.deal()
        while held := set(harness.leases.workers[b"last"].held):  # what is suspected comes piece by piece
            given |= held
            harness.finish(b"last", *held)
            harness.deal()
        works = harness.leases.queues["train"].works
        assert {key for key, work in works.items() if not work.failure} == given


LeasesMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=30)


TestLeasesMachine = LeasesMachine.TestCase
