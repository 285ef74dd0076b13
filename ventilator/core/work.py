"""A unit of work that the sink misses: a task, or one item of it. Part of the leases core: no socket, no clock."""

from typing import Protocol

import msgspec

from penstock.protocol.messages import Failure, Paths, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges


class MakeTask(Protocol):
    """Makes a task: a pure function of the plan and the source's listing.

    Of a source of rows only what is run alone lists its item, so that it can be named; workers know the others by the
    plan.
    """

    def __call__(self, key: TaskKey, attempt: int) -> Task:
        """Return the task that a key names, leased to no worker."""
        ...


class WorkSource(Protocol):
    """The listed sources (`sources/catalog.py`): pure functions of the spec and the listing."""

    @property
    def plans(self) -> tuple[StreamPlan, ...]:
        """Every stream's plan."""
        ...

    def task(self, key: TaskKey, attempt: int) -> Task:
        """Return the task that a key names, leased to no worker."""
        ...

    def paths(self, stream: str, start: int) -> Paths:
        """Return the paths of a stream's items from `start` on, a page of them. Raises RemoteProtocolError."""
        ...


#: Ordinal, offset of the first item, offsets of a part, and the key; no two keys are equal in the first three.
Entry = tuple[int, int, tuple[int, ...], TaskKey]


class Work(msgspec.Struct, eq=False, gc=False):
    """A unit of work that the sink misses. There is one for each task, so it is cheap to make, and forms no cycle."""

    key: TaskKey
    #: When the sink began to miss it: an older lease belongs to an earlier time that it was missed.
    since: float
    #: When a worker last said that its result was sent; None: not since it was last ready.
    finished_at: float | None = None
    #: The worker that sent a result of it last, and when; whether another one did, too.
    sender: bytes = b""
    sent_at: float = 0.0
    sent_by_several: bool = False
    #: How often it was made again because no result arrived.
    remade: int = 0
    #: Whether it is ready to be leased.
    ready: bool = False
    #: Whether it was taken to be leased at least once.
    tried: bool = False
    #: The host that it is best made on, as of when it became ready; empty: any.
    home: str = ""
    #: Set once it was given up: repeated to the sink until it is no longer missing.
    failure: Failure | None = None
    #: Whether the failure was reported to the sink at least once.
    told: bool = False
    #: Version of the list of suspects at which its items were last checked and found clear.
    checked: int = -1
    #: The numbers of the workers whose word on it another worker has to confirm, and since when that is asked.
    doubted_by: frozenset[int] = frozenset()
    doubted_since: float = 0.0
    #: With several sinks: the positions that its last lease sends to each.
    destined: dict[bytes, Ranges] | None = None


def entry(key: TaskKey) -> Entry:
    """Return a key's entry among ready work: by position."""
    first = key.offsets[0] if key.offsets else -1 if key.item_offset is None else key.item_offset
    return (key.ordinal, first, key.offsets, key)
