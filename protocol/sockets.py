"""The poll-loop shell: the only place that knows ZeroMQ. Owns socket options, identities, waiting and waking.

Everything above it sees messages and peers; what does not parse is counted, logged with its sender and dropped here.
Sockets belong to the thread that made them; only `Hub.wake` may be called from anywhere.
"""

import math
import os
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import zmq

from penstock.protocol import unix, wire
from penstock.protocol.errors import RemoteProtocolError, SpecError
from penstock.protocol.messages import AnyMessage
from penstock.protocol.shared import Attachments
from penstock.protocol.wire import Array

#: Messages that one endpoint hands over before the others get their turn.
DRAIN = 256
#: Messages queued for one peer before it counts as not reading: a last resort, credit and slots bound far lower.
_HIGH_WATER = 1000
#: Results queued for the sink by one worker: the worker waits once that many are on their way.
_PUSH_HIGH_WATER = 4
#: Results that wait to be read, from each worker: more than it sends ahead, far less than would fill the memory.
_PULL_HIGH_WATER = 64
#: Largest frame (bytes) that is taken off the network where arrays come, and where only headers do: a peer that sends
#: more is disconnected before it fills the memory.
_MAX_FRAME_BYTES, _MAX_CONTROL_BYTES = 1 << 30, 2 * wire.MAX_HEADER_BYTES
#: ZMTP's own heartbeats (ms): they notice half-open TCP links on sockets that only ever send or only receive.
_ZMTP_BEAT_MS, _ZMTP_TIMEOUT_MS = 2_000, 10_000
Peer = bytes
Received = tuple[Peer, AnyMessage, list[Array]]


class Rejects:
    """Counts and logs what was dropped; logs the first few of a kind, then ever fewer."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        """Start at zero."""
        self.counts: Counter[str] = Counter()
        self._log = log

    def add(self, error: RemoteProtocolError, sender: str) -> None:
        """Count one message that was dropped."""
        self.counts[error.reason] += 1
        count = self.counts[error.reason]
        if count <= 5 or count & (count - 1) == 0:  # noqa: PLR2004 - then at every power of two
            self._log.warning("message dropped", reason=error.reason, detail=str(error), sender=sender, count=count)


class Endpoint:
    """One socket and what it accepts; made by a `Hub`."""

    def __init__(self, hub: "Hub", kind: int, address: str, accept: frozenset[type[AnyMessage]], *, bind: bool) -> None:
        """Bind or connect at once."""
        self._hub, self._kind, self._accept, self._bind = hub, kind, accept, bind
        #: The address as it was asked for.
        self.given = address
        self._open()

    def __repr__(self) -> str:
        """Show what it is and where."""
        return f"<{zmq.SocketType(self._kind).name} {'bound to' if self._bind else 'connected to'} {self.address}>"

    @property
    def address(self) -> str:
        """Where it is bound or connected to; a wildcard port is resolved."""
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def receive(self, limit: int = DRAIN) -> Iterator[Received]:
        """Yield up to `limit` messages that are here, without waiting. A connected endpoint's peer is empty."""
        for _ in range(limit):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            peer = frames.pop(0).bytes if self._kind == zmq.ROUTER else b""
            try:
                message, arrays = wire.decode(
                    [frame.bytes if index < 2 else frame.buffer for index, frame in enumerate(frames)],  # noqa: PLR2004
                    self._accept,
                    self._hub.memory,
                )
            except RemoteProtocolError as error:
                self._hub.rejects.add(error, f"{_name(frames, peer)} at {self!r}")
                continue
            yield peer, message, arrays

    def send(self, message: AnyMessage, arrays: Sequence[Array] = (), peer: Peer | None = None) -> bool:
        """Send without waiting; return False if the peer is gone or does not read."""
        frames: list[Any] = wire.encode(message, arrays)
        if peer is not None:
            frames.insert(0, peer)
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=not arrays)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def push(self, message: AnyMessage, arrays: Sequence[Array], wait_s: float) -> bool:
        """Send, waiting up to `wait_s` seconds for room; return False if there was none."""
        if not self._socket.poll(round(wait_s * 1000), zmq.POLLOUT):
            return False
        return self.send(message, arrays)

    def reopen(self, address: str | None = None) -> None:
        """Drop what is queued and connect again, under a fresh identity."""
        self.close()
        self.given = address or self.given
        self._open()

    def close(self, linger_s: float = 0.0) -> None:
        """Close; without lingering, what is queued is dropped: it would only arrive twice."""
        self._hub.forget(self._socket)
        self._socket.close(linger=round(linger_s * 1000))
        if self._bind and self.given.startswith("ipc://"):  # ZeroMQ leaves the file of a Unix socket behind
            Path(self.given.removeprefix("ipc://")).unlink(missing_ok=True)

    def _open(self) -> None:
        check_address(self.given)
        if self._bind and self.given.startswith("ipc://"):
            unix.check_free(self.given.removeprefix("ipc://"))
        self._socket = self._hub.context.socket(self._kind)
        options = {
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: _MAX_CONTROL_BYTES if self._kind == zmq.ROUTER else _MAX_FRAME_BYTES,
            zmq.SNDHWM: _PUSH_HIGH_WATER if self._kind == zmq.PUSH else _HIGH_WATER,
            zmq.RCVHWM: _PULL_HIGH_WATER if self._kind == zmq.PULL else _HIGH_WATER,
            zmq.IPV6: 1,
            zmq.TCP_KEEPALIVE: 1,
            zmq.HEARTBEAT_IVL: _ZMTP_BEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: _ZMTP_TIMEOUT_MS,
            zmq.HEARTBEAT_TTL: _ZMTP_TIMEOUT_MS,
            zmq.RECONNECT_IVL: 100,
            zmq.RECONNECT_IVL_MAX: 1_000,
        }
        if self._kind == zmq.ROUTER:
            options[zmq.ROUTER_MANDATORY] = 1
        if self._kind == zmq.PUSH:
            options[zmq.IMMEDIATE] = 1  # queue only for a sink that is there
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        if self._kind == zmq.DEALER:
            self._socket.setsockopt(zmq.IDENTITY, uuid.uuid4().bytes)
        try:
            self._socket.bind(self.given) if self._bind else self._socket.connect(self.given)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            verb = "bind to" if self._bind else "connect to"
            raise SpecError(f"cannot {verb} {self.given!r}: {error}; give an address that is free and yours") from error
        if self._kind != zmq.PUSH:
            self._hub.watch(self._socket, self)


