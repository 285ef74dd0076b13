"""Records that several messages share, and the bases of all.

What every task needs, thousands of times a second, is a `Record`: immutable, checked when it is decoded, and cheap. A
pydantic model costs microseconds to make, to look up and to write; a record a tenth (msgspec). Whatever comes off the
wire is checked as strictly: types, limits, no unknown fields. Making one in a program checks nothing. The others are
frozen pydantic models (`Message`), which may have records as fields. Types with limits bear them twice, for either.
"""

from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializationInfo,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema

#: Names, reasons and addresses on the wire are never longer than this (characters).
MOST_TEXT = 4096
Text = Annotated[str, StringConstraints(max_length=MOST_TEXT), Meta(max_length=MOST_TEXT)]
#: Explanations quote what peers sent; one that is too long is cut, which is no error. A record cuts its own.
Reason = Annotated[str, BeforeValidator(lambda text: text[:MOST_TEXT] if isinstance(text, str) else text)]
#: Largest count of a message.
MOST_COUNT = 2**62 - 1
Count = Annotated[int, Field(ge=0, lt=MOST_COUNT + 1), Meta(ge=0, lt=MOST_COUNT + 1)]
#: Most characters of a manifest's cell that an item carries.
MAX_CELL = 65_536
Cell = Annotated[str, Meta(max_length=MAX_CELL)]
#: Longest time that a peer may report (s; 30,000 years): sums over many peers stay finite.
MOST_S = 1e12
Seconds = Annotated[float, Field(ge=0, le=MOST_S, allow_inf_nan=False), Meta(ge=0, le=MOST_S)]
#: Most ranges that a list of positions has, and sinks of a stack.
MOST_SPANS, MOST_SINKS = 4096, 1024
#: Positions as sorted, disjoint, half-open ranges; receivers check the order (`ranges.is_normal`).
Spans = Annotated[tuple[tuple[Count, Count], ...], Field(max_length=MOST_SPANS), Meta(max_length=MOST_SPANS)]
#: The name of one of several sinks; empty: a sink that is alone.
SinkName = Annotated[
    str,
    StringConstraints(max_length=255, pattern=r"^[A-Za-z0-9._:-]*$"),
    Meta(max_length=255, pattern=r"^[A-Za-z0-9._:-]*\Z"),
]
#: The stage at which an item failed, as one word for counters: reading its bytes, decoding them, transforming the
#: image, a custom transform; or the item killed its workers.
FailureKind = Literal["read", "decode", "transform", "custom", "killed", "other"]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of these messages and of the records inside them. They form no cycles, so the collector ignores them."""

    def replaced(self, **changes: Any) -> Self:  # noqa: ANN401 - any field's type
        """Return a copy with other values of these fields."""
        return msgspec.structs.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, those of records inside it too: for logs and JSON."""
        return {name: _plain(getattr(self, name)) for name in self.__struct_fields__}

    @classmethod
    def checked(cls, value: Any) -> Self:  # noqa: ANN401 - not checked yet
        """Return a record of parsed JSON, or one as it is. Raises ValueError."""
        if isinstance(value, cls):
            return value
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic models have such a field: pydantic asks every type how it is checked and written."""
        del source, handler
        written = core_schema.plain_serializer_function_ser_schema(_written, info_arg=True)
        return core_schema.no_info_plain_validator_function(cls.checked, serialization=written)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field's value
    if isinstance(value, Record):
        return value.to_dict()
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _written(value: Record, info: SerializationInfo) -> Any:  # noqa: ANN401 - plain values
    return msgspec.to_builtins(value) if info.exclude_defaults else value.to_dict()


def cut(record: Record, name: str) -> None:
    """Cut a `Reason` of a record that was just made, if it is too long."""
    if len(text := getattr(record, name)) > MOST_TEXT:
        msgspec.structs.force_setattr(record, name, text[:MOST_TEXT])


class Message(BaseModel):
    """Base of all messages and of the records inside them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Item(Record, frozen=True):
    """One entry of a source, as a task carries it."""

    item: Count
    """Index in the whole source."""
    path: Text
    """Path of the item's file below the source's root, with `/` between parts; of a row, its name."""
    label: int
    """Class index; -1 without one."""
    span: tuple[Count, Count] | None = None
    """Offset and length (bytes) of the item in its file; none: the item is the whole file."""
    content: Annotated[str, Meta(max_length=64)] = ""
    """Of a part of a file below a URL, what tells the content that was listed from another one; none: nothing does."""
    row: Count | None = None
    """Line (of CSV and JSON lines) or row of the manifest that lists the item, if the stream has targets; of an array,
    the item's row, if the stream takes only some of them. None: neither, or the row follows from the plan."""
    cells: tuple[Cell, ...] = ()
    """What the columns of the stream's targets hold in this row: text, or JSON of a list or a number."""

    @property
    def name(self) -> str:
        """How messages and the quarantine ledger name the item: `file`, or `file@offset+length`."""
        return self.path if self.span is None else f"{self.path}@{self.span[0]}+{self.span[1]}"


