"""The thread that owns the output: takes jobs in order, does what may block, and reports outcomes.

So a slow disk never
holds up the sink's loop.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from penstock.protocol.errors import OutputError, PenstockError, SpecError
from penstock.sink.core.writer_jobs import (
    Broken,
    Commit,
    Committed,
    DiskFull,
    Job,
    Listed,
    Open,
    Outcome,
    OutputFinished,
    PathsJob,
    RowsJob,
    Taken,
)
from penstock.sink.output.durable_files import Disk
from penstock.sink.output.layout import OutputConfig

try:
    from penstock.sink.output.output import Output
    from penstock.sink.output.paths import check_place, discard
except ImportError as missing:
    raise SpecError("writing HDF5 needs h5py and hdf5plugin: pip install 'penstock[hdf5]'") from missing

__all__ = ["Writer", "check_place", "discard"]


class Writer:
    """One output and its thread."""

    def __init__(self, config: OutputConfig, full_disk_wait_s: float, wake: Callable[[], None]) -> None:
        """Wait for jobs; `wake` is called whenever an outcome is there, from the thread."""
        self._config, self._wake = config, wake
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outcomes: deque[Outcome] = deque()
        self._disk = Disk(full_disk_wait_s, lambda why: self._tell(DiskFull(why)))
        self._output: Output | None = None
        #: Completed fraction of the merge of pieces, 0 to 1; None before it has begun.
        self.together: float | None = None
        #: Seconds that the thread spent writing.
        self.busy_s = 0.0
        self._thread = threading.Thread(target=self._run, name="penstock writer", daemon=True)
        self._thread.start()

    def give(self, job: Job) -> None:
        """Queue a job; never waits."""
        self._jobs.put(job)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes of jobs since the last call."""
        while self._outcomes:
            yield self._outcomes.popleft()

    def close(self, wait_s: float) -> bool:
        """Finish the jobs that are given, unless that takes longer; return whether all were done."""
        self._jobs.put(None)
        self._thread.join(wait_s)
        self._disk.leaving.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """Return what the output takes on the disk."""
        output = self._output
        return {"busy_s": round(self.busy_s, 3)} | (
            {} if output is None else {"pieces": len(output.pieces), "bytes": output.size, "together": self.together}
        )

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            began = time.monotonic()
            try:
                outcome = self._do(job)
            except PenstockError as error:
                outcome = Broken(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the sink must hear of it, or it waits for ever
                outcome = Broken(f"{self._config.output}: {type(error).__name__}: {error}")
            self.busy_s += time.monotonic() - began
            del job  # and with it the samples
            self._tell(outcome)
            if isinstance(outcome, Broken):
                break
        if self._output is not None:
            self._output.close()

    def _do(self, job: Job) -> Outcome:
        if isinstance(job, Open):
            self._output = Output(self._config, job.plan, self._disk, self._note_progress)
            return self._output.opened()
        output = self._output
        if output is None:
            raise OutputError(f"{self._config.output}: not open")
        match job:
            case RowsJob():
                output.append(job)
                return Taken(job.count)
            case PathsJob():
                return Listed(output.names.append(job.start, job.total, job.paths), job.total)
            case Commit():
                output.commit(job)
                return OutputFinished(output.left_over) if output.finished else Committed(output.stop, output.rows)

    def _note_progress(self, done: float) -> None:
        self.together = done
        if self._disk.leaving.is_set():
            raise OutputError(f"{self._config.output}: stopped while it was put together: the same command goes on")

    def _tell(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._wake()
