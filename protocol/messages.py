"""Every message that crosses a socket, as frozen pydantic models. Owns their meaning; refuses to know bytes.

A message that carries arrays says so in its `frames`: one entry a raw frame, in order. Everything else fits the header.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.ranges import Ranges

#: Most batches that one message carries.
MAX_BATCHES = 64
#: Names, reasons and addresses on the wire are never longer than this (characters).
Text = Annotated[str, StringConstraints(max_length=4096)]
#: Explanations quote what peers sent: one that grew too long is cut, never a reason to fail.
Reason = Annotated[str, BeforeValidator(lambda text: text[:4096] if isinstance(text, str) else text)]
Count = Annotated[int, Field(ge=0, lt=2**62)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Message(BaseModel):
    """Base of all messages and of the records inside them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Item(Message):
    """One entry of a source, as a task carries it."""

    item: Count
    """Index in the whole source."""
    path: Text
    """Path below the source's root, with `/` between parts."""
    label: int
    """Class index; -1 without one."""


class TaskKey(Message):
    """The name of a unit of work: a task, or one item of it when that is retried alone."""

    stream: Text
    """Name of the stream."""
    ordinal: Count
    """Number of the task in the endless stream: epoch × tasks per epoch + index."""
    alone: Count | None = None
    """Offset in the task of the one item that this unit holds; none: all of them."""

    def __hash__(self) -> int:
        """Hash by the three fields: cheaper than pydantic's, and keys are looked up for every task."""
        return hash((self.stream, self.ordinal, self.alone))


class Task(Message):
    """A leased unit of work."""

    key: TaskKey
    """Its name."""
    attempt: Count
    """How many workers died while they ran it."""
    epoch: Count
    """Epoch that the samples are drawn for."""
    items: tuple[Item, ...]
    """What to make samples of, in order."""


class Failure(Message):
    """An item that could not be made into samples."""

    offset: Count
    """Offset of the item in its whole task."""
    item: Count
    """Index in the whole source."""
    path: Text
    """Path below the root."""
    reason: Reason
    """Why, in words."""
    attempts: Count = 1
    """How often it was tried."""
    worker: Text = ""
    """Who tried it last."""
    fatal: bool = False
    """The item is not to blame: others would fail as it did, so the stream stops at once, for this reason."""


class Timings(Message):
    """Where a task's time went on its worker."""

    read_s: Seconds = 0.0
    """Waiting for bytes."""
    decode_s: Seconds = 0.0
    """Decoding."""
    transform_s: Seconds = 0.0
    """Everything after decoding."""
    send_s: Seconds = 0.0
    """Handing the result to the transport."""


class Done(Message):
    """A unit of work whose result has left the worker."""

    key: TaskKey
    """Its name."""
    timings: Timings
    """Where the time went."""


class Intervals(Message):
    """How often peers speak and when silence means loss."""

    heartbeat_s: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """Seconds between heartbeats."""
    silence_s: Annotated[float, Field(gt=0, le=86400)] = 5.0
    """Seconds of silence after which a peer counts as lost."""
    task_timeout_s: Annotated[float, Field(gt=0, le=86400)] = 120.0
    """Seconds after which a worker that is stuck in one task ends itself, so that the task counts an attempt."""


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
    position: Count | None = None
    """Sink to trainer only: the position up to which everything was sent; none: not subscribed yet."""


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


class Reference(Message):
    """Bytes in memory that a process on the same host shares, in place of a frame; see `protocol.shared`."""

    pid: Annotated[int, Field(ge=1, lt=2**31)]
    """Process through which they are found,"""
    descriptor: Annotated[int, Field(ge=0, lt=2**31)]
    """and its descriptor of the segment."""
    token: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    """What stands at the segment's start."""
    generation: Count
    """The use of the segment that the bytes belong to: in another one they are others."""
    offset: Count = 0
    """Where they start."""


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
    shared: tuple[Reference | None, ...] = ()
    """For each frame, where its bytes are shared; none (or an empty list): they are in the message."""
    offers: tuple[Reference, ...] = ()
    """Segments that the worker would like to use: the sink releases those that it can open."""


# sink ↔ ventilator


class SinkHello(Message):
    """A sink introduces itself."""

    incarnation: Text
    """Fresh for each start of the process."""
    results: Text
    """Address that workers push results to."""
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


# trainer ↔ sink


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
    shared: tuple[Reference | None, ...] = ()
    """For each frame, where its bytes are shared; none (or an empty list): they are in the message."""

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


class Peek(Message):
    """Somebody asks to see samples that the sink holds. No reader comes of it: nothing is made or held back for it."""

    stream: Text
    """Name of the stream."""
    position: Count = 0
    """Show none before this position."""
    count: Annotated[int, Field(ge=1, le=1000)]
    """How many samples at most."""
    version: Text
    """Penstock's version."""


class Glimpse(Message):
    """Answer to `Peek`: copies of samples that some reader will get, or none if nobody reads the stream."""

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

    kind: Literal["version", "fingerprint", "stream", "position", "limit", "budget", "transform"]
    """What was wrong, as one word."""
    reason: Reason
    """The same in a sentence."""


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
    | Subscribe
    | Credit
    | TrainerWelcome
    | Batch
    | EpochEnd
    | Peek
    | Glimpse
    | Refused
)
