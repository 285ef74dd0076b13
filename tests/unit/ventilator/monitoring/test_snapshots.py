"""The snapshot: sink and ventilator as they are, joined by hand, and a worker that makes one task a second."""

from collections.abc import Iterable, Iterator

import pytest
from support.plans import LEASE_KEY, PlannedTasks, make_plan, make_result, make_task

from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.messages import (
    AnyMessage,
    Credit,
    Done,
    Failure,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    Result,
    SinkHello,
    Subscribe,
    TaskKey,
    Tasks,
    Timings,
    WorkerStats,
)
from penstock.protocol.records import MOST_S
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.stats import LEDGER_KEPT, LEDGER_PAGE, FeedWaits
from penstock.sink.core.assembly import VENTILATOR, Assembly
from penstock.sink.core.instructions import SinkInstruction
from penstock.ventilator.core.leases import Leases
from penstock.ventilator.monitoring.snapshots import WINDOW_S, Own, Snapshots

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)
SINK, WORKER, TRAINER = b"sink", b"worker", b"trainer"
#: A task of four samples takes its worker 0.8 s; with slots for two it always has one.
MADE = Timings(read_s=0.1, decode_s=0.5, transform_s=0.1, send_s=0.1)


class Joined:
    """Both cores and a snapshots; the worker and the trainer are played."""

    def __init__(self, batches_ahead: int = 100, items: int = 20) -> None:
        """Let all peers join, at time 0."""
        self.now = 0.0
        self.plan = make_plan(items=items, failure_budget=1.0)
        self.leases = Leases(PlannedTasks(self.plan), {}, INTERVALS, "1.0", LEASE_KEY)
        self.sink = Assembly(SinkHello(incarnation="i", results="r", version="1.0"), INTERVALS, 0.0)
        self.snapshots = Snapshots(Own("1.0", 0, {}), self.leases.observe(0.0), 1e9)
        self.held: list[TaskKey] = []
        self.stats = WorkerStats()
        #: Whether the trainer consumes at once what it gets.
        self.eager = batches_ahead > 2
        self.to_ventilator(SINK, self.sink.start(0.0)[0])
        self.hear(WORKER, Hello(worker="host/1", incarnation="w", host="host", slots=2, version="1.0"))
        if batches_ahead:
            self.credit(Subscribe(stream="train", limit=batches_ahead, version="1.0"))

    def credit(self, message: Subscribe | Credit) -> None:
        """Let a word of the trainer arrive."""
        self.from_sink(self.sink.receive(TRAINER, message, (), self.now))

    def to_ventilator(self, peer: bytes, instruction: SinkInstruction) -> None:
        """Carry a message of the sink or the worker over."""
        if isinstance(instruction, Send):
            self.hear(peer, instruction.message)

    def hear(self, peer: bytes, message: AnyMessage) -> None:
        """Let the ventilator take a message in, and carry its answers out."""
        self.from_ventilator(self.leases.receive(peer, message, self.now))

    def from_ventilator(self, instructions: Iterable[Instruction]) -> None:
        """Carry what the ventilator sends to where it belongs."""
        for each in instructions:
            if isinstance(each, Send) and each.peer == SINK:
                self.from_sink(self.sink.receive(VENTILATOR, each.message, (), self.now))
            elif isinstance(each, Send) and isinstance(each.message, Tasks):
                self.held += [task.key for task in each.message.tasks]

    def from_sink(self, instructions: Iterable[SinkInstruction]) -> None:
        """Carry what the sink tells the ventilator; trainers are played."""
        for each in instructions:
            if isinstance(each, Send) and each.peer == VENTILATOR:
                self.to_ventilator(SINK, each)

    def work(self) -> None:
        """Let the worker finish what it runs."""
        key = self.held.pop(0)
        result, arrays = make_result(self.plan, make_task(self.plan, key))
        assert isinstance(result, Result)
        self.from_sink(self.sink.receive(WORKER, result, arrays, self.now))
        spent = {name: seconds + getattr(MADE, name) for name, seconds in self.stats.spent.to_dict().items()}
        self.stats = self.stats.model_copy(
            update={
                "tasks": self.stats.tasks + 1,
                "samples": self.stats.samples + len(arrays[0]),
                "bytes": self.stats.bytes + sum(array.nbytes for array in arrays),
                "items": self.stats.items + 4,
                "failures": self.stats.failures + len(result.failures),
                "spent": Timings(**spent),
            }
        )
        self.hear(WORKER, Finished(done=(Done(key=key, timings=MADE),)))

    def second(self, *, work: bool = True) -> Snapshot:
        """Let a second pass: a task is finished, all send heartbeats, the snapshot is renewed."""
        for _ in range(4):
            self.now += 0.25
            self.from_sink(self.sink.tick(self.now))
            self.from_sink(self.sink.progress())
            self.from_ventilator(self.leases.tick(self.now))
            self.from_ventilator(self.leases.dispatch(self.now))
        if TRAINER in self.sink.streams.readers:  # silent trainers are lost
            sent = self.sink.streams.readers[TRAINER].credit
            self.credit(Credit(consumed=sent.sent if self.eager else sent.consumed, limit=sent.limit))
        if work and self.held:
            self.work()
        self.hear(WORKER, Heartbeat(running=tuple(self.held), sinks=("i",), worker_stats=self.stats))
        self.snapshots.update(self.leases.observe(self.now), 1e9 + self.now)
        return self.snapshots.snapshot

    def seconds(self, count: int, *, work: bool = True) -> Snapshot:
        """Let several pass."""
        return [self.second(work=work) for _ in range(count)][-1]


