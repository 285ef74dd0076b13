"""Every message that crosses a socket, as frozen pydantic models. Owns their meaning; refuses to know bytes.

Here stand those between ventilator, workers and sink, and the union of all; those of trainers stand in `batches`, what
several share in `records`. A message that carries arrays says so in its `frames`: one entry an array, in order.
Everything else fits the header.
"""

from typing import Annotated

from pydantic import Field

from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.records import (
    Count,
    Done,
    Failure,
    Intervals,
    Item,
    Message,
    Ping,
    Place,
    Reason,
    Reference,
    Task,
    TaskKey,
    Text,
    Timings,
)
from penstock.protocol.snapshot import Snapshot, StatusRequest
from penstock.protocol.stats import SinkStats, WorkerStats
from penstock.protocol.trainer_messages import (
    MAX_BATCHES,
    Batch,
    Credit,
    EpochEnd,
    Part,
    Refused,
    SampleReply,
    SampleRequest,
    Subscribe,
    TrainerWelcome,
)

# worker → ventilator


class Hello(Message):
    """A worker introduces itself; its socket's identity is fresh."""

    worker: Text
    """Name for logs: host and process."""
    incarnation: Text
    """Fresh for each start of the process, the same under all its identities: tells a lost link from a death."""
    host: Text
    """Host name."""
    slots: Annotated[int, Field(ge=1, le=10_000)]
    """Tasks that it wants to hold at once."""
    version: Text
    """Penstock's version."""


class Finished(Message):
    """Results that have been sent to the sink."""

    done: tuple[Done, ...]
    """The units of work, in the order they were run."""


class Heartbeat(Message):
    """I am alive. Says where the sender stands, absolutely, so that the peer notices what was lost on the way."""

    running: tuple[TaskKey, ...] | None = None
    """Worker only: every unit of work that it holds, oldest first."""
    sink: Text = ""
    """Worker only: where it pushes results to; the ventilator repeats its welcome if that is out of date."""
    blocked: Reason = ""
    """Worker only: why no result gets to the sink, in words; empty: they do, or there is none to send."""
    position: Count | None = None
    """Sink to trainer only: the position up to which everything was sent; none: not subscribed yet."""
    worker_stats: WorkerStats | None = None
    """Worker only: what it has done."""
    sink_stats: SinkStats | None = None
    """Sink to ventilator only: what it holds and for whom."""
    ledger: Count = 0
    """Ventilator to sink only: the number of quarantined items of this sink that it has heard of."""
    ping: Ping | None = None
    """Of a traced process only."""


class Goodbye(Message):
    """I am leaving on purpose."""

    unstarted: tuple[TaskKey, ...] = ()
    """Worker only: what it gives back."""


# ventilator → worker


class WorkerWelcome(Message):
    """Answer to `Hello`: all that a stateless worker needs."""

    streams: tuple[StreamPlan, ...]
    """Every stream."""
    roots: dict[str, str]
    """Where the ventilator's host has each root: a worker's own `--root` goes first."""
    sink: Text
    """Address to push results to; empty until a sink has said hello."""
    incarnation: Text = ""
    """Which start of the sink that is: another one does not know what memory was lent to the one before."""
    intervals: Intervals
    """Heartbeats and deadlines."""


class Tasks(Message):
    """Units of work leased to this worker."""

    tasks: tuple[Task, ...]
    """In the order to run them."""


class Drain(Message):
    """Finish what runs, give back the rest, leave (also to a sink of another version)."""

    reason: Reason
    """Why, in words."""


class Reset(Message):
    """I do not know you: say hello again under a fresh identity."""


# worker → sink → trainer


