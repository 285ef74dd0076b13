"""Encodes messages as bytes and decodes them; no other module does.

A message is `[kind and protocol version][JSON header][raw array frames …]`. Everything is checked against limits and
against what the header claims *before* any array is made; arrays are views of the received frames, never copies.
`messages` defines what they mean, and `transport` sends them.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from penstock.protocol import messages
from penstock.protocol.errors import LocalProtocolError, RemoteProtocolError
from penstock.protocol.messages import AnyMessage, Batch, Result, SampleReply
from penstock.protocol.plan import FieldSchema
from penstock.protocol.records import Place, Record, Reference

#: Version of this wire format; peers with another one are refused.
PROTOCOL_VERSION = 4
#: Largest JSON header (bytes) that is parsed, of messages that list items, tasks or classes.
MAX_HEADER_BYTES = 8_000_000
#: The same of messages that report what one process or one batch holds, and of all others.
_REPORT_BYTES, _SMALL_BYTES = 2_000_000, 128_000
#: A message has at least its kind and its header.
_MIN_FRAMES = 2
#: Largest number of frames in one message.
MAX_FRAMES = 1024
#: Largest product of an array's sides, sides of zero left out: numpy refuses more even for an array without elements.
MAX_EXTENT = 2**48

Array = npt.NDArray[Any]
Kinds = frozenset[type[AnyMessage]]
Buffer = bytes | memoryview

_KINDS: dict[bytes, type[AnyMessage]] = {
    f"penstock/{PROTOCOL_VERSION} {kind.__name__}".encode(): kind for kind in AnyMessage.__args__
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
#: Of the kinds that every task needs.
_DECODERS: dict[type[AnyMessage], msgspec.json.Decoder[AnyMessage]] = {
    kind: msgspec.json.Decoder(kind) for kind in _NAMES if issubclass(kind, Record)
}
_ENCODER = msgspec.json.Encoder()
_LISTINGS = frozenset(
    {
        messages.WorkerWelcome,
        messages.SinkWelcome,
        messages.TrainerWelcome,
        messages.Tasks,
        messages.Result,
        messages.Progress,
        messages.Outcomes,
        messages.Paths,
        messages.SampleReply,
        messages.Snapshot,
        messages.Story,
    }
)
#: Messages that have arrays.
_WITH_ARRAYS = frozenset({messages.Result, messages.Batch, messages.SampleReply})
_REPORTS = frozenset({messages.Heartbeat, messages.Finished, messages.Goodbye, messages.Batch})


def header_limit(kind: type[AnyMessage]) -> int:
    """Return the largest JSON header (bytes) that is parsed as this kind of message."""
    if kind in _LISTINGS:
        return MAX_HEADER_BYTES
    return _REPORT_BYTES if kind in _REPORTS else _SMALL_BYTES


def encode(message: AnyMessage, arrays: Sequence[Array] = ()) -> list[Buffer]:
    """Return the frames of a message. `arrays` must be C-contiguous and are not copied: leave them unchanged after.

    Raises LocalProtocolError if the arrays are not what the message's `frames` say.
    """
    if isinstance(message, Record):
        return [_NAMES[type(message)], _ENCODER.encode(message)]
    frames: list[Buffer] = [_NAMES[type(message)], message.model_dump_json(exclude_defaults=True).encode()]
    claimed = [claim for claim, place in _claims(message) if place is None]
    if len(claimed) != len(arrays):
        raise LocalProtocolError(f"{type(message).__name__} claims {len(claimed)} frames but has {len(arrays)} arrays")
    for claim, array in zip(claimed, arrays, strict=True):
        if claim.shape != array.shape or claim.dtype != array.dtype.name or not array.flags.c_contiguous:
            raise LocalProtocolError(f"{claim.name}: claimed {claim.dtype}{claim.shape}, is {array.dtype}{array.shape}")
        frames.append(array.reshape(-1).view(np.uint8).data)  # flat bytes: memoryviews of no elements cannot be cast
    return frames


class Memory(Protocol):
    """Opens the segments that a message refers to."""

    def open(self, reference: Reference) -> npt.NDArray[np.uint8]:
        """Return a segment's bytes, or raise RemoteProtocolError."""
        ...


def decode(frames: Sequence[Buffer], accept: Kinds, memory: Memory | None = None) -> tuple[AnyMessage, list[Array]]:
    """Return the message and its arrays (read-only views of the frames, and of `memory` for what is shared).

    `accept` names the kinds that this socket takes. Raises RemoteProtocolError, whose `reason` is one of `frames`,
    `version`, `kind`, `unexpected`, `header`, `size` and `shared`.
    """
    if not _MIN_FRAMES <= len(frames) <= MAX_FRAMES:
        raise RemoteProtocolError("frames", f"{len(frames)} frames; a message has {_MIN_FRAMES} to {MAX_FRAMES}")
    kind = _KINDS.get(bytes(frames[0][:64]))
    if kind is None:
        raise _unknown_kind(bytes(frames[0][:64]))
    if kind not in accept:
        raise RemoteProtocolError("unexpected", f"{kind.__name__} does not belong on this socket")
    if len(frames[1]) > (most := header_limit(kind)):
        raise RemoteProtocolError("size", f"{kind.__name__} with a header of {len(frames[1])} bytes; at most {most}")
    message = _parsed(kind, bytes(frames[1]))
    if len(frames) == _MIN_FRAMES and kind not in _WITH_ARRAYS:  # nearly always, in the ventilator
        return message, []
    return message, _arrays(message, frames[2:], memory)


