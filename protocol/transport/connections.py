"""The TCP connections of one ZeroMQ socket: cuts those that send a message without ever ending it.

libzmq keeps the frames of a message until its last one has come, without any limit, and shows nothing of them before.
But it tells which file descriptor a connection has, and the kernel counts the bytes that it has received (TCP_INFO of
tcp(7)). Bytes that libzmq has taken from the kernel while no message was read are an unfinished message; a connection
with too many of them in two sweeps in a row is ended, and libzmq then frees its frames. One sweep would not do: a busy
process may not have read the complete messages that came since it looked last. Unix sockets have no such counter: their
folder's permissions protect them.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

#: Offset of `tcpi_bytes_received` in the kernel's `struct tcp_info`, since Linux 4.1; elsewhere there is no counter.
_RECEIVED_AT, _INFO_BYTES = 128, 136
#: Bytes a second that ZMTP's heartbeats take at most, encrypted ones too: they are no part of a message.
_BEATS_BYTES_S = 200.0
#: Seconds between sweeps of up to so many connections, and the part of that until the next one once a connection has
#: too much: a sender of 2 GB/s gets 120 MB beyond its limit.
_SWEEP_S, _OFTEN_SWEPT, _AGAIN = 0.05, 25, 0.2
#: How many times its limit one connection may have while messages wait to be read: complete ones count then too.
_WHILE_BUSY = 8
#: How many times the limit of one connection all of a socket may have together.
_TOGETHER = 4
#: Sweeps in a row that find too much before a connection is ended; those that cannot tell do not count.
_PATIENCE = 2


@dataclass(slots=True)
class _Connection:
    inode: int
    #: Bytes taken from the kernel up to the last sweep, and of those the ones that belong to no message read since.
    received: int
    pending: float = 0.0
    #: Whether a message of it was read since the last sweep.
    heard: bool = False
    #: Sweeps in a row that found too many pending bytes.
    over: int = 0


class Connections:
    """The connections of one socket by file descriptor, with their bytes."""

    def __init__(self, limit_bytes: int) -> None:
        """Allow one connection that many bytes of a message that is not complete."""
        self.limit_bytes = limit_bytes
        self._open: dict[int, _Connection] = {}
        self._swept_at: float | None = None
        #: Sweeps in a row that found too many pending bytes in all connections together.
        self._over = 0
        #: Whether the last sweep found too many pending bytes, in one connection or in all together.
        self._suspected = False

    @property
    def sweep_s(self) -> float:
        """Seconds until the next sweep; 0 while there is no connection. Many connections are swept more seldom."""
        if not self._open:
            return 0.0
        return _SWEEP_S * max(1.0, len(self._open) / _OFTEN_SWEPT) * (_AGAIN if self._suspected else 1.0)

    def due(self, now: float) -> bool:
        """Return whether it is time for a sweep."""
        return bool(self._open) and (self._swept_at is None or now >= self._swept_at + self.sweep_s)

    def opened(self, descriptor: int) -> None:
        """Watch a connection that libzmq has accepted or made."""
        with suppress(OSError), _borrowed(descriptor) as link:
            self._open[descriptor] = _Connection(os.fstat(descriptor).st_ino, _received(link))

    def heard(self, descriptor: int) -> None:
        """Note that a complete message of a connection was read."""
        if connection := self._open.get(descriptor):
            connection.heard = True

    def sweep(self, now: float, *, drained: bool) -> list[str]:
        """End the connections that have sent too much; return one sentence for each.

        `drained`: everything complete has been read, so that what is pending is part of unfinished messages.
        """
        elapsed = 0.0 if self._swept_at is None else now - self._swept_at
        self._swept_at = now
        for descriptor in list(self._open):
            self._update(descriptor, elapsed)
        limit = self.limit_bytes if drained else _WHILE_BUSY * self.limit_bytes
        total = sum(connection.pending for connection in self._open.values())
        self._over = _counted(self._over, total, _TOGETHER * limit, _TOGETHER * self.limit_bytes)
        cut: list[str] = []
        for descriptor, connection in sorted(self._open.items(), key=lambda entry: -entry[1].pending):
            connection.over = _counted(connection.over, connection.pending, limit, self.limit_bytes)
            together = total > _TOGETHER * limit and self._over >= _PATIENCE
            if connection.over >= _PATIENCE or together:
                total -= connection.pending
                peer = self.cut(descriptor)
                cut.append(f"{peer} sent {connection.pending:.0f} bytes of a message without its end; at most {limit}")
        self._suspected = bool(self._over) or any(connection.over for connection in self._open.values())
        return cut

    def cut(self, descriptor: int) -> str:
        """End a connection and return its address; empty if it is gone."""
        connection = self._open.pop(descriptor, None)
        peer = ""
        with suppress(OSError):
            if connection and os.fstat(descriptor).st_ino == connection.inode:
                with _borrowed(descriptor, family=-1) as link:
                    host, port = link.getpeername()[:2]
                    peer = f"{host}:{port}"
                    _abort(link)
        return peer

    def _update(self, descriptor: int, elapsed_s: float) -> None:
        connection = self._open[descriptor]
        try:
            if os.fstat(descriptor).st_ino != connection.inode:
                raise OSError("another file has the descriptor")  # noqa: TRY301 - gone is gone
            with _borrowed(descriptor) as link:
                received = _received(link)
        except OSError:
            del self._open[descriptor]
            return
        grown = received - connection.received - _BEATS_BYTES_S * elapsed_s
        connection.pending = 0.0 if connection.heard else max(0.0, connection.pending + grown)
        connection.received, connection.heard = received, False


def _counted(over: int, pending: float, limit: int, drained_limit: int) -> int:
    """Return how many sweeps in a row found too much, after one more; a busy one cannot tell between its limits."""
    if pending > limit:
        return over + 1
    return over if pending > drained_limit else 0


@contextmanager
def _borrowed(descriptor: int, family: int = socket.AF_INET) -> Generator[socket.socket]:
    """Use libzmq's descriptor as a socket, without closing it. Only addresses need its true family: -1 looks it up."""
    link = socket.socket(family, socket.SOCK_STREAM if family >= 0 else -1, fileno=descriptor)
    try:
        yield link
    finally:
        link.detach()


def _abort(link: socket.socket) -> None:
    """End a connection at once, and throw away what the kernel has received: connecting to no address, of connect(2).

    After a shutdown, data that is there can still be read, so that libzmq would go on reading as long as more comes.
    """
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    if ctypes.CDLL(None).connect(link.fileno(), nowhere, len(nowhere)):
        link.shutdown(socket.SHUT_RDWR)


def _received(link: socket.socket) -> int:
    """Return the bytes that were taken from the kernel; raise OSError where it does not count what it has received."""
    info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256) if hasattr(socket, "TCP_INFO") else b""
    if len(info) < _INFO_BYTES:
        raise OSError("no TCP_INFO.tcpi_bytes_received")
    waiting = fcntl.ioctl(link, termios.FIONREAD, bytes(4))
    return int(struct.unpack_from("Q", info, _RECEIVED_AT)[0]) - int.from_bytes(waiting, sys.byteorder)
