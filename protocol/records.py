"""What messages are made of: records that stand in several of them, as frozen pydantic models."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

#: Names, reasons and addresses on the wire are never longer than this (characters).
Text = Annotated[str, StringConstraints(max_length=4096)]
#: Explanations quote what peers sent: one that grew too long is cut, never a reason to fail.
Reason = Annotated[str, BeforeValidator(lambda text: text[:4096] if isinstance(text, str) else text)]
Count = Annotated[int, Field(ge=0, lt=2**62)]
#: Longest time that a peer may tell (s; 30,000 years): sums of what many tell stay finite.
MOST_S = 1e12
Seconds = Annotated[float, Field(ge=0, le=MOST_S, allow_inf_nan=False)]
#: What failed about an item, as one word for counters: getting its bytes, decoding them, cutting and changing the
#: image, a custom transform; or it killed the workers that ran it.
FailureKind = Literal["read", "decode", "transform", "custom", "killed", "other"]


class Message(BaseModel):
    """Base of all messages and of the records inside them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Item(Message):
    """One entry of a source, as a task carries it."""

    item: Count
    """Index in the whole source."""
    path: Text
    """Path of the item's file below the source's root, with `/` between parts; of a row, its name."""
    label: int
    """Class index; -1 without one."""
    span: tuple[Count, Count] | None = None
    """Offset and length (bytes) of the item in its file; none: the item is the whole file."""

    @property
    def name(self) -> str:
        """How messages and the quarantine ledger name the item: `file`, or `file@offset+length`."""
        return self.path if self.span is None else f"{self.path}@{self.span[0]}+{self.span[1]}"


class TaskKey(Message):
    """The name of a unit of work: a task, or one item of it when that is retried alone."""

    stream: Text
    """Name of the stream."""
    ordinal: Count
    """Number of the task in the endless stream: epoch × tasks per epoch + index."""
    item_offset: Count | None = None
    """Offset in the task of the one item that this unit holds; none: all of them."""

    def __hash__(self) -> int:
        """Hash by the three fields: cheaper than pydantic's, and keys are looked up for every task."""
        return hash((self.stream, self.ordinal, self.item_offset))


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
    kind: FailureKind = "other"
    """The same as one word."""
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


class Reference(Message):
    """A piece of memory that a process on the same host shares; see `protocol.shared`."""

    pid: Annotated[int, Field(ge=1, lt=2**31)]
    """Process through which it is found,"""
    descriptor: Annotated[int, Field(ge=0, lt=2**31)]
    """and its descriptor of the segment."""
    token: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    """What stands at the segment's start."""
    generation: Count
    """The use of the segment that is meant: in another one it holds other samples."""


class Ping(Message):
    """Of a process that records a trace: when it speaks and what it heard last, for the round trips of `tracer`."""

    process: Text
    """Who it is, in the trace."""
    sent_s: Seconds
    """When this was sent, by the sender's clock."""
    heard_sent_s: Seconds | None = None
    """When the receiver's last ping was sent, by the receiver's clock; none: no ping of it has come yet."""
    heard_at_s: Seconds | None = None
    """When that came, by the sender's clock."""


#: Where an array lies that is not in the message: which of its segments, and from which byte on.
Place = tuple[Count, Count]
