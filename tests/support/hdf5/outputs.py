"""Outputs written as a stream's recorder writes them, on disks that fail or end the process at a chosen call."""

import errno
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from support.plans import make_plan, make_samples

from penstock.protocol.errors import OutputError
from penstock.protocol.messages import Failure
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array
from penstock.sink.core.block import Slice
from penstock.sink.core.writer_jobs import Commit, Lost, RowsJob
from penstock.sink.output.durable_files import Disk
from penstock.sink.output.layout import OutputConfig
from penstock.sink.output.output import Output

Value = TypeVar("Value")
PLAN = make_plan(items=28)
#: Samples of one commit; chunks of images hold four.
EACH = 4


class Killed(OutputError):  # noqa: N818 - it is no fault
    """The process has ended here: nothing that it does from now on reaches the disk."""


class FaultyDisk(Disk):
    """A disk at whose `at`-th system call something happens."""

    def __init__(self, at: int | None = None, *, full: int = 0, wait_s: float = 0.0) -> None:
        """Die there; or, if `full`, have no space for so many attempts."""
        self.told: list[str] = []
        super().__init__(wait_s, self.told.append)
        self.calls, self._at, self._full, self._mode = 0, at, full, "full" if full else "kill"

    def patiently(self, action: Callable[[], Value], path: Path) -> Value:
        """Count; let it happen."""
        self.calls += 1
        if self._at is None or self.calls < self._at or (self.calls > self._at and self._mode == "full"):
            return super().patiently(action, path)
        if self._mode == "kill":
            raise Killed(f"call {self._at}")

        def attempt() -> Value:
            if self._full:
                self._full -= 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return action()

        return super().patiently(attempt, path)


def output_config(folder: Path, **changes: Any) -> OutputConfig:
    """Return what is asked for."""
    return replace(OutputConfig(str(folder / "out.h5"), "train", 1, "none", None), **changes)


def arrays(plan: StreamPlan) -> list[Array]:
    """Return the fields of the stream's samples, but for one item that fails."""
    items = [item for item in range(plan.items) if item != 13]
    return make_samples(plan, 0, items, [0] * len(items))


LOST = Lost(13, 0, Failure(offset=1, item=13, path="13.jpg", reason="cannot be decoded"))


def write(asked: OutputConfig, disk: Disk, plan: StreamPlan = PLAN, upto: int | None = None) -> Output:
    """Write a stream as its recorder would, from where it stands; return the output, closed.

    `upto`: stop before the last commit, once that many samples are committed.
    """
    output = Output(asked, plan, disk, lambda _: None)
    try:
        opened = output.opened()
        if opened.finished:
            return output
        if not opened.listed:
            for start in range(0, plan.items, 15):
                stop = min(start + 15, plan.items)
                output.names.append(start, plan.items, [f"{item}.jpg" for item in range(start, stop)])
        fields, total = arrays(plan), plan.items - 1
        for row in range(opened.rows, total, EACH):
            if upto is not None and row >= upto:
                output.close()
                return output
            stop = min(row + EACH, total)
            output.append(RowsJob(slices(fields, row, stop), stop - row, [(0, stop - row)]))
            position = stop + (stop > 13)
            output.commit(Commit(position, [LOST] if row <= 13 < stop else []))
        output.commit(Commit(plan.items, [], last=True))
    except Killed:
        output._lock.release()  # as the kernel would
        raise
    except OutputError:
        output.close()
        raise
    output.close()
    return output


def slices(fields: Sequence[Array], low: int, high: int) -> list[Slice]:
    """Return samples in two slices: a run, and listed rows."""
    middle = (low + high) // 2
    return [Slice(fields, range(low, middle)), Slice(fields, np.arange(middle, high))]


SHARDED = {"shard_size": 10}  # rounded up to 12: three chunks


def calls(folder: Path, **changes: Any) -> int:
    """Return how many system calls an undisturbed run makes."""
    folder.mkdir()
    disk = FaultyDisk()
    write(output_config(folder, **changes), disk)
    shutil.rmtree(folder)
    return disk.calls


ONE_AND_MANY = pytest.mark.parametrize("changes", [{}, SHARDED], ids=["whole", "shards"])
#: A few of the calls to the system, and, with more time, more of them.
SOME_AND_MORE = pytest.mark.parametrize("most", [8, pytest.param(40, marks=pytest.mark.long)], ids=["some", "more"])
