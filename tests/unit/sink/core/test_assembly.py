"""The sink's core: deduplication, order, rounds, windows, accounting, and refusals in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.plans import (
    SAMPLE_BYTES,
    ExpectedBatch,
    ExpectedEnd,
    expected,
    make_plan,
    make_result,
    make_samples,
    make_task,
)

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    Batch,
    Credit,
    Drain,
    EpochEnd,
    Failure,
    Goodbye,
    Heartbeat,
    Intervals,
    Part,
    Quarantined,
    Refused,
    Reset,
    SinkHello,
    SinkWelcome,
    StreamNeed,
    Subscribe,
    TaskKey,
    TrainerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array
from penstock.sink.core.assembly import VENTILATOR, Assembly
from penstock.sink.core.instructions import SinkInstruction
from penstock.sink.core.refusals import MAX_POSITION, MAX_READERS

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)
HELLO = SinkHello(incarnation="i", results="results", version="1.0")


class CoreHarness:
    """An Assembly core with everything around it played by hand."""

    def __init__(self, *plans: StreamPlan, welcomed: bool = True) -> None:
        """Start at time 0, with the ventilator's welcome unless told otherwise."""
        self.plans = {plan.name: plan for plan in plans or (make_plan(),)}
        self.now = 0.0
        self.core = Assembly(HELLO, INTERVALS, 0.0)
        self.notes: list[Note] = []
        self.got: dict[bytes, list[tuple[Part, list[int]] | EpochEnd]] = {}
        self.core.start(0.0)
        if welcomed:
            self.welcome()

    def take(self, instructions: Sequence[SinkInstruction]) -> list[Any]:
        """Check the core, keep notes, batches and epoch ends; return the other instructions and messages."""
        self.core.validate()
        out: list[Any] = []
        for each in instructions:
            if isinstance(each, Note):
                self.notes.append(each)
            elif isinstance(each, Send) and isinstance(each.message, Batch):
                items = self.items(each.message, each.arrays)
                parts = [(part, items[part.rows]) for part in each.message.parts()]
                self.got.setdefault(each.peer, []).extend(parts)
            elif isinstance(each, Send) and isinstance(each.message, EpochEnd):
                self.got.setdefault(each.peer, []).append(each.message)
            else:
                out.append(each.message if isinstance(each, Send) else each)
        return out

    def items(self, batch: Batch, arrays: Sequence[Array]) -> list[int]:
        """Return the items of a batch."""
        segments = [array for frame, array in zip(batch.frames, arrays, strict=True) if frame.name == "item"]
        return [int(item) for item in np.concatenate(segments)]

    def welcome(self, *plans: StreamPlan) -> list[Any]:
        """Let the ventilator's welcome arrive."""
        self.plans = {plan.name: plan for plan in plans} or self.plans
        return self.hear(VENTILATOR, SinkWelcome(streams=tuple(self.plans.values()), intervals=INTERVALS))

    def hear(self, peer: bytes, message: Any, arrays: Sequence[Array] = ()) -> list[Any]:
        """Let a message arrive."""
        return self.take(self.core.receive(peer, message, arrays, self.now))

    def subscribe(self, peer: bytes = b"t", position: int = 0, limit: int = 100, **more: Any) -> list[Any]:
        """Let a trainer subscribe."""
        fields: dict[str, Any] = {"stream": "train", "version": "1.0"} | more
        return self.hear(peer, Subscribe(position=position, limit=limit, **fields))

    def result(
        self, ordinal: int, item_offset: int | None = None, failing: frozenset[int] = frozenset(), stream: str = "train"
    ) -> list[Any]:
        """Let the result of a unit of work arrive."""
        plan = self.plans[stream]
        key = TaskKey(stream=stream, ordinal=ordinal, item_offset=item_offset)
        return self.hear(b"", *make_result(plan, make_task(plan, key), failing))

    def need(self, stream: str = "train") -> StreamNeed | None:
        """Return what the sink reports about a stream."""
        self.core.streams.report.changed = True
        [send] = self.take(self.core.progress())
        return next((need for need in send.needs if need.stream == stream), None)

    def missing(self) -> list[int]:
        """Return the tasks that are missing."""
        need = self.need()
        return list(ranges.members(need.missing)) if need else []

    def wait(self, seconds: float, *heard: bytes) -> list[Any]:
        """Let time pass in small steps, with the ventilator's heartbeats and those of `heard` trainers."""
        out: list[Any] = []
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now = min(self.now + 0.25, until)
            for peer in (VENTILATOR, *heard):
                self.hear(peer, Heartbeat())
            out += self.take(self.core.tick(self.now))
        return out

    def failure(self, ordinal: int, offset: int) -> Quarantined:
        """Return the ventilator's word that it gave up on an item."""
        key = TaskKey(stream="train", ordinal=ordinal, item_offset=offset)
        [item] = make_task(self.plans["train"], key).items
        failure = Failure(
            offset=offset, item=item.item, path=item.path, reason="kills its worker", attempts=3, worker="w"
        )
        return Quarantined(key=key, failure=failure)

    def spans(self, peer: bytes = b"t") -> list[tuple[int, int]]:
        """Return the positions of the batches that a trainer got."""
        return [(each[0].start, each[0].stop) for each in self.got.get(peer, []) if isinstance(each, tuple)]

    def ends(self, peer: bytes = b"t") -> list[EpochEnd]:
        """Return the epoch ends that a trainer got."""
        return [each for each in self.got.get(peer, []) if isinstance(each, EpochEnd)]


