"""Makes the ZeroMQ socket of an endpoint: its options, its identity and the keys that it shows or asks for.

It neither binds nor connects it.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import zmq

from penstock.protocol.errors import SpecError
from penstock.protocol.transport import socket_options, unix_sockets
from penstock.protocol.transport.addresses import check_address, check_exposure, name_in
from penstock.protocol.transport.keys import KeyRing, Role
from penstock.protocol.transport.links.names import Names
from penstock.protocol.transport.rejects import Rejects
from penstock.protocol.transport.shared_memory import Attachments
from penstock.protocol.transport.tracer import Tracer
from penstock.protocol.wire import Kinds

#: Kinds of messages that each role may send to a bound socket; a key of another role cannot even connect.
ByRole = Mapping[Role, Kinds]


class Owner(Protocol):
    """The part of a hub that an endpoint uses."""

    keys: KeyRing | None
    insecure: bool
    context: "zmq.Context[Any]"
    rejects: Rejects
    memory: Attachments | None
    tracer: Tracer | None
    names: Names

    def open_gate(self) -> None:
        """Answer which keys may connect."""

    def watch(self, zsocket: Any, endpoint: Any) -> None:  # noqa: ANN401 - generic in pyzmq
        """Wait for this socket too; `endpoint` is whose it is."""

    def forget(self, zsocket: Any) -> None:  # noqa: ANN401
        """Stop waiting for a socket."""

    def wake(self) -> None:
        """End a wait; from any thread."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a socket is for."""

    kind: int
    #: The role that it connects to; none: it is bound.
    server: Role | None
    #: Who may send what to a bound one, and what is accepted of anyone.
    roles: ByRole
    accept: Kinds
    #: Whether what is sent without a connection waits for one.
    queues: bool

    @property
    def binds(self) -> bool:
        """Whether others connect to it."""
        return self.server is None

    def connects_by_name(self, given: str) -> bool:
        """Return whether it connects to the address `given` by a name, which can come to stand for another host."""
        return not self.binds and name_in(given) != ""


def open_socket(owner: Owner, given: str, use: Use) -> Any:  # noqa: ANN401 - generic in pyzmq
    """Return a socket for the address `given`, with a fresh identity. Raises SpecError if it may not be used."""
    check_address(given)
    if use.binds and not owner.keys:
        check_exposure(given, insecure=owner.insecure)
    if use.binds and given.startswith("ipc://"):
        unix_sockets.check_free(given.removeprefix("ipc://"))
    made = owner.context.socket(use.kind)
    options = socket_options.options(use.kind, use.server, use.accept) | _security(owner, given, use)
    for option, value in options.items():
        made.setsockopt(option, value)
    if use.kind == zmq.DEALER:
        made.setsockopt(zmq.IDENTITY, uuid.uuid4().bytes)
    if not use.queues:
        made.setsockopt(zmq.IMMEDIATE, 1)
    return made


def open_monitor(made: Any, given: str, use: Use) -> Any:  # noqa: ANN401
    """Return a socket that tells of the connections of a socket, and of its handshakes."""
    events = zmq.EVENT_ACCEPTED
    if not use.binds:
        events = sum(socket_options.REFUSALS) | socket_options.LINKS
        if use.kind != zmq.PUSH:  # which reads this only when it pushes: each try to connect would fill the queue
            events |= zmq.EVENT_CONNECTED | (zmq.EVENT_CLOSED if use.connects_by_name(given) else 0)
    return made.get_monitor_socket(events, f"inproc://{uuid.uuid4().hex}")


def remove_file(given: str, use: Use) -> None:
    """Remove the file of a Unix socket that was bound: ZeroMQ leaves it behind."""
    if use.binds and given.startswith("ipc://"):
        Path(given.removeprefix("ipc://")).unlink(missing_ok=True)


def _security(owner: Owner, given: str, use: Use) -> dict[int, Any]:
    """Return the options of CURVE; what is bound asks for the roles that it accepts. Without keys, of retries."""
    keys = owner.keys
    if keys is None:
        return socket_options.retries(given)
    own: dict[int, Any] = {
        zmq.CURVE_PUBLICKEY: keys.own.public.encode(),
        zmq.CURVE_SECRETKEY: keys.own.secret.encode(),
    }
    if use.server is not None:
        return own | {zmq.CURVE_SERVERKEY: keys.server(use.server).encode()}
    owner.open_gate()
    # Enforced: without an answer from the gate no peer gets in; otherwise libzmq would admit all of them.
    return own | {zmq.CURVE_SERVER: 1, zmq.ZAP_DOMAIN: " ".join(use.roles).encode(), zmq.ZAP_ENFORCE_DOMAIN: 1}


def why_not(given: str, use: Use, error: zmq.ZMQError) -> SpecError:
    """Return what to raise where ZeroMQ can neither bind nor connect a socket."""
    verb, hint = ("bind to", "is free and yours") if use.binds else ("connect to", "can be reached from here")
    return SpecError(f"cannot {verb} {given!r}: {error}; give an address that {hint}")