class TaskKey(Record, frozen=True, cache_hash=True):
    """The name of a unit of work: a task, one item of it when that is retried alone, or several of its items."""

    stream: Text
    """Name of the stream."""
    ordinal: Count
    """Number of the task in the endless stream: epoch × tasks per epoch + index."""
    item_offset: Count | None = None
    """Offset in the task of the one item that this unit holds; none: all of them, or those at `offsets`."""
    offsets: Annotated[tuple[Count, ...], Meta(max_length=4096)] = ()
    """Offsets, ascending, of the items that this unit holds, if the task was cut by the hosts that keep images."""

    @property
    def which(self) -> int | tuple[int, ...] | None:
        """The offset of its one item, the offsets of its items, or none: all of the task's."""
        return self.offsets or self.item_offset

    def offset_of(self, place: int) -> int:
        """Return the offset in the whole task of this unit's item number `place`."""
        if self.offsets:
            return self.offsets[place]
        return place if self.item_offset is None else self.item_offset


_Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{0,32}\Z")]


class Lease(Record, frozen=True):
    """Says to whom a unit of work was leased. The worker copies it into its result, where the sink checks the proof."""

    issuer: Text = ""
    """The ventilator that leased it: the `issuer` of its `LeaseKey`."""
    holder: Count = 0
    """The worker's number at that ventilator, which counts the workers that say hello."""
    vouched: bool = False
    """The ventilator knows no other worker: this one may confirm a failure that it has reported itself."""
    names: _Digest = ""
    """Digest of the names of the task's items; empty if the task lists none."""
    proof: _Digest = ""
    """Keyed digest of all this, the unit of work and the worker's name; without the key, no worker can make one."""


class LeaseKey(Message):
    """What the ventilator proves leases with and the sink checks them with; workers never see it."""

    issuer: Text
    """Fresh for each start of the ventilator: says which key a lease was proved with."""
    secret: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    """The key, 16 random bytes in hexadecimal."""


class Destination(Record, frozen=True):
    """Which samples of a unit of work go to one of several sinks."""

    sink: SinkName
    """Its name; failures go to it, too."""
    positions: Spans = ()
    """The positions whose samples it gets; none: it only hears what failed."""


class Task(Record, frozen=True):
    """A leased unit of work."""

    key: TaskKey
    """Its name."""
    attempt: Count
    """Number of workers that died while they ran it."""
    epoch: Count
    """Epoch that the samples are drawn for."""
    items: tuple[Item, ...]
    """Items to make samples of, in order."""
    lease: Lease = Lease()
    """To whom it is leased."""
    destinations: Annotated[tuple[Destination, ...], Meta(max_length=MOST_SINKS)] = ()
    """Where its samples go, if the stack has several sinks; none: all of them to the only sink."""


class Failure(Record, frozen=True):
    """An item that could not be made into samples."""

    offset: Count
    """Offset of the item in its whole task."""
    item: Count
    """Index in the whole source."""
    path: Text
    """Path below the root."""
    reason: Reason
    """Explanation of the failure."""
    kind: FailureKind = "other"
    """The stage that failed, as one word."""
    attempts: Count = 1
    """Number of attempts."""
    worker: Text = ""
    """Worker that tried it last."""
    fatal: bool = False
    """Whether the item is not to blame: other items would fail in the same way, so the stream stops at once."""

    def __post_init__(self) -> None:
        """Cut a reason that is too long."""
        cut(self, "reason")


#: The stages of a task: each is a field of `Timings`, with `_s` behind.
STAGES = ("read", "decode", "transform", "send")


class Timings(Record, frozen=True):
    """Times of one task on its worker, by stage."""

    read_s: Seconds = 0.0
    """Seconds waiting for bytes."""
    decode_s: Seconds = 0.0
    """Seconds decoding."""
    transform_s: Seconds = 0.0
    """Seconds of making samples but for decoding: the steps, and finding which parts of images they need."""
    send_s: Seconds = 0.0
    """Seconds handing the result to the transport."""
    parts_s: Seconds = 0.0
    """Of `decode_s`: for images of which each epoch decodes other parts, so that a cache keeps nothing of them."""


class Done(Record, frozen=True):
    """A unit of work whose result has left the worker."""

    key: TaskKey
    """Its name."""
    timings: Timings
    """Times of the unit of work, by stage."""


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
    """Times of the sender's and the receiver's last pings, from which a trace computes round trips."""

    process: Text
    """Name of the sender in the trace."""
    sent_s: Seconds
    """Time of sending, by the sender's clock."""
    heard_sent_s: Seconds | None = None
    """When the receiver's last ping was sent, by the receiver's clock; none: no ping of it has come yet."""
    heard_at_s: Seconds | None = None
    """When that ping arrived, by the sender's clock."""


#: Where an array lies that is not in the message: which of its segments, and from which byte on.
Place = tuple[Count, Count]
