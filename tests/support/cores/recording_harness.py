"""A sink's core that records a stream, with disk, ventilator and workers played by hand."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from support.plans import LEASE_KEY, SAMPLE_BYTES, epoch_samples, leased, make_result, make_task

from penstock.protocol import ranges
from penstock.protocol.instructions import Failed, Note, Send
from penstock.protocol.messages import (
    Batch,
    Credit,
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
        self.workers = 0
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
        self.take(
            self.core.receive(VENTILATOR, SinkWelcome(streams=(plan,), intervals=INTERVALS, leases=LEASE_KEY), (), 0.0)
        )

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
        self.workers += 1
        task = leased(make_task(self.plan, TaskKey(stream=self.plan.name, ordinal=ordinal)), holder=self.workers)
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
