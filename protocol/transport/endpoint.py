"""One ZeroMQ socket that sends and receives messages: its identity, its peers' keys, its limits.

A message that does not parse, or that its sender may not send, is counted, logged with its sender, and dropped here.
`sockets.py` waits for all endpoints of a process.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import AnyMessage
from penstock.protocol.transport import socket_options
from penstock.protocol.transport.connections import Connections
from penstock.protocol.transport.keys import Role
from penstock.protocol.transport.links.admission import Admission
from penstock.protocol.transport.links.held import Held
from penstock.protocol.transport.links.opening import (
    ByRole,
    Owner,
    Use,
    open_monitor,
    open_socket,
    remove_file,
    why_not,
)
from penstock.protocol.transport.links.target import Target
from penstock.protocol.transport.multipart import Multipart, OversizedMessageError, descriptor_of, sender_of
from penstock.protocol.transport.open_files import limit_explained
from penstock.protocol.transport.own_files import made_for_owner
from penstock.protocol.wire import MAX_FRAMES, Array, Kinds

#: Messages that one endpoint hands over before the others get their turn, and how long that may take (s).
DRAIN, _TURN_S = 256, 0.05
#: A server that was heard so shortly ago (s) is not looked for at another address of its host.
_LIVES_S = 2.0
#: Least pause (s) between two looks at where a name leads to, which may be due already.
_LEAST_PAUSE_S = 0.001
Peer = bytes
Received = tuple[Peer, AnyMessage, list[Array]]


class Endpoint:
    """One socket and the kinds of messages that it accepts; made by a `Hub`."""

    def __init__(
        self,
        hub: Owner,
        kind: int,
        address: str,
        accept: Kinds | ByRole,
        server: Role | None = None,
        *,
        queues: bool = True,
    ) -> None:
        """Bind, or connect to the `server`: at once, or when it is known what a name in `address` stands for.

        A bound one accepts by role; without keys, all of it from all.
        """
        self._hub, self._held = hub, Held()
        roles: ByRole = accept if isinstance(accept, Mapping) else {}
        accepted: Kinds = frozenset().union(*accept.values()) if isinstance(accept, Mapping) else accept
        self._use = Use(kind, server, roles, accepted, queues)
        self._admission = Admission(hub, self._use)
        #: Reports new connections and failed handshakes, and to a client that its link broke.
        self._monitor: Any = None
        #: The connections over TCP, by the bytes that they have sent.
        self._connections = Connections(socket_options.backlog_limit(kind, server, accepted))
        #: Whether the last call of `receive` left nothing to be read.
        self.drained = True
        #: When a peer was last heard (monotonic s).
        self._heard_at = -math.inf
        self._target = Target(address, hub.names, hub.wake)
        self._open()

    def __repr__(self) -> str:
        """Show its kind and its address."""
        verb = "bound to" if self._use.binds else "connected to"
        return f"<{zmq.SocketType(self._use.kind).name} {verb} {self.address}>"

    @property
    def address(self) -> str:
        """Where it is bound or connected to; a wildcard port is resolved."""
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode() or self.given

    @property
    def given(self) -> str:
        """The address as it was asked for."""
        return self._target.given

    @property
    def problem(self) -> str:
        """Why the name in its address could not be looked up the last time; empty if it could, or need not."""
        return self._target.problem

    def receive(self, limit: int = DRAIN) -> Iterator[Received]:
        """Yield up to `limit` messages that are here, without waiting, for a fraction of a second at most.

        A connected endpoint's peer is empty.
        """
        until, self.drained = time.monotonic() + _TURN_S, False
        for _ in range(limit):
            if time.monotonic() >= until:
                return
            try:
                frames = self.multipart.read(until)
            except zmq.Again:
                self.drained = not self.multipart.discarding
                return
            except OversizedMessageError as error:
                self._hub.rejects.add(error, f"{sender_of([error.first], b'')} at {self!r}")
                self._connections.cut(descriptor_of(error.first))
                continue
            self._connections.heard(descriptor_of(frames[0]))
            self._heard_at = until
            if (received := self._decode(frames)) is not None:
                yield received

    def _decode(self, frames: list[zmq.Frame]) -> Received | None:
        """Return the message in these frames; count and log one that is wrong."""
        first = frames[0]
        peer = frames.pop(0).bytes if self._use.kind == zmq.ROUTER else b""
        try:
            message, arrays = wire.decode(
                [frame.bytes if index < 2 else frame.buffer for index, frame in enumerate(frames)],  # noqa: PLR2004
                self._admission.accepted(first, peer),
                self._hub.memory,
            )
        except RemoteProtocolError as error:
            self._hub.rejects.add(error, f"{sender_of(frames, peer)} at {self!r}")
            return None
        if self._hub.tracer:
            self._hub.tracer.received(message, self._traced(peer))
        return peer, message, arrays

    def send(self, message: AnyMessage, arrays: Sequence[Array] = (), peer: Peer | None = None) -> bool:
        """Send without waiting; return False if the peer is gone, does not read, or its key was revoked."""
        if peer is not None and not self._admission.admits(peer):
            return False
        if self._hub.tracer:
            message = self._hub.tracer.sending(message, self._traced(peer or b""))
        frames: list[Any] = wire.encode(message, arrays)
        if peer is not None:
            frames.insert(0, peer)
        if self._holds:
            self.heed_monitor()
            if not self.linked:
                return not arrays and self._held.add(frames)
        try:
            self._held.release(self.multipart)
            self.multipart.send(frames, copy=not arrays)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def heed_monitor(self) -> None:
        """Note new connections; count and log that the server refused us, or did not prove its role. We try again."""
        while self._monitor is not None and self._monitor.poll(0):
            found = recv_monitor_message(self._monitor)
            event = found["event"]
            self.linked = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if event == zmq.EVENT_DISCONNECTED:
                self._target.broke()
            elif event == zmq.EVENT_CLOSED:
                self._target.failed()
            if event in socket_options.REFUSALS:
                error = RemoteProtocolError("refused", socket_options.REFUSALS[event])
                self._hub.rejects.add(error, self.given, "not let in")
            elif event & socket_options.OPENED:
                self._connections.opened(int(found["value"]))
        if self.linked:
            with suppress(zmq.Again):  # what has no room goes with the next message
                self._held.release(self.multipart)

    def expect(self, largest_bytes: int) -> None:
        """Disconnect peers whose unfinished message grows beyond the largest one that is expected."""
        self._connections.limit_bytes = socket_options.unfinished_limit(largest_bytes)

    def sweep(self, now: float) -> float:
        """Disconnect peers that send messages without end; return the seconds until the next call, 0 for never.

        And connect where a name leads to by now.
        """
        if self._connections.due(now):
            drained = self.drained and not self._socket.poll(0, zmq.POLLIN)  # more may have come since
            for problem in self._connections.sweep(now, drained=drained):
                self._hub.rejects.add(RemoteProtocolError("unfinished", problem), repr(self), "disconnected")
        sweep_s = self._connections.sweep_s
        if self._use.binds or not self._target.is_name:
            return sweep_s
        tend_s = max(self._tend(now) - now, _LEAST_PAUSE_S)
        return min(sweep_s or math.inf, tend_s)

    def push(self, message: AnyMessage, arrays: Sequence[Array], wait_s: float) -> bool:
        """Send, waiting up to `wait_s` seconds for room; return False if there was none, and `linked` says why."""
        until = time.monotonic() + wait_s
        self.heed_monitor()
        self._tend(time.monotonic())
        while not self._where and time.monotonic() < until:
            self._target.wait(until)
            self._tend(time.monotonic())
        if not self._where or not self._socket.poll(round(max(0.0, until - time.monotonic()) * 1000), zmq.POLLOUT):
            return False
        return self.send(message, arrays)

    def reopen(self, address: str | None = None) -> None:
        """Drop what is queued and connect again, under a fresh identity; elsewhere if the server was not heard."""
        lives = address in (None, self.given) and time.monotonic() < self._heard_at + _LIVES_S
        if address in (None, self.given):
            self._target.broke()
        else:
            self._target = Target(str(address), self._hub.names, self._hub.wake)
        if not lives:
            self._target.next()
        self._held.drop()
        self._open_again()

    def try_next(self) -> None:
        """Connect to the next address of a host that has several; with one, ZeroMQ goes on trying by itself."""
        self._target.next()
        self._tend(time.monotonic())

    def close(self, linger_s: float = 0.0) -> None:
        """Close; without lingering, what is queued is dropped: it would only arrive twice."""
        self._hub.forget(self._socket)
        self._stop_monitor()
        self._socket.close(linger=round(linger_s * 1000))
        remove_file(self.given, self._use)

    def _stop_monitor(self) -> None:
        if self._monitor is not None:
            self._hub.forget(self._monitor)
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._monitor = None

    def _traced(self, peer: Peer) -> bytes:
        """Return a peer's name for the tracer: a connected endpoint's peers have none of their own."""
        return peer or self.given.encode()

    @property
    def _holds(self) -> bool:
        """Whether what is sent without a link waits here, for whatever a name stands for then."""
        return self._use.queues and self._use.kind == zmq.DEALER and self._target.is_name

    def _tend(self, now: float) -> float:
        """Connect to where a name leads to by now; return when to call this again (monotonic s)."""
        again_at = self._target.tend(now, linked=self.linked)
        if self._target.where != self._where:
            if self._where:
                self._open_again()
                again_at = self._target.tend(now, linked=False)
            else:
                self._connect()
        return again_at

    def _open_again(self) -> None:
        self.close()
        self._open()

    @limit_explained()
    def _open(self) -> None:
        self._socket = open_socket(self._hub, self.given, self._use)
        most_bytes = socket_options.message_limit(self._use.kind, self._use.server, self._use.accept)
        self.multipart = Multipart(self._socket, MAX_FRAMES + 1, most_bytes)
        self._monitor = open_monitor(self._socket, self.given, self._use)
        self.linked = False  # whether a client has a link to its server
        if self._use.kind != zmq.PUSH:
            self._hub.watch(self._monitor, self)
            self._hub.watch(self._socket, self)
        self._connect()
        if not self._use.binds:
            self._tend(time.monotonic())

    def _connect(self) -> None:
        """Bind, or connect if it is known where to."""
        self._where = self._target.where
        try:
            if self._use.binds:
                with made_for_owner():
                    self._socket.bind(self.given)
            elif self._where:
                self._socket.connect(self._where)
        except zmq.ZMQError as error:
            self._hub.forget(self._socket)
            self._stop_monitor()
            self._socket.close(linger=0)
            raise why_not(self.given, self._use, error) from error
