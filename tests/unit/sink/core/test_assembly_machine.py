"""Any events in any order: the invariants of the sink's core hold, and all batches come."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.cores.assembly_harness import CoreHarness
from support.plans import (
    ExpectedEnd,
    expected,
    make_plan,
)

from penstock.protocol.messages import (
    Credit,
    EpochEnd,
    Goodbye,
)
from penstock.sink.core.assembly import VENTILATOR


class AssemblyMachine(RuleBasedStateMachine):
    """Results in any order, whole or alone, repeated or not asked for; trainers that come, read, leave and seek."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Draw a stream."""
        patches = data.draw(st.integers(1, 3))
        plan = self.plan = make_plan(
            items=data.draw(st.integers(2, 15)),
            patches=patches,
            mix=data.draw(st.integers(1, 4)),
            task_items=data.draw(st.integers(1, 4)),
            batch_size=data.draw(st.integers(1, 2 * patches)),
            drop_remainder=data.draw(st.booleans()),
            window_samples=data.draw(st.sampled_from([1, 20, 60])),
        )
        items = st.integers(0, plan.items - 1)
        self.dead = frozenset(data.draw(st.sets(items, max_size=plan.items // 2)))
        self.harness = CoreHarness(plan)
        self.wanted: dict[bytes, Any] = {}
        self.checked: dict[bytes, int] = {}
        self.count = 0

    @rule(data=st.data(), limit=st.integers(0, 4))
    def subscribe(self, data: st.DataObject, limit: int) -> None:
        """A trainer comes, somewhere."""
        if len(self.wanted) == 4:
            return
        self.count += 1
        peer = f"t{self.count}".encode()
        samples = self.plan.geometry.samples_per_epoch
        most = samples // self.plan.settings.batch_size if self.plan.settings.drop_remainder else samples
        world_size = data.draw(st.integers(1, min(3, most)))
        rank, position = data.draw(st.integers(0, world_size - 1)), data.draw(st.integers(0, 2 * samples))
        self.wanted[peer] = expected(self.plan, self.dead, position, rank, world_size)
        self.checked[peer] = 0
        self.harness.subscribe(peer, position, limit, rank=rank, world_size=world_size)

    @rule(data=st.data(), how=st.sampled_from(["whole", "alone", "quarantined"]))
    def result(self, data: st.DataObject, how: str) -> None:
        """Something comes in that is missing, or is not."""
        missing = self.harness.missing()
        ordinal = data.draw(st.sampled_from(missing or [0]))
        if not data.draw(st.integers(0, 5)):
            ordinal = data.draw(st.integers(0, 30))
        offset = data.draw(st.integers(0, len(self.plan.geometry.slots(ordinal)) - 1))
        if how == "quarantined":
            message = self.harness.failure(ordinal, offset)
            if message.failure.item in self.dead:
                self.harness.hear(VENTILATOR, message)
        else:
            self.harness.result(ordinal, offset if how == "alone" else None, self.dead)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data(), more=st.integers(0, 3))
    def consume(self, data: st.DataObject, more: int) -> None:
        """A trainer consumes some of what it has, and grants more."""
        peer = data.draw(st.sampled_from(sorted(self.wanted)))
        credit = self.harness.core.streams.readers[peer].credit
        consumed = data.draw(st.integers(credit.consumed, credit.sent))
        self.harness.hear(peer, Credit(consumed=consumed, limit=max(credit.limit, consumed + more)))

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A trainer leaves."""
        peer = data.draw(st.sampled_from(sorted(self.wanted)))
        self.harness.hear(peer, Goodbye())
        del self.wanted[peer]

    @rule()
    def welcome(self) -> None:
        """The ventilator was restarted with the same spec."""
        self.harness.welcome()

    @invariant()
    def every_trainer_got_what_it_must(self) -> None:
        """Batches and ends are the reference's, to the byte of `item`."""
        for peer in self.wanted:
            got = self.harness.got.get(peer, [])
            for each in got[self.checked[peer] :]:
                want = next(self.wanted[peer])
                if isinstance(want, ExpectedEnd):
                    assert isinstance(each, EpochEnd)
                    assert (want.epoch, want.stop) == (each.epoch, each.stop)
                    assert each.expected == each.delivered + each.quarantined + each.dropped
                    assert len(want.dropped) == each.dropped
                else:
                    assert isinstance(each, tuple)
                    assert (want.start, want.stop) == (each[0].start, each[0].stop)
                    assert [sample.item for sample in want.samples] == each[1]
            self.checked[peer] = len(got)

    @invariant()
    def memory_stays_within_the_windows(self) -> None:
        """What is held is within each reader's window and the two blocks that stick out of it."""
        store = self.harness.core.streams.stores["train"]
        held = sum(len(arrays[0]) for piece in store._held.values() for _, arrays in piece.pieces)
        readers = self.harness.core.streams.readers.values()
        windows = sum(max(0, self.plan.window(reader.world_size) - reader.credit.in_flight) for reader in readers)
        assert held <= windows + 2 * store.geometry.block_samples * len(readers)

    def teardown(self) -> None:
        """With credit, what is missing is enough to serve all: the window never stalls."""
        if not hasattr(self, "harness"):
            return
        for peer in self.wanted:
            before = len(self.harness.got.get(peer, []))
            for _ in range(200):
                credit = self.harness.core.streams.readers[peer].credit
                self.harness.hear(peer, Credit(consumed=credit.sent, limit=credit.sent + 1))
                if len(self.harness.got.get(peer, [])) > before:
                    break
                missing = self.harness.missing()
                assert missing, "nothing is missing and nothing comes"
                self.harness.result(missing[0], None, self.dead)
            else:
                raise AssertionError("the window stalls")
        self.every_trainer_got_what_it_must()


AssemblyMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)


TestAssemblyMachine = AssemblyMachine.TestCase
