"""The messages between a sink and the ventilator."""

from typing import Annotated, Literal

from msgspec import Meta

from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.records import (
    Count,
    Failure,
    Intervals,
    LeaseKey,
    Message,
    Reason,
    Record,
    SinkName,
    Spans,
    TaskKey,
    Text,
    cut,
)


class SinkHello(Message):
    """A sink introduces itself."""

    incarnation: Text
    """Fresh for each start of the process."""
    name: SinkName = ""
    """Name of one of several sinks: it takes the place of an earlier one of the same name. Empty: it is alone."""
    results: Text
    """Address that workers push results to."""
    trainers: Text = ""
    """Address for trainers, as seen from this host: the dashboard asks for samples there."""
    host: Text = ""
    """Name of its host: workers of that name run on the same machine, and are preferred for its samples."""
    version: Text
    """Penstock's version."""


class Made(Record, frozen=True):
    """A result that came to a sink: its items were made."""

    ordinal: Count
    """Its task."""
    offsets: Annotated[tuple[Count, ...], Meta(max_length=4096)] = ()
    """Offsets of the items that were made; none: all of the task's."""
    shown: bool = True
    """Whether samples of each of them came here; else a worker says so that had none for this sink."""
    issuer: Text = ""
    """The ventilator that leased it,"""
    holder: Count = 0
    """and the number of the worker there."""


class Failing(Record, frozen=True):
    """An item that failed at a worker, as a sink got to know it."""

    ordinal: Count
    """Its task."""
    failure: Failure
    """The item, and why."""
    issuer: Text = ""
    """The ventilator that leased it,"""
    holder: Count = 0
    """and the number of the worker there."""
    vouched: bool = False
    """Whether there was no other worker (`Lease.vouched`)."""


class Failed(Record, frozen=True):
    """An item that counts as failed, for good."""

    ordinal: Count
    """Its task."""
    failure: Failure
    """The item, and why."""


class StreamNeed(Record, frozen=True):
    """What the readers of one stream still need. Absolute, so late, repeated or lost messages do no harm."""

    stream: Text
    """Name of the stream."""
    missing: Ranges
    """Ordinals of the tasks that readers want and the sink does not hold."""
    came: Ranges = ()
    """Ordinals of tasks that have come: those that the sink holds whole, the lowest of them, and those that it held and
    dropped since its last report. A task may also end to be missing because its reader went elsewhere, so only this
    acquits an item that workers died of. If the report is lost, such an item only runs alone once more."""
    partial: tuple[tuple[Count, tuple[Count, ...]], ...] = ()
    """For each missing task of which the sink holds some items: its ordinal and the offsets of those items."""
    doubted: tuple[tuple[Count, Count, tuple[Count, ...]], ...] = ()
    """Failures that count only once another worker has confirmed them: the ordinal of a missing task, the offset of
    the item, and the numbers of the workers that reported it (`Lease.holder`)."""
    stopped: Reason = ""
    """Why the stream stopped for good (its failure budget); empty while it runs."""
    lacks: Spans = ()
    """One of several sinks only: the positions, lowest first, whose samples its readers want and which are not here.
    `missing` then lists the tasks of which it does not know what failed, whether their samples are here or not."""
    made: tuple[Made, ...] = ()
    """One of several sinks only: of tasks of which it does not know what failed, the results that came."""
    failing: tuple[Failing, ...] = ()
    """One of several sinks only: failures that came, of items that do not count as failed."""
    settled: Ranges = ()
    """One of several sinks only, until this ventilator has answered: tasks of which it knows what failed,"""
    failed: tuple[Failed, ...] = ()
    """and the items that did;"""
    bare: tuple[tuple[Count, tuple[Count, ...], tuple[Count, ...]], ...] = ()
    """those whose explanations do not fit the message: the ordinal of a task, and the offsets and indices of the items.
    """
    kind: Literal["budget", "transform", "outcomes"] = "budget"
    """What trainers are refused for once the stream has stopped."""

    def __post_init__(self) -> None:
        """Cut a reason that is too long."""
        cut(self, "stopped")


class Progress(Record, frozen=True):
    """Both confirmation and limit: a task that is not missing needs no work."""

    sequence: Count
    """Grows with each message of a sink; a message with a smaller number is ignored."""
    needs: tuple[StreamNeed, ...]
    """One entry for each stream that has a reader; other streams need nothing."""


class Outcomes(Record, frozen=True):
    """What failed of a stream, to one of several sinks. It is decided once, so that all sinks cut the same batches."""

    stream: Text
    """Name of the stream."""
    heard: Count
    """Number of the newest `Progress` that the ventilator has read."""
    settled: Ranges
    """Of the tasks that the sink reported missing, those of which it is known what failed."""
    failed: tuple[Failed, ...] = ()
    """The items of these that did."""
    stopped: Reason = ""
    """Why the stream stopped for good; empty while it runs."""
    kind: Literal["budget", "transform", "outcomes"] = "budget"
    """What trainers are refused for once it has stopped."""

    def __post_init__(self) -> None:
        """Cut a reason that is too long."""
        cut(self, "stopped")


class SinkWelcome(Message):
    """Answer to `SinkHello`."""

    streams: tuple[StreamPlan, ...]
    """Every stream."""
    intervals: Intervals
    """Heartbeats and deadlines."""
    leases: LeaseKey
    """Proves the leases of this ventilator."""
    term: Count = 0
    """Of a ventilator with a standby: orders those that acted. Once a higher one was heard, lower ones are ignored."""


class Quarantined(Message):
    """An item that the ventilator gave up on, because it kills its workers."""

    key: TaskKey
    """The unit of work, which holds only this item."""
    failure: Failure
    """The item and why."""


class ListPaths(Message):
    """A sink that writes a file asks for the paths of the source's items. Asking again does no harm."""

    stream: Text
    """Name of the stream."""
    start: Count
    """Index in the whole source of the first item."""


class Paths(Message):
    """Answer to `ListPaths`: as many paths as fit a message."""

    stream: Text
    """Name of the stream."""
    start: Count
    """Index in the whole source of the first item."""
    total: Count
    """Number of items in the whole source."""
    paths: tuple[Text, ...]
    """Paths below the root, as other messages name the items."""
