"""Every message that crosses a socket, as frozen pydantic models: those of every link, and the union of all.

The messages of one link are in `worker_messages`, `sink_messages`, `trainer_messages` and `snapshot`; `event_log` has
those that collect stories, and `records` holds what several messages share. A message with arrays lists them in
`frames`, one entry an array, in order; everything else is in its header. `wire` turns messages into bytes.
"""

from typing import Annotated

from pydantic import Field

from penstock.protocol.event_log import Story, StoryPart, StoryRequest
from penstock.protocol.records import (
    MOST_SINKS,
    Count,
    Destination,
    Done,
    Failure,
    Intervals,
    Item,
    Lease,
    LeaseKey,
    Message,
    Ping,
    Reason,
    Reference,
    SinkName,
    Spans,
    Task,
    TaskKey,
    Text,
    Timings,
)
from penstock.protocol.sink_messages import (
    Failed,
    Failing,
    ListPaths,
    Made,
    Outcomes,
    Paths,
    Progress,
    Quarantined,
    SinkHello,
    SinkWelcome,
    StreamNeed,
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
from penstock.protocol.worker_messages import Finished, Hello, Reset, Result, SinkAddress, Tasks, WorkerWelcome


class Heartbeat(Message):
    """The sender is alive. Says absolutely what the sender has, so that the peer notices any message that was lost."""

    running: tuple[TaskKey, ...] | None = None
    """Worker only: every unit of work that it holds, oldest first."""
    sinks: Annotated[tuple[Text, ...], Field(max_length=MOST_SINKS)] = ()
    """Worker only: the `incarnation` of each sink that it pushes results to; if one is not among them, the ventilator
    repeats its welcome."""
    blocked: Reason = ""
    """Worker only: why its results do not reach the sink; empty if they do, or if there are none to send."""
    position: Count | None = None
    """Sink to trainer only: the position up to which everything was sent; none before the subscription."""
    worker_stats: WorkerStats | None = None
    """Worker only: its counters."""
    sink_stats: SinkStats | None = None
    """Sink to ventilator only: statistics of the sink, its streams, trainers and files."""
    ledger: Count = 0
    """Ventilator to sink only: how many of this sink's quarantined items the ventilator knows."""
    ping: Ping | None = None
    """A traced process only: for comparing clocks."""


class Goodbye(Message):
    """The sender leaves on purpose."""

    unstarted: tuple[TaskKey, ...] = ()
    """Worker only: the units of work that it gives back."""


class Drain(Message):
    """Ventilator to a worker, or to a sink of another version: finish what runs, give back the rest, and leave."""

    reason: Reason
    """Explanation for people."""


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
    | Outcomes
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
    | StoryRequest
    | Story
)

__all__ = [
    "MAX_BATCHES",
    "AnyMessage",
    "Batch",
    "Credit",
    "Destination",
    "Done",
    "Drain",
    "EpochEnd",
    "Failed",
    "Failing",
    "Failure",
    "Finished",
    "Goodbye",
    "Heartbeat",
    "Hello",
    "Intervals",
    "Item",
    "Lease",
    "LeaseKey",
    "ListPaths",
    "Made",
    "Outcomes",
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
    "SinkAddress",
    "SinkHello",
    "SinkName",
    "SinkStats",
    "SinkWelcome",
    "Snapshot",
    "Spans",
    "StatusRequest",
    "Story",
    "StoryPart",
    "StoryRequest",
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
