"""The core of writing: every sample once, in whole chunks; what is committed is kept; trainers share the work."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plans import SAMPLE_BYTES, epoch_samples, make_plan, make_result, make_task

from penstock.protocol import ranges
from penstock.protocol.instructions import Failed, Note, Send
from penstock.protocol.messages import (
    Batch,
    Credit,
    Goodbye,
    Intervals,
    ListPaths,
    Paths,
    Progress,
    SinkHello,
    SinkWelcome,
    Subscribe,
    TaskKey,
)
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.assembly import VENTILATOR, Assembly
from penstock.sink.core.instructions import SinkInstruction, Write
from penstock.sink.core.reader import gather
from penstock.sink.core.recording import Pace, Recording
from penstock.sink.core.writer_jobs import (
    Commit,
    Committed,
    DiskFull,
    Job,
    Listed,
    Lost,
    Open,
    Opened,
    OutputFinished,
    PathsJob,
    RowsJob,
    Taken,
)
from penstock.sink.output.layout import Layout, OutputConfig

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)
#: What names a sample: epoch, item, patch.
Named = tuple[int, int, int]


@pytest.fixture(autouse=True)
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four samples of these tests make a chunk of their images."""
    chunk_tinily(monkeypatch)


def chunk_tinily(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count images of four bytes as large fields, of which four make a chunk."""
    monkeypatch.setattr("penstock.sink.output.layout._LARGE_BYTES", 4)
    monkeypatch.setattr("penstock.sink.output.layout._CHUNK_BYTES", 16)


@dataclass
class Disk:
    """What lasts: samples and lost items as far as they are committed, and the paths."""

    rows: list[Named] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    stop: int = 0
    pieces: int = 0
    finished: bool = False


class CoreHarness:
    """A sink that writes, with the ventilator, workers, trainers and the disk played by hand."""

    def __init__(self, plan: StreamPlan, disk: Disk, **options: Any) -> None:
        """Start with what is on the disk, welcomed and opened."""
        self.plan, self.disk = plan, disk
        self.config = OutputConfig("out.h5", plan.name, options.get("epochs", 2), "none", options.get("shard_size"))
        pace = Pace(options.get("piece_bytes", 12 * SAMPLE_BYTES), options.get("piece_s", 10.0))
        self.recording = Recording(self.config, pace, options.get("wait_for", 0))
        hello = SinkHello(incarnation="i", results="results", version="1.0")
        self.now = 0.0
        self.core = Assembly(hello, INTERVALS, 0.0, self.recording)
        self.jobs: list[Job] = []
        self.notes: list[Note] = []
        self.failed: list[str] = []
        self.got: dict[bytes, int] = {}
        self.limits: dict[bytes, int] = {}
        #: Tasks whose result was accepted, and how often.
        self.made: Counter[int] = Counter()
        self._asked: list[ListPaths] = []
        self._uncommitted: list[Named] = []
        self.take(self.core.receive(VENTILATOR, SinkWelcome(streams=(plan,), intervals=INTERVALS), (), 0.0))

    def take(self, instructions: Sequence[SinkInstruction]) -> None:
        """Check the core; keep what it asks for."""
        self.core.validate()
        for each in instructions:
            match each:
                case Write(job):
                    assert isinstance(job, Open | RowsJob | Commit | PathsJob)
                    self.jobs.append(job)
                case Note():
                    self.notes.append(each)
                case Failed(reason):
                    self.failed.append(reason)
                case Send(peer, Batch() as batch):
                    self.got[peer] = batch.sequence + len(batch.stops)
                case Send(_, ListPaths() as asked):
                    self._asked.append(asked)
                case _:
                    pass

    def missing(self) -> list[int]:
        """Return the tasks that the ventilator is told to be missing."""
        self.core.streams.report.changed = True
        progress = [
            each.message
            for each in self.core.progress()
            if isinstance(each, Send) and isinstance(each.message, Progress)
        ]
        return [task for message in progress for need in message.needs for task in ranges.members(need.missing)]

    def result(self, ordinal: int, failing: frozenset[int] = frozenset()) -> None:
        """Let the result of a task arrive."""
        before = self.core.results["accepted"]
        task = make_task(self.plan, TaskKey(stream=self.plan.name, ordinal=ordinal))
        result, arrays = make_result(self.plan, task, failing)
        self.take(self.core.receive(b"", result, arrays, self.now))
        self.made[ordinal] += self.core.results["accepted"] - before

    def work(self) -> bool:
        """Do the disk's next job; return whether there was one."""
        if not self.jobs:
            return False
        self.take(self.core.wrote(self._do(self.jobs.pop(0)), self.now))
        return True

    def answer(self) -> bool:
        """Answer what the ventilator was asked; return whether it was."""
        if not self._asked:
            return False
        start = self._asked.pop(0).start
        names = tuple(f"{item}.jpg" for item in range(start, min(start + 7, self.plan.items)))
        answer = Paths(stream=self.plan.name, start=start, total=self.plan.items, paths=names)
        self.take(self.core.receive(VENTILATOR, answer, (), self.now))
        return True

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        self.now += seconds
        self.core.ventilator.heard_at = self.now
        for reader in self.core.streams.readers.values():
            reader.live.heard_at = self.now
        self.take(self.core.tick(self.now))

    def subscribe(self, peer: bytes, position: int = 0, limit: int = 2) -> None:
        """Let a trainer subscribe."""
        self.limits[peer] = limit
        config = Subscribe(stream=self.plan.name, version="1.0", position=position, limit=limit)
        self.take(self.core.receive(peer, config, (), self.now))

    def consume(self, peer: bytes) -> bool:
        """Let a trainer consume what it got; return whether that was anything."""
        got = self.got.get(peer, 0)
        if peer not in self.core.streams.readers or self.core.streams.readers[peer].credit.consumed == got:
            return False
        self.take(self.core.receive(peer, Credit(consumed=got, limit=got + self.limits[peer]), (), self.now))
        return True

    def finish(self, failing: frozenset[int], rng: np.random.Generator) -> None:
        """Let everything happen, in any order, until the file is finished."""
        for _ in range(10_000):
            if self.recording.state == "finished":
                return
            happened = [self.consume(peer) for peer in list(self.core.streams.readers)]
            happened += [self.work() if rng.random() < 0.7 else bool(self.jobs), self.answer()]
            missing = self.missing()
            if missing and rng.random() < 0.8:
                self.result(int(rng.choice(missing)), failing)
            if not any(happened) and not missing:
                self.tick()
        raise AssertionError(f"no end: {self.recording.status()}")

    def _do(self, job: Job) -> Any:
        match job:
            case Open():
                disk = self.disk
                if len(disk.paths) < self.plan.items:
                    disk.paths = []
                return Opened(
                    disk.stop,
                    len(disk.rows),
                    tuple(disk.lost),
                    disk.pieces,
                    listed=len(disk.paths) == self.plan.items,
                    finished=disk.finished,
                )
            case RowsJob():
                self._uncommitted += named(self.plan, job)
                return Taken(job.count)
            case Commit():
                return self._commit(job)
            case PathsJob():
                assert job.start == len(self.disk.paths)
                self.disk.paths += job.paths
                return Listed(len(self.disk.paths), job.total)

    def _commit(self, commit: Commit) -> Any:
        unit = Layout.of(self.plan).unit
        self.disk.rows += self._uncommitted
        assert not len(self.disk.rows) % unit or self.recording.recorder.done  # type: ignore[union-attr]
        self._uncommitted = []
        assert commit.stop >= self.disk.stop
        assert all(lost.position < commit.stop for lost in commit.lost)
        self.disk.lost += commit.lost
        self.disk.stop, self.disk.pieces, self.disk.finished = commit.stop, self.disk.pieces + 1, commit.last
        return OutputFinished() if commit.last else Committed(commit.stop, len(self.disk.rows))


def named(plan: StreamPlan, rows: RowsJob) -> list[Named]:
    """Return which samples a job holds."""
    names = [known.name for known in plan.schema]
    columns = [
        gather(names.index(name), plan.schema[names.index(name)], rows.slices, rows.count) for name in ("item", "patch")
    ]
    epochs = [epoch for epoch, count in rows.epochs for _ in range(count)]
    return list(zip(epochs, *(column.tolist() for column in columns), strict=True))


def wanted(plan: StreamPlan, epochs: int, failing: frozenset[int]) -> Iterator[Named]:
    """Yield the samples that a file must hold."""
    for epoch in range(epochs):
        for sample in epoch_samples(plan.geometry, plan.settings.shard_of, epoch):
            if sample.item not in failing:
                yield epoch, sample.item, sample.patch


def check(harness: CoreHarness, epochs: int, failing: frozenset[int]) -> None:
    """Check what is on the disk in the end."""
    assert list(wanted(harness.plan, epochs, failing)) == harness.disk.rows
    lost = [(each.epoch, each.failure.item) for each in harness.disk.lost]
    assert sorted((epoch, item) for epoch in range(epochs) for item in failing) == sorted(lost)
    assert [each.position for each in harness.disk.lost] == sorted(each.position for each in harness.disk.lost)
    assert [f"{item}.jpg" for item in range(harness.plan.items)] == harness.disk.paths
    assert epochs * harness.plan.geometry.samples_per_epoch == harness.disk.stop


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_dies_when_each_sample_is_written_once_and_in_order(data: st.DataObject) -> None:
    """Results in any order, a disk of any speed, trainers that come and go, sinks killed between any two steps."""
    with pytest.MonkeyPatch.context() as patch:
        chunk_tinily(patch)
        plan = make_plan(
            items=data.draw(st.integers(3, 30)),
            patches=data.draw(st.integers(1, 3)),
            mix=data.draw(st.sampled_from([1, 2, 8])),
            window_samples=data.draw(st.sampled_from([1, 40])),
            batch_size=data.draw(st.sampled_from([1, 4, 7])),
        )
        failing = frozenset(data.draw(st.sets(st.integers(0, plan.items - 1), max_size=plan.items // 2)))
        options: dict[str, Any] = {
            "epochs": data.draw(st.integers(1, 3)),
            "piece_bytes": data.draw(st.sampled_from([1, 9 * SAMPLE_BYTES, 10**6])),
            "shard_size": data.draw(st.sampled_from([None, 1, 10])),
            "wait_for": data.draw(st.sampled_from([0, 1])),
        }
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        disk = Disk()
        for _ in range(data.draw(st.integers(0, 4))):
            _disturb(CoreHarness(plan, disk, **options), failing, rng)
        harness = CoreHarness(plan, disk, **options)
        harness.work()
        harness.subscribe(b"last", disk.stop)
        harness.finish(failing, rng)
        check(harness, options["epochs"], failing)


def _disturb(harness: CoreHarness, failing: frozenset[int], rng: np.random.Generator) -> None:
    """Do a number of random steps, and die."""
    for step in range(int(rng.integers(0, 60))):
        match int(rng.integers(0, 8)):
            case 0 | 1 | 2:
                if missing := harness.missing():
                    harness.result(int(rng.choice(missing)), failing)
            case 3 | 4:
                harness.work()
            case 5:
                harness.tick(float(rng.uniform(0, 8)))
                harness.answer()
            case 6:
                harness.subscribe(
                    f"t{step}".encode(), int(rng.integers(0, 2 * harness.plan.geometry.samples_per_epoch))
                )
            case _:
                for peer in list(harness.core.streams.readers):
                    if rng.random() < 0.2:
                        harness.take(harness.core.receive(peer, Goodbye(), (), harness.now))
                    else:
                        harness.consume(peer)


def test_a_trainer_waits_until_the_output_is_open() -> None:
    """Nothing is made for it before: with a head start it would have results made for it alone."""
    harness = CoreHarness(make_plan(items=28), Disk(), wait_for=1)
    harness.subscribe(b"t")
    assert [] == harness.missing()
    assert {} == harness.core.streams.readers
    assert harness.work(), "the disk says where the output stands"
    assert [b"t"] == list(harness.core.streams.readers)
    harness.finish(frozenset(), np.random.default_rng(1))
    assert {1} == set(harness.made.values())


def test_a_trainer_beside_the_writer_costs_no_work() -> None:
    """Both read from the start: no result is made twice, however slow either is; both get everything."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        plan = make_plan(items=60, mix=4, window_samples=1)
        harness = CoreHarness(plan, Disk(), wait_for=1)
        harness.work()
        harness.subscribe(b"t")
        harness.tick()
        harness.finish(frozenset({3, 17}), rng)
        for _ in range(100):
            harness.consume(b"t")
        assert {1} == set(harness.made.values())
        check(harness, 2, frozenset({3, 17}))


def test_neither_runs_ahead_of_the_other_by_more_than_the_window() -> None:
    """A disk that stands still stops the trainer, and a trainer that does the writer; one that leaves does not."""
    plan = make_plan(items=400, task_items=4, window_samples=1)
    harness = CoreHarness(plan, Disk(), epochs=1, wait_for=1)
    harness.work()
    harness.subscribe(b"t", limit=1000)
    harness.tick()
    recorder = harness.recording.recorder
    assert recorder is not None
    for _ in range(200):  # no disk
        harness.consume(b"t")
        for task in harness.missing():
            harness.result(task)
    reader = harness.core.streams.readers[b"t"]
    assert 0 < reader.cursor <= recorder.cursor + recorder.window
    assert not harness.missing(), "nothing may be made for nobody"
    assert recorder.in_flight <= recorder.window
    stood = recorder.cursor
    for _ in range(200):  # no trainer
        while harness.work() or harness.answer():
            pass
        for task in harness.missing():
            harness.result(task)
    assert stood < recorder.cursor <= reader.cursor + reader.window
    harness.take(harness.core.receive(b"t", Goodbye(), (), harness.now))
    harness.finish(frozenset(), np.random.default_rng(0))
    check(harness, 1, frozenset())


def test_a_trainer_far_away_goes_its_own_way() -> None:
    """It does not hold the writer up, nor is it held up; once near, they share."""
    plan = make_plan(items=400, task_items=4, window_samples=1)
    harness = CoreHarness(plan, Disk(), epochs=1)
    harness.work()
    harness.subscribe(b"t", position=200)
    assert [] == harness.core.streams.readers[b"t"].paced_with
    while harness.recording.recorder is not None and harness.recording.recorder.cursor < 190:
        while harness.work() or harness.answer():
            pass
        for task in harness.missing():
            harness.result(task)
        harness.tick(0.1)
    assert [harness.recording.recorder] == harness.core.streams.readers[b"t"].paced_with
    harness.finish(frozenset(), np.random.default_rng(0))
    assert [] == harness.core.streams.readers[b"t"].paced_with
    check(harness, 1, frozenset())


def test_what_waits_too_long_is_committed() -> None:
    """A slow stream is safe every few seconds, in whole chunks."""
    plan = make_plan(items=400)
    harness = CoreHarness(plan, Disk(), piece_bytes=10**9, piece_s=5.0)
    harness.work()
    harness.result(0)
    harness.result(1)
    harness.tick(4.0)
    assert not any(isinstance(job, Commit) for job in harness.jobs)
    harness.tick(1.5)
    assert [RowsJob, RowsJob, Commit] == [type(job) for job in harness.jobs]
    harness.result(2)
    harness.tick(1.0)
    assert 1 == sum(isinstance(job, Commit) for job in harness.jobs)


def test_pieces_grow_with_their_number() -> None:
    """A terabyte is no million files."""
    pace = Pace(64_000_000, 10.0)
    assert (64_000_000, 10.0) == pace.limits(63)
    assert (128_000_000, 20.0) == pace.limits(64)
    total = pieces = 0
    while total < 10**12:
        total, pieces = total + pace.limits(pieces)[0], pieces + 1
    assert pieces < 700


def test_a_slow_disk_is_said_to_hold_the_stream_up() -> None:
    """Once in the log, and in what /healthz shows, until it keeps up again."""
    harness = CoreHarness(make_plan(items=400, window_samples=64), Disk(), epochs=1)
    harness.work()
    for _ in range(30):
        for task in harness.missing():
            harness.result(task)
    for _ in range(4):
        harness.tick(1.0)
    assert 1 == sum(note.event == "held up by writer" for note in harness.notes)
    assert harness.recording.status()["held_up_by_writer"]
    while harness.work() or harness.answer():
        pass
    harness.tick(0.1)
    assert not harness.recording.status()["held_up_by_writer"]


def test_a_window_holds_several_jobs_however_small_it_is() -> None:
    """The disk is never idle while the samples after its last job are made, and one job done is not a disk in step."""
    harness = CoreHarness(make_plan(items=400, window_samples=64), Disk(), epochs=1, piece_bytes=10**9)
    harness.work()
    harness.tick()
    for task in harness.missing()[::-1]:  # nothing is complete before the last
        harness.result(task)
    jobs = [job for job in harness.jobs if isinstance(job, RowsJob)]
    assert 4 <= len(jobs)
    recorder = harness.recording.recorder
    assert recorder is not None
    assert max(job.count for job in jobs) <= recorder.window // 4


def test_a_full_disk_is_said_while_it_lasts() -> None:
    """The thread waits; the log and /healthz say for what."""
    harness = CoreHarness(make_plan(), Disk())
    harness.work()
    harness.take(harness.core.wrote(DiskFull("out.h5: No space left on device"), 0.0))
    assert ("out.h5: No space left on device", True) == (
        harness.recording.status()["why"],
        harness.recording.status()["held_up_by_writer"],
    )
    harness.take(harness.core.wrote(DiskFull(""), 0.0))
    assert ["disk full", "disk has space again"] == [note.event for note in harness.notes if "disk" in note.event]
    assert not harness.recording.status()["why"]


def test_a_stream_that_its_budget_stops_is_committed_and_no_more() -> None:
    """What was made is kept; the sink goes on for others."""
    plan = make_plan(items=40, failure_budget=0.0)
    harness = CoreHarness(plan, Disk(), piece_bytes=10**9)
    harness.work()
    harness.result(0)
    harness.result(1, frozenset(range(40)))
    assert "stopped" == harness.recording.state
    assert "failure_budget = 0.0" in harness.recording.why
    assert [RowsJob, Commit] == [type(job) for job in harness.jobs]
    assert [] == harness.failed
    assert [] == harness.missing()


def test_the_budget_holds_over_restarts() -> None:
    """What failed in earlier runs counts: a run that is only repeated stops again, at once and for the same reason."""
    plan, disk, bad = make_plan(items=40, failure_budget=0.1), Disk(), frozenset(range(0, 40, 5))
    for run in range(3):
        harness = CoreHarness(plan, disk, epochs=1, piece_bytes=10**9)
        while harness.work() or (harness.recording.state == "writing" and harness.missing()):
            for ordinal in harness.missing()[:1]:
                harness.result(ordinal, bad)
        assert "stopped" == harness.recording.state, f"run {run}"
        assert "5 of 40 items failed in epoch 0" in harness.recording.why
        assert len(disk.lost) <= 5
    cured = plan.model_copy(update={"settings": plan.settings.model_copy(update={"failure_budget": 0.5})})
    harness = CoreHarness(cured, disk, epochs=1)
    harness.finish(bad, np.random.default_rng(1))
    assert sorted(bad) == sorted(lost.failure.item for lost in disk.lost)


def test_another_spec_stops_the_writing_and_other_batches_do_not() -> None:
    """Positions of one fingerprint hold whatever the batches and windows are."""
    plan = make_plan(items=40)
    disk = Disk()
    harness = CoreHarness(plan, disk, epochs=1)
    harness.work()
    harness.result(0)
    other = make_plan(items=40, batch_size=5, window_samples=100, task_items=8)
    harness.plan = other
    harness.take(harness.core.receive(VENTILATOR, SinkWelcome(streams=(other,), intervals=INTERVALS), (), 0.0))
    harness.finish(frozenset(), np.random.default_rng(1))
    check(harness, 1, frozenset())
    again = CoreHarness(plan, Disk())
    again.work()
    foreign = make_plan(items=40, fingerprint="g")
    again.take(again.core.receive(VENTILATOR, SinkWelcome(streams=(foreign,), intervals=INTERVALS), (), 0.0))
    assert ("stopped", True) == (again.recording.state, "its fingerprint is g now" in again.recording.why)


def test_a_finished_file_needs_nothing() -> None:
    """Whoever finds it finished makes nothing."""
    harness = CoreHarness(make_plan(), Disk(finished=True))
    harness.work()
    assert "finished" == harness.recording.state
    assert [] == harness.missing()


def test_a_stream_that_is_not_there_is_named() -> None:
    """The sink goes on for its trainers."""
    harness = CoreHarness(make_plan("validation"), Disk())
    recording = Recording(OutputConfig("out.h5", "train", 1, "none", None), Pace(1, 1.0), 0)
    [note] = recording.welcome({"validation": harness.plan})
    assert isinstance(note, Note)
    assert "no stream 'train' here; there are: validation" == note.fields["why"]
