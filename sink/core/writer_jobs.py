"""Jobs of the recording's core for the writing thread, and that thread's outcomes. Frozen records."""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.protocol.messages import Failure
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.block import Slice


@dataclass(frozen=True, slots=True)
class Lost:
    """An item of an epoch that yields no samples, and the first position at which one would stand."""

    position: int
    epoch: int
    failure: Failure


# core → thread


@dataclass(frozen=True, slots=True)
class Open:
    """Open the output: find out how much of it exists, and get ready to continue."""

    plan: StreamPlan


@dataclass(frozen=True, slots=True)
class RowsJob:
    """Append samples."""

    #: In position order.
    slices: Sequence[Slice]
    count: int
    #: (epoch, samples) in the same order.
    epochs: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit what was appended, as the samples of the positions before `stop`."""

    stop: int
    #: Failures before `stop` since the last commit.
    lost: Sequence[Lost]
    #: Whether there will be no more.
    last: bool = False


@dataclass(frozen=True, slots=True)
class PathsJob:
    """Append paths of the source's items."""

    start: int
    #: How many items the source has.
    total: int
    paths: Sequence[str]


Job = Open | RowsJob | Commit | PathsJob


# thread → core


@dataclass(frozen=True, slots=True)
class Opened:
    """The output is open; this is how much of it exists."""

    #: Everything before is there already.
    position: int
    rows: int
    #: Items that failed in earlier runs; they count against the failure budget.
    lost: tuple[Lost, ...]
    #: Files of them.
    pieces: int
    #: Whether the source's paths are there.
    listed: bool
    #: Whether there is nothing left to do.
    finished: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """Samples were appended: they are no longer held."""

    count: int


@dataclass(frozen=True, slots=True)
class Committed:
    """What was appended is committed."""

    position: int
    rows: int


@dataclass(frozen=True, slots=True)
class Listed:
    """The paths up to item `stop` of `total` are there."""

    stop: int
    total: int


@dataclass(frozen=True, slots=True)
class OutputFinished:
    """The output is complete; `left_over`: another process reads its parts, so they were not removed."""

    left_over: bool = False


@dataclass(frozen=True, slots=True)
class DiskFull:
    """The thread waits for a full disk, as `why` explains; an empty `why`: there is space again."""

    why: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The output cannot be written any further; `why` explains it."""

    why: str


Outcome = Opened | Taken | Committed | Listed | OutputFinished | DiskFull | Broken