def check_address(address: str) -> None:
    """Raise SpecError unless `address` is one that Penstock can use."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("ipc", "tcp") or not rest:
        raise SpecError(f"address {address!r}: give tcp://host:port or ipc:///path")
    if scheme == "ipc" and len(os.fsencode(rest)) >= unix.PATH_BYTES:
        raise SpecError(
            f"address {address!r}: a socket's path may have {unix.PATH_BYTES - 1} bytes, this has "
            f"{len(os.fsencode(rest))}: use a shorter folder, such as one below /tmp"
        )


def reachable(address: str, host: str) -> str:
    """Return an address that others can connect to: a wildcard is replaced by `host`."""
    for wildcard in ("tcp://0.0.0.0:", "tcp://[::ffff:0.0.0.0]:", "tcp://[::]:", "tcp://*:"):
        if address.startswith(wildcard):
            return f"tcp://{host}:{address.removeprefix(wildcard)}"
    return address


def _name(frames: Sequence[zmq.Frame], peer: Peer) -> str:
    address = ""
    with suppress(zmq.ZMQError, IndexError):  # the metadata is missing on inproc and on messages without a connection
        address = str(frames[0].get("Peer-Address"))
    return f"{address or 'peer'} {peer.hex()[:8]}".strip()


class Hub:
    """A context, its endpoints and one place to wait for all of them."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        """Open nothing yet."""
        self.context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4096)
        self.rejects = Rejects(log)
        #: Where messages may refer to memory that peers share; none: they may not.
        self.memory: Attachments | None = None
        self._endpoints: dict[Any, Endpoint] = {}
        self._poller = zmq.Poller()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)  # noqa: FBT003 - the standard library's
        self._waker.setblocking(False)  # noqa: FBT003
        self._poller.register(self._woken, zmq.POLLIN)

    def router(self, address: str, accept: frozenset[type[AnyMessage]]) -> Endpoint:
        """Bind a ROUTER: many peers, each with an identity."""
        return Endpoint(self, zmq.ROUTER, address, accept, bind=True)

    def dealer(self, address: str, accept: frozenset[type[AnyMessage]]) -> Endpoint:
        """Connect a DEALER to one ROUTER."""
        return Endpoint(self, zmq.DEALER, address, accept, bind=False)

    def pull(self, address: str, accept: frozenset[type[AnyMessage]]) -> Endpoint:
        """Bind a PULL: takes what many workers push."""
        return Endpoint(self, zmq.PULL, address, accept, bind=True)

    def pusher(self, address: str) -> Endpoint:
        """Connect a PUSH to one PULL; use it in one thread only."""
        return Endpoint(self, zmq.PUSH, address, frozenset(), bind=False)

    def watch(self, zsocket: Any, endpoint: Endpoint) -> None:  # noqa: ANN401 - generic in pyzmq
        """Wait for this socket too."""
        self._endpoints[zsocket] = endpoint
        self._poller.register(zsocket, zmq.POLLIN)

    def forget(self, zsocket: Any) -> None:  # noqa: ANN401
        """Stop waiting for a socket."""
        if self._endpoints.pop(zsocket, None):
            self._poller.unregister(zsocket)

    def wait(self, seconds: float) -> list[Endpoint]:
        """Wait until an endpoint has something, `wake` is called or `seconds` are over; return who has."""
        ready = self._poller.poll(max(0, math.ceil(seconds * 1000)))  # rounded down, the last millisecond would spin
        for entry, _ in ready:
            if entry == self._woken.fileno() or entry is self._woken:
                with suppress(BlockingIOError):
                    while self._woken.recv(4096):
                        pass
        return [self._endpoints[entry] for entry, _ in ready if entry in self._endpoints]

    def wake(self) -> None:
        """Make `wait` return; callable from any thread and from a signal handler."""
        with suppress(BlockingIOError, OSError):  # full means that it will wake anyway; closed, that nobody waits
            self._waker.send(b"\0")

    def handle_signals(self, stop: Callable[[], None]) -> None:
        """Call `stop` at the first SIGTERM or SIGINT; leave at once at the second. Main thread only."""
        seen: list[int] = []

        def handle(number: int, _frame: FrameType | None) -> None:
            if seen:
                os._exit(128 + number)
            seen.append(number)
            stop()
            self.wake()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handle)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def close(self) -> None:
        """Close every endpoint and the context."""
        for endpoint in list(self._endpoints.values()):
            endpoint.close()
        with suppress(ValueError):  # only the main thread may, and only it has set it
            signal.set_wakeup_fd(-1)
        self.context.term()
        self._woken.close()
        self._waker.close()
