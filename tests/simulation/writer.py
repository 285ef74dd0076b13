"""A simulated writing thread and its disk, which may be full or break; what was not committed dies with the sink."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from support.cores.recording_harness import Disk, Named, named, wanted

from penstock.protocol.plan import StreamPlan
from penstock.sink.core.recording import Pace, Recording
from penstock.sink.core.writer_jobs import (
    Broken,
    Commit,
    Committed,
    DiskFull,
    Job,
    Listed,
    Open,
    Opened,
    Outcome,
    OutputFinished,
    PathsJob,
    RowsJob,
    Taken,
)
from penstock.sink.output.layout import OutputConfig

if TYPE_CHECKING:
    from simulation.processes import SinkProcess

#: Why a sink ends whose disk breaks.
BROKEN = "the disk is broken"
#: Bytes and seconds between two commits, seconds that a job takes, and that a thread waits for space.
_PIECE_BYTES, _PIECE_S = 300, 2.0
_JOB_S, _AGAIN_S = 0.01, 0.25


class WrittenFile(Disk):
    """What lasts of an output, and whether its disk takes anything now."""

    def __init__(self, plan: StreamPlan, epochs: int) -> None:
        """Be empty, on a disk that works."""
        super().__init__()
        self.plan, self.epochs = plan, epochs
        self.full_until = self.broken_until = 0.0

    def recording(self) -> Recording:
        """Return the core of a sink that writes this file."""
        config = OutputConfig("out.h5", self.plan.name, self.epochs, "none", None)
        return Recording(config, Pace(_PIECE_BYTES, _PIECE_S), 0)

    def check(self, dead: frozenset[int]) -> None:
        """Check the finished file: each sample that survives once, in order, and each lost item once an epoch."""
        assert list(wanted(self.plan, self.epochs, dead)) == self.rows
        lost = sorted((each.epoch, each.failure.item) for each in self.lost)
        assert sorted((epoch, item) for epoch in range(self.epochs) for item in dead) == lost
        assert [f"{item}.jpg" for item in range(self.plan.items)] == self.paths


class Writer:
    """The thread of one sink process: does one job after the other."""

    def __init__(self, sink: "SinkProcess", file: WrittenFile, tell: Callable[[Outcome], None]) -> None:
        """Have nothing to do; outcomes go to `tell`."""
        self.recording = file.recording()
        self._sink, self._file, self._tell = sink, file, tell
        self._jobs: deque[Job] = deque()
        self._uncommitted: list[Named] = []
        self._full = False

    def do(self, job: Job) -> None:
        """Do a job after those before it."""
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._sink.later(_JOB_S, self._work)

    def _work(self) -> None:
        true_now = self._sink.world.clock.now
        if true_now < self._file.broken_until:
            self._tell(Broken(BROKEN))
            return
        full = true_now < self._file.full_until
        if full != self._full:
            self._full = full
            self._tell(DiskFull("no space left" if full else ""))
        if full:
            self._sink.later(_AGAIN_S, self._work)
            return
        outcome = self._outcome(self._jobs.popleft())
        if self._jobs:
            self._sink.later(_JOB_S, self._work)
        self._tell(outcome)

    def _outcome(self, job: Job) -> Outcome:
        file = self._file
        match job:
            case Open(plan):
                listed = len(file.paths) == plan.items
                return Opened(
                    file.stop, len(file.rows), tuple(file.lost), file.pieces, listed=listed, finished=file.finished
                )
            case RowsJob():
                self._uncommitted += named(file.plan, job)
                return Taken(job.count)
            case PathsJob():
                assert job.start == len(file.paths)
                file.paths += job.paths
                return Listed(len(file.paths), job.total)
            case Commit():
                return self._commit(job)

    def _commit(self, commit: Commit) -> Outcome:
        file = self._file
        assert commit.stop >= file.stop
        file.rows += self._uncommitted
        self._uncommitted = []
        file.lost += commit.lost
        file.stop, file.pieces, file.finished = commit.stop, file.pieces + 1, commit.last
        if not commit.last:
            return Committed(commit.stop, len(file.rows))
        self._sink.world.finished()
        return OutputFinished()