def items_of(plan: StreamPlan, *ordinals: int) -> list[int]:
    """Return the items of tasks."""
    return [item.item for n in ordinals for item in make_task(plan, TaskKey(stream=plan.name, ordinal=n)).items]


def test_batches_leave_in_order_as_soon_as_they_are_complete() -> None:
    """Results come in any order; nothing overtakes, nothing waits longer than it must."""
    harness = CoreHarness(make_plan(items=20, task_items=4, batch_size=4))
    harness.subscribe()
    harness.result(1)
    harness.result(2)
    assert [] == harness.spans()
    harness.result(0)
    assert [(0, 4), (4, 8), (8, 12)] == harness.spans()


def test_a_repeated_result_is_counted_and_changes_nothing() -> None:
    """Hedged and lost work comes twice: whichever copy is first counts."""
    harness = CoreHarness(make_plan(items=20, task_items=4, batch_size=20))
    harness.subscribe()
    for ordinal in (0, 0, 1, 0):
        harness.result(ordinal)
    assert {"accepted": 2, "duplicate": 2} == dict(harness.core.results)


def test_a_result_that_nobody_wants_is_counted_and_not_kept() -> None:
    """Before anybody subscribed, of a stream that is not there, before the cursor or beyond the window."""
    harness = CoreHarness(make_plan(items=1000, task_items=4, batch_size=4))
    harness.result(0)
    harness.subscribe(position=40)
    for ordinal in (0, 9, 200):
        harness.result(ordinal)
    assert {"unwanted": 4} == dict(harness.core.results)
    assert 10 == harness.missing()[0]


def test_a_result_of_another_plan_is_rejected() -> None:
    """A worker that was started with another spec, or other task sizes, must never fill this stream."""
    harness = CoreHarness(make_plan(task_items=4))
    harness.subscribe()
    for other in (make_plan(task_items=4, fingerprint="other"), make_plan(task_items=2)):
        result, arrays = make_result(other, make_task(other, TaskKey(stream="train", ordinal=0)))
        with pytest.raises(RemoteProtocolError, match=r"plan: .*made by plan"):
            harness.core.receive(b"", result, arrays, 0.0)
    assert {} == dict(harness.core.results)


