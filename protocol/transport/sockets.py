"""The poll-loop shell: the only place that knows ZeroMQ. Owns socket options, identities, waiting and waking.

Everything above it sees messages and peers; what does not parse is counted, logged with its sender and dropped here.
Sockets belong to the thread that made them; only `Hub.wake` may be called from anywhere.
"""

import math
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError, SpecError
from penstock.protocol.messages import AnyMessage
from penstock.protocol.transport import unix_sockets
from penstock.protocol.transport.addresses import check_address, check_exposure
from penstock.protocol.transport.keys import KeyRing, Role
from penstock.protocol.transport.rejects import Rejects
from penstock.protocol.transport.shared_memory import Attachments
from penstock.protocol.transport.tracer import Tracer
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
#: ZMTP's own heartbeats (ms): they notice half-open TCP links on sockets that only ever send or only receive, and keep
#: what a NAT or a firewall knows of a link fresh.
_ZMTP_BEAT_MS, _ZMTP_TIMEOUT_MS = 2_000, 10_000
#: The same where arrays come: libzmq hears nothing of a peer while one frame arrives, and over a slow line that takes
#: long. Who sends them still notices a dead link by the shorter one.
_ZMTP_BULK_TIMEOUT_MS = 120_000
#: Longest that a connection may take to say who it is (ms): what drips bytes is hung up on; a slow line tries again.
_HANDSHAKE_MS = 5_000
#: Longest that a connection may take to open (ms). Left alone, the kernel tries for two minutes, at ever longer
#: intervals, so that a cut of half a minute would last for one.
_CONNECT_MS = 3_000
#: Connections that are let in or refused before the messages get their turn.
_ADMISSIONS = 64
#: Peers whose key is remembered, the latest heard ones: nothing is sent to others.
_KNOWN_PEERS = 16_384
#: How a handshake ends that does not succeed, and what that tells.
_REFUSALS: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "it does not admit our key: unknown, revoked, or of another role",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "it uses no keys, and we do: give it --keys",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it hung up: it uses keys and we do not, or it is not the one we have a key "
    "of, or it is leaving",
}
#: What tells a client whether it has a link to its server.
_LINKS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
Peer = bytes
Kinds = frozenset[type[AnyMessage]]
#: Who may say what on a bound socket: a key of another role cannot even connect.
ByRole = Mapping[Role, Kinds]
Received = tuple[Peer, AnyMessage, list[Array]]


