"""The messages between trainers and the sink."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.records import Count, Intervals, Message, Ping, Place, Reason, Reference, Text
from penstock.protocol.stats import FeedWaits

#: Most batches that one message carries.
MAX_BATCHES = 64


class Subscribe(Message):
    """A trainer asks for a stream from a position on; its socket's identity is fresh."""

    stream: Text
    """Name of the stream."""
    rank: Count = 0
    """Which of the trainers that share the stream this is."""
    world_size: Annotated[int, Field(ge=1, le=65_536)] = 1
    """How many trainers share the stream."""
    position: Count = 0
    """Where to start."""
    fingerprint: Text = ""
    """The fingerprint that the position belongs to; empty: whatever the sink has."""
    limit: Count
    """First credit: how many batches may be sent in all."""
    version: Text
    """Penstock's version."""


class Credit(Message):
    """Absolute: sending it twice, late or out of order does no harm."""

    consumed: Count
    """Batches of this subscription that were consumed."""
    limit: Count
    """How many batches of this subscription may be sent in all."""
    sees_memory: bool = False
    """The trainer can open the memory that the welcome named, so batches may refer to shared memory."""
    feed: FeedWaits | None = None
    """Now and then: how long the training program has waited."""
    ping: Ping | None = None
    """Of a traced trainer."""


class TrainerWelcome(Message):
    """Answer to `Subscribe`."""

    plan: StreamPlan
    """The stream."""
    position: Count
    """Where it will start."""
    intervals: Intervals
    """Heartbeats and deadlines."""
    memory: Reference | None = None
    """A segment of the sink's own: a trainer that can open it can open all."""


@dataclass(frozen=True, slots=True)
class Part:
    """One batch of those that a message carries."""

    sequence: int
    start: int
    stop: int
    #: Its rows in the message's joined fields.
    rows: slice


class Batch(Message):
    """One batch, or several that follow each other: small ones share a message.

    Each field comes in one or more segments, to be joined along the first axis and then cut into the batches.
    """

    sequence: Count
    """Number of the first batch in its subscription, from 0."""
    start: Count
    """Position from which on its samples were taken."""
    stops: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MAX_BATCHES)]
    """For each batch, the position at which to go on after it (all ranks of a round share it)."""
    sizes: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MAX_BATCHES)]
    """For each batch, how many samples it has."""
    frames: tuple[FieldSchema, ...]
    """Type and whole shape of each frame: all segments of the first field, then of the second, and so on."""
    memory: tuple[Reference, ...] = ()
    """Segments of shared memory that hold arrays of this message."""
    places: tuple[Place | None, ...] = ()
    """For each array, where it lies in `memory`; none (or an empty list): it is a frame of the message."""

    @property
    def stop(self) -> int:
        """Position at which to go on after all of them."""
        return self.stops[-1]

    def parts(self) -> Iterator[Part]:
        """Yield the batches, in order."""
        start, first = self.start, 0
        for number, (stop, size) in enumerate(zip(self.stops, self.sizes, strict=True)):
            yield Part(self.sequence + number, start, stop, slice(first, first + size))
            start, first = stop, first + size


class EpochEnd(Message):
    """All of an epoch, from where the reader began, is accounted for: expected = delivered + quarantined + dropped."""

    epoch: Count
    """The epoch that ended."""
    sequence: Count
    """Batches of the subscription sent so far: the end stands before batch number `sequence`."""
    stop: Count
    """Position at which the next epoch starts."""
    expected: Count
    """Samples of the epoch from where this reader began."""
    delivered: Count
    """Samples in batches, over all ranks."""
    quarantined: Count
    """Samples of items that failed."""
    dropped: Count
    """Samples of a last round that was not full (`drop_remainder`, or fewer than one for each rank)."""


class SampleRequest(Message):
    """A request to see samples that the sink holds. It opens no reader: nothing is made or held back for it."""

    stream: Text
    """Name of the stream."""
    position: Count = 0
    """Show none before this position."""
    count: Annotated[int, Field(ge=1, le=1000)]
    """How many samples at most."""
    version: Text
    """Penstock's version."""


class SampleReply(Message):
    """Answer to `SampleRequest`: copies of samples that some reader will get, or none without a trainer."""

    plan: StreamPlan
    """The stream."""
    readers: Count
    """How many trainers read it."""
    positions: tuple[Count, ...]
    """Where the samples stand, ascending."""
    frames: tuple[FieldSchema, ...]
    """Type and whole shape of each field of the schema, samples first."""


class Refused(Message):
    """The sink will not serve this subscription (any more)."""

    kind: Literal["version", "fingerprint", "stream", "position", "limit", "budget", "transform", "outcomes"]
    """What was wrong, as one word."""
    reason: Reason
    """The same in a sentence."""