@pytest.mark.parametrize("fault", ["short", "dtype", "name", "fields", "failure", "double", "alone"])
def test_a_result_that_does_not_fit_the_schema_is_rejected(fault: str) -> None:
    """Too few samples, another type or name, missing fields, failures of items that it does not hold."""
    plan = make_plan(task_items=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    result, arrays = make_result(plan, task)
    frame = result.frames[0]
    failure = Failure(offset=9, item=3, path="x", reason="y")
    faults: dict[str, dict[str, Any]] = {
        "short": {"frames": (frame.model_copy(update={"shape": (3, 1, 4, 1)}), *result.frames[1:])},
        "dtype": {"frames": (frame.model_copy(update={"dtype": "int8"}), *result.frames[1:])},
        "name": {"frames": (frame.model_copy(update={"name": "picture"}), *result.frames[1:])},
        "fields": {"frames": result.frames[1:]},
        "failure": {"failures": (failure,)},
        "double": {"failures": (failure.model_copy(update={"offset": 0}),) * 2},
        "alone": {"key": TaskKey(stream="train", ordinal=0, item_offset=4)},
    }
    with pytest.raises(RemoteProtocolError, match="result"):
        harness.core.receive(b"", result.model_copy(update=faults[fault]), arrays, 0.0)
    harness.core.validate()


def test_items_that_failed_leave_no_gap_and_are_counted_once() -> None:
    """Batches are filled from the survivors behind; the ledger gets each failure once, with its path and reason."""
    plan = make_plan(items=12, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    failing = frozenset(items_of(plan, 0)[1:3])
    for ordinal in (0, 0, 1, 2):
        harness.result(ordinal, failing=failing)
    assert [(0, 6), (6, 10), (10, 12)] == harness.spans()
    [end] = harness.ends()
    assert (12, 10, 2, 0) == (end.expected, end.delivered, end.quarantined, end.dropped)
    ledger = [note.fields for note in harness.notes if note.event == "quarantined"]
    assert failing == {record["item"] for record in ledger}
    assert 2 == len(ledger)
    assert {"cannot be decoded"} == {record["reason"] for record in ledger}
    assert {"w"} == {record["worker"] for record in ledger}


def test_what_the_ventilator_gave_up_counts_as_failed() -> None:
    """The item that kills its workers is skipped, the rest of its task delivered, item by item."""
    plan = make_plan(items=4, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    for offset in (3, 0, 1):
        harness.result(0, item_offset=offset)
    assert (0, (0, 1, 3)) == harness.need().partial[0]  # type: ignore[union-attr]
    harness.hear(VENTILATOR, harness.failure(0, 2))
    harness.hear(VENTILATOR, harness.failure(0, 2))
    [(batch, items)] = [each for each in harness.got[b"t"] if isinstance(each, tuple)]
    assert (0, 4) == (batch.start, batch.stop)
    assert [item for n, item in enumerate(items_of(plan, 0)) if n != 2] == items
    assert 1 == len([note for note in harness.notes if note.event == "quarantined"])


def test_a_whole_task_replaces_the_items_that_came_alone() -> None:
    """A hedged copy may bring the task whole after some of its items came: none is delivered twice."""
    plan = make_plan(items=4, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    harness.result(0, item_offset=2)
    harness.result(0)
    harness.result(0, item_offset=1)
    assert [items_of(plan, 0)] == [each[1] for each in harness.got[b"t"] if isinstance(each, tuple)]


def test_a_quarantined_message_for_another_item_is_rejected() -> None:
    """The unit of work and the failure must name the same item."""
    harness = CoreHarness()
    harness.subscribe()
    message = harness.failure(0, 2)
    wrong = message.model_copy(update={"key": TaskKey(stream="train", ordinal=0, item_offset=1)})
    with pytest.raises(RemoteProtocolError, match="quarantined"):
        harness.core.receive(VENTILATOR, wrong, (), 0.0)


def test_too_many_failures_stop_the_stream_in_words() -> None:
    """The budget, the most frequent reasons and what to do; whoever asks later is told the same."""
    plan = make_plan(items=20, task_items=4, failure_budget=0.1)
    harness = CoreHarness(plan)
    harness.subscribe()
    harness.subscribe(b"u", position=20)
    failing = frozenset(items_of(plan, 0)[:3])
    refusals = harness.result(0, failing=failing)
    assert ["budget", "budget"] == [message.kind for message in refusals]
    for word in ("'train'", "3 of 20", "failure_budget = 0.1", "(2)", "3 × cannot be decoded", "raise failure_budget"):
        assert word in refusals[0].reason
    assert {} == harness.core.streams.readers
    assert refusals[:1] == harness.subscribe(b"v")
    assert refusals[0].reason == harness.need().stopped  # type: ignore[union-attr]
    assert [] == harness.missing()


def test_a_failure_that_is_not_the_items_fault_stops_the_stream_at_once_for_its_reason() -> None:
    """Whatever the budget allows: every other item would fail as well; whoever asks later is told the same."""
    plan = make_plan(items=20, task_items=4, failure_budget=1.0)
    harness = CoreHarness(plan)
    harness.subscribe()
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    result, arrays = make_result(plan, task, frozenset([task.items[1].item]))
    fatal = result.failures[0].model_copy(update={"fatal": True, "reason": "returned image float64(3,)"})
    told = harness.hear(b"", result.model_copy(update={"failures": (fatal,)}), arrays)
    refusals = [*told, *harness.subscribe(b"late")]
    assert ["transform", "transform"] == [message.kind for message in refusals]
    for word in ("'train'", task.items[1].path, "returned image float64(3,)"):
        assert word in refusals[0].reason
    need = harness.need()
    assert need
    assert (refusals[0].reason, ()) == (need.stopped, need.missing)
    assert ["quarantined", "stream stopped"] == [note.event for note in harness.notes if note.level != "info"]


@pytest.mark.parametrize(
    ("budget", "items", "allowed"), [(0.05, 20, 1), (0.07, 100, 7), (0.07, 101, 8), (0.0, 9, 0), (1.0, 9, 8)]
)
def test_the_budget_is_rounded_up_and_never_all_items(budget: float, items: int, allowed: int) -> None:
    """0.07 of 100 is 7 and not 8, whatever binary fractions say; and an epoch without any sample never passes."""
    harness = CoreHarness(make_plan(items=items, failure_budget=budget))
    assert allowed == harness.core.streams.budgets["train"].allowed


def test_ranks_share_each_round_and_get_equally_many_batches() -> None:
    """A short last round is shared out evenly; all ranks agree on every position."""
    plan = make_plan(items=22, task_items=4, batch_size=3, window_samples=100)
    harness = CoreHarness(plan)
    for rank in range(2):
        harness.subscribe(bytes([rank]), rank=rank, world_size=2)
    for ordinal in range(plan.geometry.tasks_per_epoch):
        harness.result(ordinal)
    assert [(0, 6), (6, 12), (12, 18), (18, 22)] == harness.spans(bytes([0])) == harness.spans(bytes([1]))
    shares = [[each[1] for each in harness.got[bytes([rank])] if isinstance(each, tuple)] for rank in range(2)]
    joined = [item for pair in zip(*shares, strict=True) for share in pair for item in share]
    assert items_of(plan, *range(6)) == joined
    assert [3, 3, 3, 2] == [len(share) for share in shares[0]]


def test_a_round_smaller_than_the_world_is_dropped_for_all() -> None:
    """Otherwise some ranks would get a batch and others wait for ever."""
    plan = make_plan(items=13, task_items=13, batch_size=4)
    harness = CoreHarness(plan)
    for rank in range(3):
        harness.subscribe(bytes([rank]), rank=rank, world_size=3)
    harness.result(0)
    assert [[(0, 12)]] * 3 == [harness.spans(bytes([rank])) for rank in range(3)]
    assert {(13, 12, 0, 1)} == {
        (end.expected, end.delivered, end.quarantined, end.dropped)
        for rank in range(3)
        for end in harness.ends(bytes([rank]))
    }


def test_drop_remainder_drops_and_says_so() -> None:
    """An epoch's incomplete last batch is dropped and counted, and the next epoch starts afresh."""
    harness = CoreHarness(make_plan(items=10, task_items=5, batch_size=4, drop_remainder=True))
    harness.subscribe()
    for ordinal in range(4):
        harness.result(ordinal)
    assert [(0, 4), (4, 8), (10, 14), (14, 18)] == harness.spans()
    assert [(0, 10, 8, 2), (1, 10, 8, 2)] == [
        (end.epoch, end.expected, end.delivered, end.dropped) for end in harness.ends()
    ]


def test_an_epoch_s_end_needs_no_credit() -> None:
    """A trainer that holds the last batch learns that it was the last before it gives that batch back."""
    harness = CoreHarness(make_plan(items=4, task_items=4, batch_size=4))
    harness.subscribe(limit=1)
    harness.result(0)
    assert 1 == len(harness.ends())
    assert 1 == harness.ends()[0].sequence


def test_epochs_without_a_batch_wait_for_credit() -> None:
    """Where hardly any item survives, credit still holds the stream back."""
    plan = make_plan(items=4, task_items=4, batch_size=2, drop_remainder=True)
    harness = CoreHarness(plan)
    harness.subscribe(limit=1)
    harness.result(0)
    failing = frozenset(items_of(plan, 0)[:3])
    assert [(0, 2)] == harness.spans()
    harness.hear(b"t", Credit(consumed=0, limit=2))
    harness.result(1, failing=failing)
    harness.result(2, failing=failing)
    assert [0] == [end.epoch for end in harness.ends()]
    harness.hear(b"t", Credit(consumed=2, limit=3))
    assert [0, 1, 2] == [end.epoch for end in harness.ends()]


def test_a_reader_may_begin_anywhere() -> None:
    """In the middle of a task, of a mix window, of an epoch: it gets what an uninterrupted reader gets from there."""
    plan = make_plan(items=12, patches=3, mix=4, task_items=2, batch_size=5)
    for position in range(40):
        harness = CoreHarness(plan)
        harness.subscribe(position=position)
        wanted = expected(plan, frozenset(), position)
        while len(harness.got.get(b"t", [])) < 4:
            missing = harness.missing()
            assert missing, "nothing is missing and nothing comes"
            for ordinal in missing:
                harness.result(ordinal)
        for each in harness.got[b"t"]:
            want = next(wanted)
            if isinstance(want, ExpectedBatch):
                assert isinstance(each, tuple)
                assert (want.start, want.stop, [s.item for s in want.samples]) == (each[0].start, each[0].stop, each[1])
            else:
                assert isinstance(each, EpochEnd)
                assert min(36, 36 * (each.epoch + 1) - position) == each.expected


def test_a_batch_s_stop_does_not_depend_on_what_came_when() -> None:
    """Failures behind the last survivor may be known when it is sent or not: the position saved is the same."""
    plan = make_plan(items=8, task_items=4, batch_size=4)
    failing = frozenset(items_of(plan, 1))
    for order in ((0, 1), (1, 0)):
        harness = CoreHarness(plan)
        harness.subscribe()
        for ordinal in order:
            harness.result(ordinal, failing=failing)
        assert [(0, 4)] == harness.spans()
        assert [(4, 8, 4)] == [(end.quarantined, end.stop, end.delivered) for end in harness.ends()]


def test_what_is_sent_and_not_consumed_counts_against_the_window() -> None:
    """Memory is bounded by the trainer's pace: nothing more is asked for until it consumes."""
    plan = make_plan(items=1000, task_items=4, batch_size=4, window_samples=40)
    harness = CoreHarness(plan)
    harness.subscribe()
    assert list(range(10)) == harness.missing()
    for ordinal in range(10):
        harness.result(ordinal)
    assert 10 == len(harness.spans())
    assert [] == harness.missing()
    harness.hear(b"t", Credit(consumed=3, limit=100))
    assert [10, 11, 12] == harness.missing()


def test_a_window_is_one_reader_s_own() -> None:
    """What is here for another reader does not go to one whose window is full of batches that it did not consume."""
    harness = CoreHarness(make_plan(items=1000, task_items=4, batch_size=4, window_samples=40))
    harness.subscribe(b"idle")
    harness.subscribe(b"busy")
    for ordinal in range(15):
        harness.hear(b"busy", Credit(consumed=len(harness.spans(b"busy")), limit=100))
        harness.result(ordinal)
    assert [10, 15] == [len(harness.spans(peer)) for peer in (b"idle", b"busy")]
    harness.hear(b"idle", Credit(consumed=1, limit=100))
    assert [] == harness.spans(b"idle")[11:]


def test_failures_do_not_use_up_the_window() -> None:
    """However many items in a row fail, the window reaches the next that survive."""
    plan = make_plan(items=400, task_items=4, batch_size=4)
    failing = frozenset(items_of(plan, *range(80)))
    harness = CoreHarness(plan)
    harness.subscribe()
    for _ in range(80):
        for ordinal in harness.missing():
            harness.result(ordinal, failing=failing)
    assert (0, 324) == harness.spans()[0]


def test_failures_far_ahead_belong_to_the_reader_there() -> None:
    """One reader's window never rests on blocks that are held for another."""
    plan = make_plan(items=100, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe(b"a")
    before = harness.missing()
    harness.subscribe(b"b", position=80)
    for ordinal in range(20, 24):
        harness.result(ordinal, failing=frozenset(items_of(plan, ordinal)[1:]))
    assert before == [ordinal for ordinal in harness.missing() if ordinal < 20]
    harness.hear(b"b", Goodbye())
    assert before == harness.missing()


def test_what_no_reader_wants_is_dropped_at_once() -> None:
    """Memory is given back when the last reader has passed, or left."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4))
    harness.subscribe(b"a")
    harness.subscribe(b"b", limit=1)
    for ordinal in range(4):
        harness.result(ordinal)
    store = harness.core.streams.stores["train"]
    assert {4, 8, 12} == store.starts()
    harness.hear(b"b", Goodbye())
    assert set() == store.starts()


def test_two_jobs_read_one_stream_independently() -> None:
    """Each gets everything from its own position at its own pace; shared work is done once."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4, window_samples=40))
    harness.subscribe(b"a")
    harness.subscribe(b"b", position=6, limit=2)
    for ordinal in range(5):
        harness.result(ordinal)
    assert 5 == len(harness.spans(b"a"))
    assert [(6, 10), (10, 14)] == harness.spans(b"b")
    assert 5 == harness.core.results["accepted"]


def test_a_repeated_subscription_is_only_welcomed_again() -> None:
    """Identities are fresh, so it is the same one: batches are not numbered anew."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4))
    harness.subscribe()
    harness.result(0)
    [welcome] = harness.subscribe()
    assert isinstance(welcome, TrainerWelcome)
    harness.result(1)
    assert [0, 1] == [each[0].sequence for each in harness.got[b"t"] if isinstance(each, tuple)]


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"stream": "test"}, "stream", ["'test'", "there are: train"]),
        ({"fingerprint": "g"}, "fingerprint", ["fingerprint g", "the sink has f", "start from position 0"]),
        ({"rank": 2, "world_size": 2}, "position", ["rank 2 of world size 2", "start at 0"]),
        ({"position": MAX_POSITION}, "position", [str(MAX_POSITION), "must be below"]),
        (
            {"world_size": 21},
            "position",
            ["20 samples an epoch", "world size 21", "no batch would ever come", "smaller"],
        ),
    ],
)
def test_a_subscription_that_cannot_be_served_is_refused_in_words(
    asked: dict[str, Any], kind: str, words: list[str]
) -> None:
    """What was wrong, what would be right."""
    harness = CoreHarness(make_plan(items=20))
    [refused] = harness.subscribe(**asked)
    assert isinstance(refused, Refused)
    assert kind == refused.kind
    assert [] == [word for word in words if word not in refused.reason]
    assert {} == harness.core.streams.readers


def test_a_batch_larger_than_an_epoch_is_refused_with_drop_remainder_only() -> None:
    """It would never come; without drop_remainder an epoch is one short batch."""
    for drop in (True, False):
        harness = CoreHarness(make_plan(items=3, batch_size=4, drop_remainder=drop))
        [answer] = harness.subscribe()
        assert isinstance(answer, Refused if drop else TrainerWelcome)


def test_there_is_a_limit_to_trainers() -> None:
    """A sink that is asked by everybody says so instead of serving nobody well."""
    harness = CoreHarness()
    for number in range(MAX_READERS):
        harness.subscribe(f"t{number}".encode())
    [refused] = harness.subscribe(b"one more")
    assert "limit" == refused.kind


def test_trainers_that_come_before_the_ventilator_wait() -> None:
    """They are kept awake by heartbeats, keep their place by theirs, and are welcomed as soon as there is a plan."""
    harness = CoreHarness(welcomed=False)
    assert [] == harness.subscribe()
    assert [] == harness.hear(b"t", Credit(consumed=0, limit=3))
    beats = [
        message for message in harness.wait(7.0, b"t") if isinstance(message, Heartbeat) and message.position is None
    ]
    assert len(beats) >= 6
    assert [TrainerWelcome] == [type(message) for message in harness.welcome()]
    assert 1 == len(harness.core.streams.readers)


def test_trainers_that_wait_and_fall_silent_are_forgotten() -> None:
    """Nobody is read for who is not there any more."""
    harness = CoreHarness(welcomed=False)
    harness.subscribe(b"a")
    harness.subscribe(b"b")
    harness.take(harness.core.gone(b"b"))
    harness.wait(6.0)
    assert [] == harness.welcome()


def test_unknown_trainers_are_told_to_start_over() -> None:
    """A sink that was restarted knows nobody."""
    harness = CoreHarness()
    assert [Reset()] == harness.hear(b"x", Credit(consumed=3, limit=5))
    assert [Reset()] == harness.hear(b"x", Heartbeat())
    assert [] == harness.hear(b"x", Goodbye())


def test_a_silent_trainer_is_forgotten_and_a_slow_one_is_not() -> None:
    """Heartbeats count, consumption does not: a trainer may think for an hour."""
    harness = CoreHarness()
    harness.subscribe(b"slow")
    harness.subscribe(b"dead")
    harness.wait(60.0, b"slow")
    assert [b"slow"] == list(harness.core.streams.readers)
    harness.hear(b"slow", Credit(consumed=0, limit=200))


def test_heartbeats_tell_a_trainer_how_far_it_was_served() -> None:
    """Absolute, so that it notices a batch that was lost with no other behind it."""
    harness = CoreHarness(make_plan(task_items=4, batch_size=4))
    harness.subscribe()
    harness.result(0)
    assert {4} == {message.position for message in harness.wait(1.0, b"t") if isinstance(message, Heartbeat)} - {None}


def test_the_sink_says_hello_until_it_is_welcomed() -> None:
    """A lost welcome is found out, although the ventilator's heartbeats go on."""
    harness = CoreHarness(welcomed=False)
    sent = harness.wait(7.0)
    assert sent.count(HELLO) >= 6
    assert [] == harness.take(harness.core.progress())


def test_the_sink_reports_again_now_and_then() -> None:
    """A lost report is repaired by the next: all of it is absolute."""
    harness = CoreHarness()
    harness.subscribe()
    harness.take(harness.core.progress())
    assert [] == harness.take(harness.core.progress())
    harness.wait(1.25, b"t")
    [progress] = harness.take(harness.core.progress())
    assert 1 == len(progress.needs)


def test_a_silent_ventilator_is_called_again_under_a_fresh_identity() -> None:
    """Meanwhile trainers are served from what is here."""
    harness = CoreHarness(make_plan(task_items=4, batch_size=4))
    harness.subscribe()
    harness.now = 5.5
    harness.hear(b"t", Heartbeat())
    assert [Reopen(VENTILATOR), HELLO] == [
        each for each in harness.take(harness.core.tick(harness.now)) if not isinstance(each, Heartbeat)
    ]
    harness.result(0)
    assert [(0, 4)] == harness.spans()


def test_a_ventilator_that_does_not_know_us_is_told_who_we_are() -> None:
    """It was restarted; what is held stays."""
    harness = CoreHarness(make_plan(task_items=4, batch_size=8))
    harness.subscribe()
    harness.result(0)
    assert [Reopen(VENTILATOR), HELLO] == harness.hear(VENTILATOR, Reset())
    harness.welcome()
    assert 1 == harness.missing()[0]


def test_only_the_ventilator_may_command_the_sink() -> None:
    """A trainer cannot reset it, drain it, give it plans or quarantine items."""
    harness = CoreHarness()
    harness.subscribe()
    welcome = SinkWelcome(streams=(), intervals=INTERVALS)
    for message in (Reset(), Drain(reason="x"), welcome, harness.failure(0, 0)):
        with pytest.raises(RemoteProtocolError, match="unexpected"):
            harness.core.receive(b"t", message, (), 0.0)
    assert [Failed("other version")] == harness.hear(VENTILATOR, Drain(reason="other version"))


def test_another_stream_under_the_old_name_is_refused_to_its_readers() -> None:
    """The ventilator came back with another spec: positions mean nothing there; other batch sizes only start over."""
    harness = CoreHarness(make_plan(batch_size=4))
    harness.subscribe(b"t")
    [reset] = harness.welcome(make_plan(batch_size=5))
    assert Reset() == reset
    harness.subscribe(b"u")
    [refused] = harness.welcome(make_plan(batch_size=5, fingerprint="g"))
    assert "fingerprint" == refused.kind
    harness.subscribe(b"v")
    [refused] = harness.welcome(make_plan("validation"))
    assert "no stream 'train' now" == refused.reason
    assert {} == harness.core.streams.readers


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
        """With credit, what is missing is enough to serve everybody: the window never stalls."""
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


def test_every_field_of_a_batch_is_the_samples_own() -> None:
    """Short and long rows, runs and gathered rows: image, label, item and patch stay together."""
    plan = make_plan(items=12, patches=3, mix=4, task_items=2, batch_size=7)
    core = CoreHarness(plan)
    sent: list[Send] = []
    core.subscribe()
    for ordinal in range(plan.geometry.tasks_per_epoch):
        task = make_task(plan, TaskKey(stream="train", ordinal=ordinal))
        sent += [
            each
            for each in core.core.receive(b"", *make_result(plan, task), 0.0)
            if isinstance(each, Send) and isinstance(each.message, Batch)
        ]
    wanted = (each for each in expected(plan, frozenset()) if isinstance(each, ExpectedBatch))
    got = 0
    for send in sent:
        assert isinstance(send.message, Batch)
        for part, want in zip(send.message.parts(), wanted, strict=False):
            items, patches = [s.item for s in want.samples], [s.patch for s in want.samples]
            truth = make_samples(plan, want.epoch, items, patches)
            fields = [array[part.rows] for array in joined(send.message, send.arrays)]
            assert [array.tobytes() for array in truth] == [field.tobytes() for field in fields]
            got += 1
    assert 6 == got


def joined(batch: Batch, arrays: Sequence[Array]) -> list[Array]:
    """Return the fields of a message, each in one piece."""
    parts: dict[str, list[Array]] = {}
    for frame, array in zip(batch.frames, arrays, strict=True):
        parts.setdefault(frame.name, []).append(array)
    return [np.concatenate(pieces) for pieces in parts.values()]


def test_small_batches_share_a_message_as_far_as_credit_and_window_allow() -> None:
    """What is complete is sent at once: with credit for three of five batches, three go out together, cut alike."""
    plan = make_plan(items=20, task_items=20, batch_size=4, window_samples=100)
    core = CoreHarness(plan)
    core.subscribe(limit=3)
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    [first] = [each for each in core.core.receive(b"", *make_result(plan, task), 0.0) if isinstance(each, Send)]
    assert isinstance(first.message, Batch)
    assert (0, (4, 8, 12), (4, 4, 4)) == (first.message.sequence, first.message.stops, first.message.sizes)
    [second, *_] = core.core.receive(b"t", Credit(consumed=3, limit=8), (), 0.0)
    assert isinstance(second, Send)
    assert isinstance(second.message, Batch)
    assert (3, 12, (16, 20)) == (second.message.sequence, second.message.start, second.message.stops)
    lengths = [len(array) for array in joined(second.message, second.arrays)]
    assert [8, 8, 8, 8] == lengths


def test_large_batches_have_a_message_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message stays near a size: what is sent can be thrown away by a trainer that goes."""
    plan = make_plan(items=20, task_items=20, batch_size=4, window_samples=100)
    monkeypatch.setattr("penstock.sink.core.reader._MESSAGE_BYTES", 2 * 4 * SAMPLE_BYTES - 1)
    core = CoreHarness(plan)
    core.subscribe()
    sent = core.core.receive(b"", *make_result(plan, make_task(plan, TaskKey(stream="train", ordinal=0))), 0.0)
    batches = [each.message for each in sent if isinstance(each, Send) and isinstance(each.message, Batch)]
    assert [1] * 5 == [len(batch.stops) for batch in batches]