class Endpoint:
    """One socket and what it accepts; made by a `Hub`."""

    def __init__(self, hub: "Hub", kind: int, address: str, accept: Kinds | ByRole, server: Role | None = None) -> None:
        """Bind, or connect to the `server`, at once. A bound one accepts by role; without keys, all of it from all."""
        self._hub, self._kind, self._bind = hub, kind, server is None
        self._server: Role | None = server
        self._roles: ByRole = accept if isinstance(accept, Mapping) else {}
        self._accept: Kinds = frozenset().union(*accept.values()) if isinstance(accept, Mapping) else accept
        #: The keys of a ROUTER's peers, the latest heard last.
        self._keys_of: dict[Peer, str] = {}
        #: Tells of handshakes, and a pusher of links that broke.
        self._monitor: Any = None
        #: A pusher only: whether it has a link to its server.
        self.linked = False
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
            first = frames[0]
            peer = frames.pop(0).bytes if self._kind == zmq.ROUTER else b""
            try:
                message, arrays = wire.decode(
                    [frame.bytes if index < 2 else frame.buffer for index, frame in enumerate(frames)],  # noqa: PLR2004
                    self._accepted(first, peer) if self._guarded else self._accept,
                    self._hub.memory,
                )
            except RemoteProtocolError as error:
                self._hub.rejects.add(error, f"{_name(frames, peer)} at {self!r}")
                continue
            if self._hub.tracer:
                self._hub.tracer.received(message, self._traced(peer))
            yield peer, message, arrays

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
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=not arrays)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def note_refusals(self) -> None:
        """Count and log that the peer did not let us in, or did not prove who it is; we go on trying."""
        while self._monitor is not None and self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self.linked = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if event in _REFUSALS:
                error = RemoteProtocolError("refused", _REFUSALS[event])
                self._hub.rejects.add(error, self.given, "not let in")

    def push(self, message: AnyMessage, arrays: Sequence[Array], wait_s: float) -> bool:
        """Send, waiting up to `wait_s` seconds for room; return False if there was none, and `linked` says why."""
        self.note_refusals()
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
        """Return what a message's sender may say, by its key: it may have been revoked since it connected."""
        public = ""
        with suppress(zmq.ZMQError):  # there is none; the handshake has let nobody in without
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

    def _open(self) -> None:
        check_address(self.given)
        if self._bind and not self._hub.keys:
            check_exposure(self.given, insecure=self._hub.insecure)
        if self._bind and self.given.startswith("ipc://"):
            unix_sockets.check_free(self.given.removeprefix("ipc://"))
        self._socket = self._hub.context.socket(self._kind)
        takes_arrays = self._kind == zmq.PULL or (self._kind == zmq.DEALER and self._server == "sink")
        sends_arrays = self._kind in (zmq.PUSH, zmq.ROUTER)
        options = {
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: _MAX_CONTROL_BYTES if self._kind == zmq.ROUTER else _MAX_FRAME_BYTES,
            zmq.SNDHWM: _PUSH_HIGH_WATER if self._kind == zmq.PUSH else _HIGH_WATER,
            zmq.RCVHWM: _PULL_HIGH_WATER if self._kind == zmq.PULL else _HIGH_WATER,
            zmq.IPV6: 1,
            zmq.TCP_KEEPALIVE: 1,
            zmq.HEARTBEAT_IVL: _ZMTP_BEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: _ZMTP_BULK_TIMEOUT_MS if takes_arrays else _ZMTP_TIMEOUT_MS,
            zmq.HEARTBEAT_TTL: _ZMTP_BULK_TIMEOUT_MS if sends_arrays else _ZMTP_TIMEOUT_MS,  # the peer's
            zmq.HANDSHAKE_IVL: _HANDSHAKE_MS,
            zmq.CONNECT_TIMEOUT: _CONNECT_MS,
            zmq.RECONNECT_IVL: 100,
            zmq.RECONNECT_IVL_MAX: 1_000,
        }
        if self._kind == zmq.ROUTER:
            options[zmq.ROUTER_MANDATORY] = 1
        if self._kind == zmq.PUSH:
            options[zmq.IMMEDIATE] = 1  # queue only for a sink that is there
        for option, value in (options | self._security()).items():
            self._socket.setsockopt(option, value)
        if self._kind == zmq.DEALER:
            self._socket.setsockopt(zmq.IDENTITY, uuid.uuid4().bytes)
        if not self._bind:
            events = sum(_REFUSALS) | (_LINKS if self._kind == zmq.PUSH else 0)
            self._monitor = self._socket.get_monitor_socket(events, f"inproc://monitor-{uuid.uuid4().hex}")
            self.linked = False
        if self._kind == zmq.DEALER:
            self._hub.watch(self._monitor, self)
        try:
            self._socket.bind(self.given) if self._bind else self._socket.connect(self.given)
        except zmq.ZMQError as error:
            self._stop_monitor()
            self._socket.close(linger=0)
            verb, hint = ("bind to", "is free and yours") if self._bind else ("connect to", "can be reached from here")
            raise SpecError(f"cannot {verb} {self.given!r}: {error}; give an address that {hint}") from error
        if self._kind != zmq.PUSH:
            self._hub.watch(self._socket, self)

    def _security(self) -> dict[int, Any]:
        """Return the options of CURVE; none without keys. What is bound asks for the roles that it accepts."""
        keys = self._hub.keys
        if keys is None:
            return {}
        own: dict[int, Any] = {
            zmq.CURVE_PUBLICKEY: keys.own.public.encode(),
            zmq.CURVE_SECRETKEY: keys.own.secret.encode(),
        }
        if self._server is not None:
            return own | {zmq.CURVE_SERVERKEY: keys.server(self._server).encode()}
        self._hub.open_gate()
        # Enforced: without an answer from the gate nobody gets in, where libzmq would else let everybody in.
        return own | {zmq.CURVE_SERVER: 1, zmq.ZAP_DOMAIN: " ".join(self._roles).encode(), zmq.ZAP_ENFORCE_DOMAIN: 1}