def _parsed(kind: type[AnyMessage], header: bytes) -> AnyMessage:
    """Return the message of a header, without its arrays. Raises RemoteProtocolError."""
    if decoder := _DECODERS.get(kind):
        try:
            return decoder.decode(header)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RemoteProtocolError("header", f"{kind.__name__}: {str(error)[:500]}") from None
    try:
        return kind.model_validate_json(header)  # type: ignore[union-attr]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RemoteProtocolError("header", f"{kind.__name__}.{where}: {first['msg']}") from None


def _claims(message: AnyMessage) -> list[tuple[FieldSchema, Place | None]]:
    """Return the description of each array of a message, and the place of those that are not in its frames."""
    if not isinstance(message, Result | Batch | SampleReply):
        return []
    claimed: Sequence[FieldSchema] = message.frames
    places: Sequence[Place | None] = () if isinstance(message, SampleReply) else message.places
    if not places:
        return [(claim, None) for claim in claimed]
    if len(places) != len(claimed):
        raise RemoteProtocolError("shared", f"{len(places)} places for {len(claimed)} arrays")
    return list(zip(claimed, places, strict=True))


def _arrays(message: AnyMessage, frames: Sequence[Buffer], memory: Memory | None) -> list[Array]:
    claims = _claims(message)
    in_frames = sum(place is None for _, place in claims)
    if in_frames != len(frames):
        raise RemoteProtocolError(
            "frames", f"{type(message).__name__} claims {in_frames} array frames and has {len(frames)}"
        )
    segments: list[npt.NDArray[np.uint8]] = []
    if isinstance(message, Result | Batch) and message.memory:
        if memory is None:
            raise RemoteProtocolError("shared", f"{type(message).__name__} refers to memory, which is refused here")
        segments = [memory.open(reference) for reference in message.memory]
    left = iter(frames)
    return [_array(message, claim, next(left) if place is None else place, segments) for claim, place in claims]


def _array(
    message: AnyMessage, claim: FieldSchema, source: Buffer | Place, segments: Sequence[npt.NDArray[np.uint8]]
) -> Array:
    dtype = np.dtype(claim.dtype)
    size = math.prod(claim.shape) * dtype.itemsize
    possible = min(claim.shape, default=0) >= 0 and math.prod(max(side, 1) for side in claim.shape) <= MAX_EXTENT
    if isinstance(source, tuple):
        segment, start = source
        if not possible or segment >= len(segments) or start + size > len(segments[segment]) or start % dtype.itemsize:
            what = f"{type(message).__name__}.{claim.name}: {claim.dtype}{claim.shape}"
            raise RemoteProtocolError("shared", f"{what} does not lie at byte {start} of segment {segment}")
        array: Array = segments[segment][start : start + size].view(dtype).reshape(claim.shape)
    else:
        if not possible or size != len(source):
            what = f"{type(message).__name__}.{claim.name}: {claim.dtype}{claim.shape}"
            raise RemoteProtocolError("size", f"{what} in a frame of {len(source)} bytes")
        array = np.frombuffer(source, dtype=dtype).reshape(claim.shape)
    array.flags.writeable = False
    return array


def _unknown_kind(frame: bytes) -> RemoteProtocolError:
    prefix, _, rest = frame.partition(b"/")
    version = rest.split(b" ")[0]
    if prefix == b"penstock" and version != str(PROTOCOL_VERSION).encode():
        return RemoteProtocolError(
            "version",
            f"protocol version {version.decode('ascii', 'replace')!r}; this is {PROTOCOL_VERSION}: "
            "run the same release of Penstock everywhere",
        )
    return RemoteProtocolError("kind", f"unknown kind {frame[:32]!r}")


def kinds(*names: type[AnyMessage]) -> Kinds:
    """Return the set of kinds that a socket accepts."""
    return frozenset(names)


def frames_of(schema: Sequence[FieldSchema], arrays: Sequence[Array]) -> tuple[FieldSchema, ...]:
    """Return the `frames` entry for arrays that follow the schema's fields."""
    return tuple(_frame(field.name, field.dtype, array.shape) for field, array in zip(schema, arrays, strict=True))


@lru_cache(maxsize=4096)  # the same few, again and again
def _frame(name: str, dtype: str, shape: tuple[int, ...]) -> FieldSchema:
    return FieldSchema.model_construct(name=name, dtype=dtype, shape=shape)


__all__ = [
    "MAX_FRAMES",
    "MAX_HEADER_BYTES",
    "PROTOCOL_VERSION",
    "Array",
    "Kinds",
    "decode",
    "encode",
    "frames_of",
    "header_limit",
    "kinds",
    "messages",
]
