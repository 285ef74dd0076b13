"""Reads multipart messages from a socket frame by frame, within limits of frames, bytes and time; and sends them.

libzmq hands a message over only when all of its frames have come, so what it has gathered by then is beyond this
module's reach (`connections.py` limits that); but no more of it becomes Python objects than a message may have.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import zmq

from penstock.protocol.errors import RemoteProtocolError

#: How a message's last frame is sent, and those before it: plain numbers, since to combine an enumeration's takes a
#: microsecond.
_LAST = int(zmq.NOBLOCK)
_MORE = _LAST | int(zmq.SNDMORE)


class OversizedMessageError(RemoteProtocolError):
    """A message with more frames or bytes than one may have; `first` is its first frame, which knows the peer."""

    def __init__(self, detail: str, first: zmq.Frame) -> None:
        """Count it by the reason `frames`."""
        super().__init__("frames", detail)
        self.first = first


class Multipart:
    """Reads and sends the messages of one socket."""

    def __init__(self, socket: Any, most_frames: int, most_bytes: int) -> None:  # noqa: ANN401 - generic in pyzmq
        """Read from `socket`; a message has at most that many frames, and bytes in all of them."""
        self._socket, self._most_frames, self._most_bytes = socket, most_frames, most_bytes
        #: Whether the next frame still belongs to a message that was too large.
        self._discarding = False

    def read(self, until: float) -> list[zmq.Frame]:
        """Return the frames of the next message.

        Raises zmq.Again if there is none, or if the rest of a message that was too large cannot be discarded before
        `until` (monotonic s): call again after other work. Raises OversizedMessageError for each that is too large.
        """
        if self._discarding:
            self._discard(until)
        frames = [self._socket.recv(zmq.NOBLOCK, copy=False)]
        size = len(frames[0])
        while frames[-1].more:
            if len(frames) == self._most_frames or size > self._most_bytes:
                self._discarding = True
                what = f"more than {self._most_frames} frames" if size <= self._most_bytes else f"{size} bytes"
                limits = f"{self._most_frames} frames and {self._most_bytes} bytes"
                raise OversizedMessageError(f"a message of {what}; at most {limits} are read", frames[0])
            frames.append(self._socket.recv(zmq.NOBLOCK, copy=False))
            size += len(frames[-1])
        return frames

    def send(self, frames: Sequence[Any], *, copy: bool) -> None:
        """Send a message without waiting, in half the time of pyzmq's `send_multipart`. Raises zmq.ZMQError."""
        for frame in frames[:-1]:
            self._socket.send(frame, _MORE, copy=copy)
        self._socket.send(frames[-1], _LAST, copy=copy)

    @property
    def discarding(self) -> bool:
        """Whether the rest of a message that was too large is still to be discarded: no peer can be heard meanwhile."""
        return self._discarding

    def _discard(self, until: float) -> None:
        while self._discarding:
            if time.monotonic() >= until:
                raise zmq.Again
            self._discarding = self._socket.recv(zmq.NOBLOCK, copy=False).more


def descriptor_of(frame: zmq.Frame) -> int:
    """Return the descriptor of the connection that a frame came over; -1 where libzmq does not say."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def sender_of(frames: Sequence[zmq.Frame], peer: bytes) -> str:
    """Return the name of a message's sender for the log."""
    address = ""
    with suppress(zmq.ZMQError, IndexError):  # the metadata is missing on inproc and on messages without a connection
        address = str(frames[0].get("Peer-Address"))
    return f"{address or 'peer'} {peer.hex()[:8]}".strip()