def new_key_pair() -> tuple[str, str]:
    """Return a fresh public and secret key, as Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _name(frames: Sequence[zmq.Frame], peer: Peer) -> str:
    address = ""
    with suppress(zmq.ZMQError, IndexError):  # the metadata is missing on inproc and on messages without a connection
        address = str(frames[0].get("Peer-Address"))
    return f"{address or 'peer'} {peer.hex()[:8]}".strip()


class Hub:
    """A context, its endpoints and one place to wait for all of them."""

    def __init__(
        self, log: structlog.typing.FilteringBoundLogger, keys: KeyRing | None = None, *, insecure: bool = False
    ) -> None:
        """Open nothing yet. With `keys` every socket is encrypted, and bound ones know their peers.

        `insecure`: bind without keys also where other hosts can connect.
        """
        self.keys, self.insecure, self._log = keys, insecure, log
        self._gate: Any = None
        self.context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4096)
        self.rejects = Rejects(log)
        #: Where messages may refer to memory that peers share; none: they may not.
        self.memory: Attachments | None = None
        #: Told of every message, where a trace is recorded.
        self.tracer: Tracer | None = None
        self._endpoints: dict[Any, Endpoint] = {}
        self._poller = zmq.Poller()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)  # noqa: FBT003 - the standard library's
        self._waker.setblocking(False)  # noqa: FBT003
        self._poller.register(self._woken, zmq.POLLIN)

    def router(self, address: str, accept: ByRole) -> Endpoint:
        """Bind a ROUTER: many peers, each with an identity."""
        return Endpoint(self, zmq.ROUTER, address, accept)

    def dealer(self, address: str, accept: Kinds, server: Role) -> Endpoint:
        """Connect a DEALER to the ROUTER of a `server`, which must prove to be that."""
        return Endpoint(self, zmq.DEALER, address, accept, server)

    def pull(self, address: str, accept: ByRole) -> Endpoint:
        """Bind a PULL: takes what many workers push."""
        return Endpoint(self, zmq.PULL, address, accept)

    def pusher(self, address: str, server: Role) -> Endpoint:
        """Connect a PUSH to the PULL of a `server`, which must prove to be that; use it in one thread only."""
        return Endpoint(self, zmq.PUSH, address, frozenset(), server)

    def open_gate(self) -> None:
        """Answer in `wait` who may connect (ZAP, ZeroMQ's RFC 27); called before the first guarded socket is bound."""
        if self._gate is None:
            self._gate = self.context.socket(zmq.REP)
            self._gate.setsockopt(zmq.LINGER, 0)
            self._gate.bind("inproc://zeromq.zap.01")
            self._poller.register(self._gate, zmq.POLLIN)

    def _admit(self) -> None:
        """Let in or refuse who has proved to have a key: its role must be one that the socket asks for."""
        for _ in range(_ADMISSIONS):
            try:
                version, request, domain, address, _identity, mechanism, *credentials = self._gate.recv_multipart(
                    zmq.NOBLOCK
                )
            except zmq.Again:
                return
            public = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" else ""
            key = self.keys.identify(public) if self.keys else None
            if key and key.role in domain.decode().split():
                answer = [b"200", b"OK", public.encode()]
            else:
                answer = [b"400", b"no access", b""]
                whose = f"key {key.name!r} is a {key.role}'s" if key else f"unknown key {public!r}"
                error = RemoteProtocolError("key", f"{whose}: only {domain.decode()} may connect")
                self.rejects.add(error, address.decode(), "not let in")
            self._gate.send_multipart([version, request, *answer, b""])

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
        if self.keys and self._gate is not None:
            for problem in self.keys.refresh(time.monotonic()):
                self._log.error("keys", problem=problem)
            if self._gate in dict(ready):
                self._admit()
        found = dict.fromkeys(self._endpoints[entry] for entry, _ in ready if entry in self._endpoints)
        for endpoint in found:
            endpoint.note_refusals()
        return list(found)

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
        for endpoint in dict.fromkeys(self._endpoints.values()):
            endpoint.close()
        if self._gate is not None:
            self._gate.close()
        with suppress(ValueError):  # only the main thread may, and only it has set it
            signal.set_wakeup_fd(-1)
        self.context.term()
        if self.tracer:
            self.tracer.close()
        self._woken.close()
        self._waker.close()
