"""The only place where bytes become messages and messages bytes.

A message is `[kind and protocol version][JSON header][raw array frames …]`. Everything is checked against limits and
against what the header claims *before* any array is made; arrays are views of the received frames, never copies.
Refuses to know sockets and what messages are for.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from penstock.protocol import messages
from penstock.protocol.errors import LocalProtocolError, RemoteProtocolError
from penstock.protocol.messages import AnyMessage
from penstock.protocol.plan import FieldSchema

#: Version of this wire format; peers with another one are refused.
PROTOCOL_VERSION = 1
#: Largest JSON header (bytes) that is parsed.
MAX_HEADER_BYTES = 8_000_000
#: A message has at least its kind and its header.
_MIN_FRAMES = 2
#: Largest number of frames in one message.
MAX_FRAMES = 1024
#: Largest product of an array's sides, sides of zero left out: numpy refuses more even for an array without elements.
MAX_EXTENT = 2**48

Array = npt.NDArray[Any]
Buffer = bytes | memoryview

_KINDS: dict[bytes, type[AnyMessage]] = {
    f"penstock/{PROTOCOL_VERSION} {kind.__name__}".encode(): kind for kind in AnyMessage.__args__
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(message: AnyMessage, arrays: Sequence[Array] = ()) -> list[Buffer]:
    """Return the frames of a message. `arrays` must be C-contiguous and are not copied: leave them unchanged after.

    Raises LocalProtocolError if the arrays are not what the message's `frames` say.
    """
    frames: list[Buffer] = [_NAMES[type(message)], message.model_dump_json(exclude_defaults=True).encode()]
    claimed = getattr(message, "frames", ())
    if len(claimed) != len(arrays):
        raise LocalProtocolError(f"{type(message).__name__} claims {len(claimed)} frames but has {len(arrays)} arrays")
    for claim, array in zip(claimed, arrays, strict=True):
        if claim.shape != array.shape or claim.dtype != array.dtype.name or not array.flags.c_contiguous:
            raise LocalProtocolError(f"{claim.name}: claimed {claim.dtype}{claim.shape}, is {array.dtype}{array.shape}")
        frames.append(array.reshape(-1).view(np.uint8).data)  # flat bytes: memoryviews of no elements cannot be cast
    return frames


def decode(frames: Sequence[Buffer], accept: frozenset[type[AnyMessage]]) -> tuple[AnyMessage, list[Array]]:
    """Return the message and its arrays (read-only views of the frames).

    `accept` names the kinds that this socket takes. Raises RemoteProtocolError, whose `reason` is one of `frames`,
    `version`, `kind`, `unexpected`, `header` and `size`.
    """
    if not _MIN_FRAMES <= len(frames) <= MAX_FRAMES:
        raise RemoteProtocolError("frames", f"{len(frames)} frames; a message has {_MIN_FRAMES} to {MAX_FRAMES}")
    kind = _KINDS.get(bytes(frames[0][:64]))
    if kind is None:
        raise _unknown_kind(bytes(frames[0][:64]))
    if kind not in accept:
        raise RemoteProtocolError("unexpected", f"{kind.__name__} does not belong on this socket")
    if len(frames[1]) > MAX_HEADER_BYTES:
        raise RemoteProtocolError("size", f"header of {len(frames[1])} bytes; at most {MAX_HEADER_BYTES}")
    try:
        message = kind.model_validate_json(bytes(frames[1]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RemoteProtocolError("header", f"{kind.__name__}.{where}: {first['msg']}") from None
    return message, _arrays(kind, getattr(message, "frames", ()), frames[2:])


def _arrays(kind: type[AnyMessage], claimed: Sequence[FieldSchema], frames: Sequence[Buffer]) -> list[Array]:
    if len(claimed) != len(frames):
        raise RemoteProtocolError("frames", f"{kind.__name__} claims {len(claimed)} array frames and has {len(frames)}")
    arrays = []
    for claim, frame in zip(claimed, frames, strict=True):
        dtype = np.dtype(claim.dtype)
        fits = min(claim.shape, default=0) >= 0 and math.prod(claim.shape) * dtype.itemsize == len(frame)
        if not fits or math.prod(max(side, 1) for side in claim.shape) > MAX_EXTENT:
            raise RemoteProtocolError(
                "size", f"{kind.__name__}.{claim.name}: {claim.dtype}{claim.shape} in a frame of {len(frame)} bytes"
            )
        array = np.frombuffer(frame, dtype=dtype).reshape(claim.shape)
        array.flags.writeable = False
        arrays.append(array)
    return arrays


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


def kinds(*names: type[AnyMessage]) -> frozenset[type[AnyMessage]]:
    """Return the set of kinds that a socket accepts."""
    return frozenset(names)


def frames_of(schema: Sequence[FieldSchema], arrays: Sequence[Array]) -> tuple[FieldSchema, ...]:
    """Return the `frames` entry for arrays that follow the schema's fields."""
    return tuple(
        FieldSchema.model_construct(name=field.name, dtype=field.dtype, shape=tuple(array.shape))
        for field, array in zip(schema, arrays, strict=True)
    )


__all__ = [
    "MAX_FRAMES",
    "MAX_HEADER_BYTES",
    "PROTOCOL_VERSION",
    "Array",
    "decode",
    "encode",
    "frames_of",
    "kinds",
    "messages",
]
