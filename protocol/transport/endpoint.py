"""One ZeroMQ socket that sends and receives messages: its identity, its peers' keys, its limits.

A message that does not parse, or that its sender may not send, is counted, logged with its sender, and dropped here.
`sockets.py` waits for all endpoints of a process.
"""

import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError, SpecError
from penstock.protocol.messages import AnyMessage
from penstock.protocol.transport import socket_options, unix_sockets
from penstock.protocol.transport.addresses import Alternatives, check_address, check_exposure
from penstock.protocol.transport.connections import Connections
from penstock.protocol.transport.keys import KeyRing, Role
from penstock.protocol.transport.multipart import Multipart, OversizedMessageError, descriptor_of, sender_of
from penstock.protocol.transport.open_files import limit_explained
from penstock.protocol.transport.own_files import made_for_owner
from penstock.protocol.transport.rejects import Rejects
from penstock.protocol.transport.shared_memory import Attachments
from penstock.protocol.transport.tracer import Tracer
from penstock.protocol.wire import MAX_FRAMES, Array, Kinds

#: Messages that one endpoint hands over before the others get their turn, and how long that may take (s).
DRAIN, _TURN_S = 256, 0.05
#: A server that was heard so shortly ago (s) is not looked for at another address of its host.
_LIVES_S = 2.0
#: Peers whose key is remembered, the latest heard ones: nothing is sent to others.
_KNOWN_PEERS = 16_384
Peer = bytes
#: Kinds of messages that each role may send to a bound socket; a key of another role cannot even connect.
ByRole = Mapping[Role, Kinds]
Received = tuple[Peer, AnyMessage, list[Array]]