class Result(Message):
    """The samples of one unit of work; one frame a field of the schema."""

    key: TaskKey
    """What was worked on."""
    plan: Text
    """`StreamPlan.token` of the plan it was worked on by: under another one its key names other samples."""
    worker: Text
    """Who did."""
    failures: tuple[Failure, ...] = ()
    """Items that yielded no samples. The frames hold the other items' samples, by item and then by patch."""
    frames: tuple[FieldSchema, ...]
    """Type and whole shape of each frame, samples first."""
    memory: tuple[Reference, ...] = ()
    """Segments of shared memory that hold arrays of this message."""
    places: tuple[Place | None, ...] = ()
    """For each array, where it lies in `memory`; none (or an empty list): it is a frame of the message."""
    offers: Annotated[tuple[Reference, ...], Field(max_length=16)] = ()
    """Segments that the worker would like to use: the sink releases those that it can open."""


# sink ↔ ventilator


class SinkHello(Message):
    """A sink introduces itself."""

    incarnation: Text
    """Fresh for each start of the process."""
    results: Text
    """Address that workers push results to."""
    trainers: Text = ""
    """Address for trainers, as this host knows it: the dashboard looks at samples there."""
    version: Text
    """Penstock's version."""


class StreamNeed(Message):
    """What one stream's readers still need: absolute, so late, repeated or lost messages do no harm."""

    stream: Text
    """Name of the stream."""
    missing: Ranges
    """Ordinals of the tasks that are wanted and not held."""
    partial: tuple[tuple[Count, tuple[Count, ...]], ...] = ()
    """Of missing tasks that came in parts: ordinal and the offsets of the items already held."""
    stopped: Reason = ""
    """Why the stream stopped for good (its failure budget); empty while it runs."""


class Progress(Message):
    """Confirms and limits at once: whatever is not missing needs no work."""

    sequence: Count
    """Rises with every message of a sink; older ones are ignored."""
    needs: tuple[StreamNeed, ...]
    """Every stream that has a reader; the others need nothing."""


class SinkWelcome(Message):
    """Answer to `SinkHello`."""

    streams: tuple[StreamPlan, ...]
    """Every stream."""
    intervals: Intervals
    """Heartbeats and deadlines."""


class Quarantined(Message):
    """Items that the ventilator gave up on: they kill their workers."""

    key: TaskKey
    """The unit of work, one item alone."""
    failure: Failure
    """The item and why."""


class ListPaths(Message):
    """A sink that writes a file asks what the source's items are called. Asking again does no harm."""

    stream: Text
    """Name of the stream."""
    start: Count
    """The item (index in the whole source) to begin with."""


class Paths(Message):
    """Answer to `ListPaths`: as many paths as fit a message."""

    stream: Text
    """Name of the stream."""
    start: Count
    """The first one's item."""
    total: Count
    """Items in the whole source."""
    paths: tuple[Text, ...]
    """Paths below the root, as messages name the items."""


AnyMessage = (
    Hello
    | Finished
    | Heartbeat
    | Goodbye
    | WorkerWelcome
    | Tasks
    | Drain
    | Reset
    | Result
    | SinkHello
    | Progress
    | SinkWelcome
    | Quarantined
    | ListPaths
    | Paths
    | Subscribe
    | Credit
    | TrainerWelcome
    | Batch
    | EpochEnd
    | SampleRequest
    | SampleReply
    | Refused
    | StatusRequest
    | Snapshot
)

__all__ = [
    "MAX_BATCHES",
    "AnyMessage",
    "Batch",
    "Credit",
    "Done",
    "Drain",
    "EpochEnd",
    "Failure",
    "Finished",
    "Goodbye",
    "Heartbeat",
    "Hello",
    "Intervals",
    "Item",
    "ListPaths",
    "Part",
    "Paths",
    "Progress",
    "Quarantined",
    "Reference",
    "Refused",
    "Reset",
    "Result",
    "SampleReply",
    "SampleRequest",
    "SinkHello",
    "SinkStats",
    "SinkWelcome",
    "Snapshot",
    "StatusRequest",
    "StreamNeed",
    "Subscribe",
    "Task",
    "TaskKey",
    "Tasks",
    "Timings",
    "TrainerWelcome",
    "WorkerStats",
    "WorkerWelcome",
]
