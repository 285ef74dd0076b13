"""The messages between the sink and the ventilator."""

from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.records import Count, Failure, Intervals, LeaseKey, Message, Reason, TaskKey, Text


class SinkHello(Message):
    """A sink introduces itself."""

    incarnation: Text
    """Fresh for each start of the process."""
    results: Text
    """Address that workers push results to."""
    trainers: Text = ""
    """Address for trainers, as seen from this host: the dashboard asks for samples there."""
    version: Text
    """Penstock's version."""


class StreamNeed(Message):
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


class Progress(Message):
    """Both confirmation and limit: a task that is not missing needs no work."""

    sequence: Count
    """Grows with each message of a sink; a message with a smaller number is ignored."""
    needs: tuple[StreamNeed, ...]
    """One entry for each stream that has a reader; other streams need nothing."""


class SinkWelcome(Message):
    """Answer to `SinkHello`."""

    streams: tuple[StreamPlan, ...]
    """Every stream."""
    intervals: Intervals
    """Heartbeats and deadlines."""
    leases: LeaseKey
    """Proves the leases of this ventilator."""


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