class Owner(Protocol):
    """The part of a hub that an endpoint uses."""

    keys: KeyRing | None
    insecure: bool
    context: "zmq.Context[Any]"
    rejects: Rejects
    memory: Attachments | None
    tracer: Tracer | None

    def open_gate(self) -> None:
        """Answer which keys may connect."""

    def watch(self, zsocket: Any, endpoint: "Endpoint") -> None:  # noqa: ANN401 - generic in pyzmq
        """Wait for this socket too."""

    def forget(self, zsocket: Any) -> None:  # noqa: ANN401
        """Stop waiting for a socket."""


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
        """Bind, or connect to the `server`, at once. A bound one accepts by role; without keys, all of it from all."""
        self._hub, self._kind, self._bind, self._queues = hub, kind, server is None, queues
        self._server: Role | None = server
        self._roles: ByRole = accept if isinstance(accept, Mapping) else {}
        self._accept: Kinds = frozenset().union(*accept.values()) if isinstance(accept, Mapping) else accept
        #: The keys of a ROUTER's peers, the latest heard last.
        self._keys_of: dict[Peer, str] = {}
        #: Reports new connections and failed handshakes, and to a pusher that its link broke.
        self._monitor: Any = None
        #: The connections over TCP, by the bytes that they have sent.
        self._connections = Connections(socket_options.backlog_limit(kind, server, self._accept))
        #: Whether the last call of `receive` left nothing to be read.
        self.drained = True
        #: The address as it was asked for.
        self.given = address
        self._alternatives, self._heard_at = Alternatives(), -math.inf
        self._open(address)

    def __repr__(self) -> str:
        """Show its kind and its address."""
        return f"<{zmq.SocketType(self._kind).name} {'bound to' if self._bind else 'connected to'} {self.address}>"

    @property
    def address(self) -> str:
        """Where it is bound or connected to; a wildcard port is resolved."""
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

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
        peer = frames.pop(0).bytes if self._kind == zmq.ROUTER else b""
        try:
            message, arrays = wire.decode(
                [frame.bytes if index < 2 else frame.buffer for index, frame in enumerate(frames)],  # noqa: PLR2004
                self._accepted(first, peer) if self._guarded else self._accept,
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
        if peer is not None and self._guarded and not self._is_admitted(self._keys_of.get(peer, "")):
            return False
        if self._hub.tracer:
            message = self._hub.tracer.sending(message, self._traced(peer or b""))
        frames: list[Any] = wire.encode(message, arrays)
        if peer is not None:
            frames.insert(0, peer)
        try:
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
            if event in socket_options.REFUSALS:
                error = RemoteProtocolError("refused", socket_options.REFUSALS[event])
                self._hub.rejects.add(error, self.given, "not let in")
            elif event & socket_options.OPENED:
                self._connections.opened(int(found["value"]))

    def expect(self, largest_bytes: int) -> None:
        """Disconnect peers whose unfinished message grows beyond the largest one that is expected."""
        self._connections.limit_bytes = socket_options.unfinished_limit(largest_bytes)

    def sweep(self, now: float) -> float:
        """Disconnect peers that send messages without end; return the seconds until the next call, 0 for never."""
        if self._connections.due(now):
            drained = self.drained and not self._socket.poll(0, zmq.POLLIN)  # more may have come since
            for problem in self._connections.sweep(now, drained=drained):
                self._hub.rejects.add(RemoteProtocolError("unfinished", problem), repr(self), "disconnected")
        return self._connections.sweep_s

    def push(self, message: AnyMessage, arrays: Sequence[Array], wait_s: float) -> bool:
        """Send, waiting up to `wait_s` seconds for room; return False if there was none, and `linked` says why."""
        self.heed_monitor()
        if not self._socket.poll(round(wait_s * 1000), zmq.POLLOUT):
            return False
        return self.send(message, arrays)

    def reopen(self, address: str | None = None) -> None:
        """Drop what is queued and connect again, under a fresh identity; elsewhere if the server was not heard."""
        lives = address in (None, self.given) and time.monotonic() < self._heard_at + _LIVES_S
        self.given = address or self.given
        where = self._where if lives else self._alternatives.next(self.given)
        self.close()
        self._open(where)

    def try_next(self) -> None:
        """Connect to the next address of a host that has several; with one, ZeroMQ goes on trying by itself."""
        if (where := self._alternatives.next(self.given)) != self._where:
            self.close()
            self._open(where)

    def close(self, linger_s: float = 0.0) -> None:
        """Close; without lingering, what is queued is dropped: it would only arrive twice."""
        self._hub.forget(self._socket)
        self._stop_monitor()
        self._socket.close(linger=round(linger_s * 1000))
        if self._bind and self.given.startswith("ipc://"):  # ZeroMQ leaves the file of a Unix socket behind
            Path(self.given.removeprefix("ipc://")).unlink(missing_ok=True)

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
    def _guarded(self) -> bool:
        return self._bind and self._hub.keys is not None

    def _is_admitted(self, public: str) -> Role | None:
        key = self._hub.keys.identify(public) if self._hub.keys else None
        return key.role if key and key.role in self._roles else None

    def _accepted(self, first: zmq.Frame, peer: Peer) -> Kinds:
        """Return the kinds that a message's sender may send, by its key; the key may be revoked by now."""
        public = ""
        with suppress(zmq.ZMQError):  # without a key no handshake succeeds, so this is a message without a connection
            public = str(first.get("User-Id"))
        role = self._is_admitted(public)
        if role is None:
            raise RemoteProtocolError("key", f"key {public!r} was revoked, or is of another role")
        if self._kind == zmq.ROUTER:
            self._keys_of.pop(peer, None)
            self._keys_of[peer] = public
            if len(self._keys_of) > _KNOWN_PEERS:
                del self._keys_of[next(iter(self._keys_of))]
        return self._roles[role]

    @limit_explained()
    def _open(self, where: str) -> None:
        self._where = where
        check_address(self.given)
        if self._bind and not self._hub.keys:
            check_exposure(self.given, insecure=self._hub.insecure)
        if self._bind and self.given.startswith("ipc://"):
            unix_sockets.check_free(self.given.removeprefix("ipc://"))
        self._socket = self._hub.context.socket(self._kind)
        for option, value in (
            socket_options.options(self._kind, self._server, self._accept) | self._security()
        ).items():
            self._socket.setsockopt(option, value)
        if self._kind == zmq.DEALER:
            self._socket.setsockopt(zmq.IDENTITY, uuid.uuid4().bytes)
        if not self._queues:
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
        most_bytes = socket_options.message_limit(self._kind, self._server, self._accept)
        self.multipart = Multipart(self._socket, MAX_FRAMES + 1, most_bytes)
        events = zmq.EVENT_ACCEPTED if self._bind else sum(socket_options.REFUSALS)
        events |= socket_options.LINKS if self._kind == zmq.PUSH else zmq.EVENT_CONNECTED
        self._monitor = self._socket.get_monitor_socket(events, f"inproc://{uuid.uuid4().hex}")
        self.linked = False  # whether a pusher has a link to its server
        if self._kind != zmq.PUSH:
            self._hub.watch(self._monitor, self)
        try:
            with made_for_owner() if self._bind else nullcontext():
                self._socket.bind(where) if self._bind else self._socket.connect(where)
        except zmq.ZMQError as error:
            self._stop_monitor()
            self._socket.close(linger=0)
            verb, hint = ("bind to", "is free and yours") if self._bind else ("connect to", "can be reached from here")
            raise SpecError(f"cannot {verb} {self.given!r}: {error}; give an address that {hint}") from error
        if self._kind != zmq.PUSH:
            self._hub.watch(self._socket, self)

    def _security(self) -> dict[int, Any]:
        """Return the options of CURVE; what is bound asks for the roles that it accepts. Without keys, of retries."""
        keys = self._hub.keys
        if keys is None:
            return socket_options.retries(self.given)
        own: dict[int, Any] = {
            zmq.CURVE_PUBLICKEY: keys.own.public.encode(),
            zmq.CURVE_SECRETKEY: keys.own.secret.encode(),
        }
        if self._server is not None:
            return own | {zmq.CURVE_SERVERKEY: keys.server(self._server).encode()}
        self._hub.open_gate()
        # Enforced: without an answer from the gate no peer gets in; otherwise libzmq would admit all of them.
        return own | {zmq.CURVE_SERVER: 1, zmq.ZAP_DOMAIN: " ".join(self._roles).encode(), zmq.ZAP_ENFORCE_DOMAIN: 1}