@pytest.fixture
def joined() -> Iterator[Joined]:
    """Return them with a trainer that takes all that comes; the cores' invariants are checked at the end."""
    joined = Joined()
    yield joined
    joined.leases.validate()
    joined.sink.validate()


def test_no_cache_is_named_for_parts_that_change(joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept of them: only decoding that a cache could save counts."""
    assert "which a cache may save" in joined.seconds(20).verdict.sentence
    monkeypatch.setitem(globals(), "MADE", MADE.replaced(parts_s=0.2))
    assert "a cache" not in joined.seconds(20).verdict.sentence


def test_rates_are_those_of_the_last_seconds(joined: Joined) -> None:
    """One task of four samples a second, by the worker, along the edges and at the trainer; none once it rests."""
    snapshot = joined.seconds(20)
    [worker], [trainer], [stream] = snapshot.workers, snapshot.trainers, snapshot.streams
    assert pytest.approx(4.0, rel=0.15) == worker.rate
    assert pytest.approx(0.8, rel=0.15) == worker.busy
    assert pytest.approx(4.0, rel=0.15) == trainer.rate
    assert pytest.approx(1.0, rel=0.15) == snapshot.flow.tasks
    assert pytest.approx(4.0, rel=0.15) == snapshot.flow.delivered
    assert pytest.approx(snapshot.flow.made_bytes / 20) == snapshot.flow.made
    assert ("host/1", 2, 0.0) == (worker.name, worker.slots, worker.silent_s)
    assert (20, 2, 4) == (stream.items, stream.classes, stream.batch_size)
    assert stream.finished == worker.stats.tasks
    rested = joined.seconds(round(WINDOW_S) + 2, work=False)
    assert (0.0, 0.0) == (rested.workers[0].rate, rested.flow.delivered)


def test_an_epoch_in_progress_has_an_end_in_sight(joined: Joined) -> None:
    """Twenty samples at four a second; without a flow, none is known."""
    snapshot = joined.seconds(13)
    [trainer] = snapshot.trainers
    left = trainer.stats.epoch.expected - trainer.stats.epoch.delivered
    assert trainer.eta_s is not None
    assert pytest.approx(left / 4.0, rel=0.2) == trainer.eta_s
    assert joined.seconds(round(WINDOW_S) + 2, work=False).trainers[0].eta_s is None


def test_waiting_is_counted_on_the_side_that_waits() -> None:
    """Credit for two batches and then none for a while: starved, then blocked, and no second is lost."""
    joined = Joined(batches_ahead=2)
    snapshot = joined.seconds(10)
    [trainer] = snapshot.trainers
    assert not trainer.stats.starved
    assert (0, 2) == (trainer.stats.credit, trainer.stats.in_flight)
    assert pytest.approx(joined.sink._now, abs=1.1) == trainer.stats.starved_s + trainer.stats.blocked_s
    assert trainer.stats.blocked_s > 5
    joined.credit(Credit(consumed=2, limit=100))
    joined.eager = True
    [after] = joined.seconds(4, work=False).trainers
    assert after.stats.starved
    assert pytest.approx(trainer.stats.blocked_s, abs=1.1) == after.stats.blocked_s
    assert after.stats.starved_s - trainer.stats.starved_s >= 2


def test_a_trainers_own_clock_goes_before_the_sinks(joined: Joined) -> None:
    """It knows what it waited for; the sink only sees credit."""
    joined.seconds(4)
    assert 1.0 == joined.snapshots.snapshot.trainers[0].wait_fraction
    for second in range(1, 12):
        credit = joined.sink.streams.readers[TRAINER].credit
        waits = FeedWaits(batches=second, wait_s=0.25 * second, busy_s=0.75 * second, copy_s=0.5 * second)
        joined.credit(Credit(consumed=credit.consumed, limit=credit.limit, feed=waits))
        joined.second()
    assert pytest.approx(0.25) == joined.snapshots.snapshot.trainers[0].wait_fraction
    assert pytest.approx(0.5) == joined.snapshots.snapshot.trainers[0].copy_fraction
    assert pytest.approx(0.25) == joined.snapshots.snapshot.verdict.wait_fraction


def test_a_worker_that_was_not_seen_before_counts_from_where_it_is_seen(joined: Joined) -> None:
    """After a restart of the ventilator, all that it ever made has not been made in a second."""
    joined.stats = WorkerStats(tasks=1_000_000, samples=4_000_000, bytes=80_000_000)
    assert all(joined.second().workers[0].rate <= 5.0 for _ in range(6))


def test_totals_outlive_trainers(joined: Joined) -> None:
    """What was sent to one that left stays counted, its waiting too."""
    joined.seconds(12)
    before = joined.second(work=False).streams[0].sink
    joined.from_sink(joined.sink.receive(TRAINER, Goodbye(), (), joined.now))
    snapshot = joined.seconds(2)
    after = snapshot.streams[0].sink
    assert before is not None
    assert after is not None
    assert () == snapshot.trainers
    assert (before.batches, before.samples, before.bytes) == (after.batches, after.samples, after.bytes)
    assert after.starved_s >= before.starved_s > 0
    assert (0, 0) == (after.window, after.held)


def test_the_ledger_reaches_the_ventilator_page_by_page() -> None:
    """More items fail at once than a heartbeat carries; all arrive, once each, newest first, and the sums are right."""
    joined = Joined(items=20)
    count = 2 * LEDGER_PAGE + 50
    for number in range(count):
        failure = Failure(offset=0, item=number, path=f"{number}.jpg", reason="r" * 5000, kind="decode")
        joined.sink.statistics.quarantine("train", 0, failure, "w")
    joined.second()
    assert list(range(LEDGER_PAGE))[::-1] == [line.item for line in joined.snapshots.answer(1000).ledger]
    joined.seconds(4)
    assert list(range(count))[::-1] == [line.item for line in joined.snapshots.answer(1000).ledger]
    assert [count - 1, count - 2] == [line.item for line in joined.snapshots.answer(2).ledger]
    assert all(len(line.reason) < 500 for line in joined.snapshots.snapshot.ledger)
    sink, [stream] = joined.snapshots.snapshot.sink, joined.snapshots.snapshot.streams
    assert sink is not None
    assert stream.sink is not None
    assert (count, {"decode": count}) == (sink.quarantined, stream.sink.quarantined)


def test_a_ledger_longer_than_is_kept_loses_its_oldest_lines() -> None:
    """Both sides keep the newest; nothing stands still for what is gone."""
    joined = Joined()
    count = LEDGER_KEPT + 300
    for number in range(count):
        failure = Failure(offset=0, item=number, path=f"{number}.jpg", reason="r")
        joined.sink.statistics.quarantine("train", 0, failure, "w")
    joined.seconds(LEDGER_KEPT // LEDGER_PAGE + 3)
    assert list(range(300, count))[::-1] == [line.item for line in joined.snapshots.answer(1000).ledger]


def test_a_ventilator_that_starts_again_hears_the_ledger_anew(joined: Joined) -> None:
    """It says how much it knows; the sink goes by that."""
    failure = Failure(offset=0, item=3, path="3.jpg", reason="r")
    joined.sink.statistics.quarantine("train", 0, failure, "w")
    joined.seconds(3)
    assert 1 == joined.leases.sinks.first.report.lines
    again = Joined()
    again.sink = joined.sink
    again.now = joined.now
    again.to_ventilator(SINK, again.sink.start(again.now)[0])
    again.seconds(3)
    assert [3] == [line.item for line in again.snapshots.answer(10).ledger]


def test_everybody_who_left_is_counted_and_not_shown(joined: Joined) -> None:
    """A worker that leaves and a sink that goes are gone from the snapshot at once."""
    joined.second()
    joined.hear(WORKER, Goodbye())
    joined.hear(SINK, Goodbye())
    joined.snapshots.update(joined.leases.observe(joined.now + 1), 1e9)
    snapshot = joined.snapshots.snapshot
    assert ((), (), None) == (snapshot.workers, snapshot.trainers, snapshot.sink)
    assert {"worker left": 1} == snapshot.lost
    assert all(stream.sink is None for stream in snapshot.streams)


def test_no_number_that_a_peer_may_send_ends_the_ventilator(joined: Joined) -> None:
    """What is out of all proportion is shown as it is told: sums and rates of the largest numbers stay finite."""
    most_s, most = MOST_S, 2**62 - 1
    spent = Timings(read_s=most_s, decode_s=most_s, transform_s=most_s, send_s=most_s)
    joined.seconds(2)
    for number in range(2):
        hello = Hello(worker=f"host/{number + 2}", incarnation=f"w{number}", host="host", slots=2, version="1.0")
        joined.hear(hello.worker.encode(), hello)
    joined.second()
    told = WorkerStats(tasks=most, samples=most, bytes=most, items=most, failures=most, restarts=most)
    joined.stats = told.model_copy(update={"spent": spent, "stage": "make", "stage_s": most_s})
    for name in (b"host/2", b"host/3"):
        joined.hear(name, Finished(done=tuple(Done(key=key, timings=spent) for key in joined.held)))
        joined.hear(name, Heartbeat(running=(), sinks=("i",), worker_stats=joined.stats))
    sent = joined.sink.streams.readers[TRAINER].credit
    waits = FeedWaits(batches=most, wait_s=most_s, busy_s=most_s, copy_s=most_s)
    joined.credit(Credit(consumed=sent.consumed, limit=sent.limit, feed=waits))
    snapshot = joined.second(work=False)
    assert snapshot == Snapshot.model_validate_json(snapshot.model_dump_json())
    assert max(row.rate for row in snapshot.workers) > 1e17
    with pytest.raises(ValueError, match="<= 1"):
        Timings.checked({"read_s": 2 * MOST_S})
