"""The hub of a process's ZeroMQ sockets: makes endpoints, waits for all of them, and admits keys.

Only `protocol/transport` imports ZeroMQ; the rest of Penstock sees messages and peers. A socket belongs to the thread
that made it; only `Hub.wake` may be called from other threads.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import zmq

from penstock.protocol.transport.endpoint import DRAIN, Endpoint, Peer, Received
from penstock.protocol.transport.gate import Gate
from penstock.protocol.transport.keys import KeyRing, Role
from penstock.protocol.transport.links.names import Names
from penstock.protocol.transport.links.opening import ByRole
from penstock.protocol.transport.open_files import check_room
from penstock.protocol.transport.rejects import Log, Rejects
from penstock.protocol.transport.shared_memory import Attachments
from penstock.protocol.transport.tracer import Tracer
from penstock.protocol.transport.waker import Waker
from penstock.protocol.wire import Kinds


class Hub:
    """A context, its endpoints and one place to wait for all of them."""

    def __init__(self, log: Log, keys: KeyRing | None = None, *, insecure: bool = False) -> None:
        """Open nothing yet. With `keys` every socket is encrypted, and bound ones know their peers.

        `insecure`: bind without keys also where other hosts can connect.
        """
        check_room()
        self.keys, self.insecure, self._log = keys, insecure, log
        self._gate: Gate | None = None
        self.context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4096)
        self.rejects = Rejects(log)
        #: Where messages may refer to memory that peers share; none: they may not.
        self.memory: Attachments | None = None
        #: Told of every message, where a trace is recorded.
        self.tracer: Tracer | None = None
        #: Looks up what names in addresses stand for.
        self.names = Names()
        self._endpoints: dict[Any, Endpoint] = {}
        self._poller = zmq.Poller()
        self._waker = Waker()
        self._poller.register(self._waker.woken, zmq.POLLIN)

    def router(self, address: str, accept: ByRole) -> Endpoint:
        """Bind a ROUTER: many peers, each with an identity."""
        return Endpoint(self, zmq.ROUTER, address, accept)

    def dealer(self, address: str, accept: Kinds, server: Role, *, queues: bool = True) -> Endpoint:
        """Connect a DEALER to the ROUTER of a `server`, which must prove to be that.

        Without `queues`, what is sent while there is no connection is dropped.
        """
        return Endpoint(self, zmq.DEALER, address, accept, server, queues=queues)

    def pull(self, address: str, accept: ByRole) -> Endpoint:
        """Bind a PULL: takes what many workers push."""
        return Endpoint(self, zmq.PULL, address, accept)

    def pusher(self, address: str, server: Role) -> Endpoint:
        """Connect a PUSH to the PULL of a `server`, which must prove to be that; use it in one thread only."""
        return Endpoint(self, zmq.PUSH, address, frozenset(), server)

    def open_gate(self) -> None:
        """Answer in `wait` which keys may connect; called before the first guarded socket is bound."""
        if self._gate is None and self.keys is not None:
            self._gate = Gate(self.context, self.keys, self.rejects)
            self._poller.register(self._gate.socket, zmq.POLLIN)

    def watch(self, zsocket: Any, endpoint: Endpoint) -> None:  # noqa: ANN401 - generic in pyzmq
        """Wait for this socket too."""
        self._endpoints[zsocket] = endpoint
        self._poller.register(zsocket, zmq.POLLIN)

    def forget(self, zsocket: Any) -> None:  # noqa: ANN401
        """Stop waiting for a socket."""
        if self._endpoints.pop(zsocket, None):
            self._poller.unregister(zsocket)

    def wait(self, seconds: float) -> list[Endpoint]:
        """Wait until an endpoint has something, `wake` is called or `seconds` are over; return the ready endpoints."""
        ready = self._poll(time.monotonic() + seconds)
        if self._waker.woken.fileno() in ready or self._waker.woken in ready:
            self._waker.clear()
        if self.keys and self._gate is not None:
            for problem in self.keys.refresh(time.monotonic()):
                self._log.error("keys", problem=problem)
            if self._gate.socket in ready:
                self._gate.answer()
        found = dict.fromkeys(self._endpoints[entry] for entry in ready if entry in self._endpoints)
        for endpoint in found:
            endpoint.heed_monitor()
        return list(found)

    def rest(self, seconds: float) -> None:
        """Let messages gather for so long; `wake`, or a signal that is handled here, ends it."""
        self._waker.wait(seconds)

    def _poll(self, deadline: float) -> list[Any]:
        """Return what is ready before the deadline; connections are swept meanwhile."""
        while True:
            now = time.monotonic()
            pauses = [pause for endpoint in set(self._endpoints.values()) if (pause := endpoint.sweep(now))]
            left = min([deadline - now, *pauses])
            ready = self._poller.poll(max(0, math.ceil(left * 1000)))  # rounded down, the last millisecond would spin
            if ready or time.monotonic() >= deadline:
                return [entry for entry, _ in ready]

    def wake(self) -> None:
        """Make `wait` return; callable from any thread and from a signal handler."""
        self._waker.wake()

    def handle_signals(self, stop: Callable[[], None]) -> None:
        """Call `stop` at the first SIGTERM or SIGINT; exit at once at the second. Main thread only."""
        self._waker.handle_signals(stop)

    def close(self) -> None:
        """Close every endpoint and the context."""
        for endpoint in dict.fromkeys(self._endpoints.values()):
            endpoint.close()
        if self._gate is not None:
            self._gate.close()
        self.context.term()
        if self.tracer:
            self.tracer.close()
        self._waker.close()


def new_key_pair() -> tuple[str, str]:
    """Return a fresh public and secret key, as Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


__all__ = ["DRAIN", "ByRole", "Endpoint", "Hub", "Kinds", "Peer", "Received", "new_key_pair"]
