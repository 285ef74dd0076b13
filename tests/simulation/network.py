"""A simulated clock, and a network that delays, loses, doubles, reorders and cuts; of Penstock it knows only `wire`.

Two kinds of link, as in ZeroMQ: a dealer asks a bound endpoint under an identity; the endpoint answers identities. An
answer to an identity that is not open any more vanishes; sometimes its sender is told (ROUTER_MANDATORY).
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Protocol

from penstock.protocol import wire
from penstock.protocol.messages import AnyMessage
from penstock.protocol.wire import Array

_ALL_KINDS = wire.kinds(*AnyMessage.__args__)


class Clock:
    """Simulated time and what will happen."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.now = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Let `action` happen at `when` (s), after all that was asked for at that time before."""
        self._count += 1
        heapq.heappush(self._heap, (max(self.now, when), self._count, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Let `action` happen `delay_s` seconds from now."""
        self.at(self.now + delay_s, action)

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, action = heapq.heappop(self._heap)
        self.steps += 1
        action()


@dataclass(slots=True)
class Weather:
    """How hostile the network is; probabilities are per message."""

    #: Mean delay of a message (s), exponentially distributed.
    delay_s: float = 0.002
    loss: float = 0.0
    duplication: float = 0.0
    #: Messages that may overtake earlier ones of their link.
    reordering: float = 0.0
    #: Chance that who sends to a peer that is gone is told so.
    noticed: float = 0.5
    #: Chance that a message in flight dies with its sender, or with the identity that it was sent under.
    dies: float = 0.5


class Node(Protocol):
    """What the network needs to know of a process."""

    name: str
    alive: bool
    generation: int
    paused_until: float

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Take a message in, at the endpoint or from the link called `link`."""


@dataclass(slots=True)
class Cut:
    """A direction in which nothing passes until `until`; held back messages arrive then, the others never."""

    until: float
    holds: bool


class Network:
    """All links between the processes."""

    def __init__(self, clock: Clock, rng: random.Random, weather: Weather, *, encoded: bool) -> None:
        """Begin with nothing bound and no peer connected; `encoded`: every message goes through its bytes."""
        self.clock, self.weather, self.encoded = clock, weather, encoded
        self.cuts: dict[tuple[str, str], Cut] = {}
        #: Whose messages, to and from, are always lost.
        self.unreached: frozenset[str] = frozenset()
        #: Messages by sender, kind and whole second.
        self.sent: Counter[tuple[str, str, int]] = Counter()
        self.trace: Callable[[str], None] | None = None
        self._rng = rng
        self._bound: dict[str, Node] = {}
        #: Whose endpoints these are, or were last.
        self._owners: dict[str, str] = {}
        self._open: dict[bytes, tuple[Node, str]] = {}
        self._arrivals: dict[tuple[bytes, str, bool], float] = {}
        self._parked: dict[str, list[Callable[[], None]]] = {}
        self._identities = 0

    def bind(self, endpoint: str, node: Node) -> None:
        """Let `node` be reached at `endpoint`; what waited for it arrives."""
        self._bound[endpoint] = node
        self._owners[endpoint] = node.name
        for arrive in self._parked.pop(endpoint, []):
            self.clock.after(self._delay(), arrive)

    def connect(self, node: Node, link: str) -> bytes:
        """Return a fresh identity of `node` for its link called `link`."""
        self._identities += 1
        identity = f"{node.name}.{link}.{self._identities}".encode()
        self._open[identity] = (node, link)
        return identity

    def disconnect(self, identity: bytes) -> None:
        """Close an identity."""
        self._open.pop(identity, None)

    def is_open(self, identity: bytes) -> bool:
        """Return whether an identity is in use."""
        return identity in self._open

    def vanish(self, node: Node) -> None:
        """Close everything that `node` had."""
        self._bound = {endpoint: owner for endpoint, owner in self._bound.items() if owner is not node}
        self._open = {identity: owner for identity, owner in self._open.items() if owner[0] is not node}

    def ask(
        self, node: Node, identity: bytes, endpoint: str, message: AnyMessage, arrays: Sequence[Array] = ()
    ) -> None:
        """Send from a dealer (or a pusher) to an endpoint."""
        generation = node.generation

        def arrive(message: AnyMessage, arrays: Sequence[Array]) -> None:
            dead = not node.alive or node.generation != generation or identity not in self._open
            if dead and self._rng.random() < self.weather.dies:
                return
            receiver = self._bound.get(endpoint)
            if receiver is not None:
                self._hand_over(receiver, endpoint, identity, message, arrays)
            elif not dead and self._rng.random() >= self.weather.dies:
                self._parked.setdefault(endpoint, []).append(lambda: arrive(message, arrays))

        target = self._owners.get(endpoint, endpoint)
        self._carry(node, target, (identity, endpoint, True), message, arrays, arrive)

    def answer(self, node: Node, identity: bytes, message: AnyMessage, arrays: Sequence[Array] = ()) -> bool:
        """Send from an endpoint to an identity; return False if that is known to be gone."""
        if identity not in self._open:
            return self._rng.random() >= self.weather.noticed

        def arrive(message: AnyMessage, arrays: Sequence[Array]) -> None:
            if owner := self._open.get(identity):
                self._hand_over(owner[0], owner[1], identity, message, arrays)

        self._carry(node, self._open[identity][0].name, (identity, node.name, False), message, arrays, arrive)
        return True

    def _hand_over(self, node: Node, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        if node.paused_until > self.clock.now:  # stopped: its kernel holds the message until it goes on
            generation, own = node.generation, self._open.get(peer, (None,))[0] is node

            def resume() -> None:
                if own and peer not in self._open:  # it has opened that link again: what waited at the old one is gone
                    return
                if node.alive and node.generation == generation:
                    self._hand_over(node, link, peer, message, arrays)

            self.clock.at(node.paused_until, resume)
            return
        if self.trace:
            self.trace(f"  {peer.decode()} → {node.name}/{link}: {message!r}"[:300])
        node.receive(link, peer, message, arrays)

    def _carry(
        self,
        node: Node,
        target: str,
        link: tuple[bytes, str, bool],
        message: AnyMessage,
        arrays: Sequence[Array],
        arrive: Callable[[AnyMessage, Sequence[Array]], None],
    ) -> None:
        self.sent[node.name, type(message).__name__, int(self.clock.now)] += 1
        if self.trace:
            self.trace(f"{node.name} sends to {target} by {link[0].decode()}: {message!r}"[:300])
        start = self.clock.now
        if node.name in self.unreached or target in self.unreached:
            return
        cut = self.cuts.get((node.name, target))
        if cut and start < cut.until:
            if not cut.holds:
                return
            start = cut.until
        frames = wire.encode(message, arrays) if self.encoded else None

        def deliver() -> None:
            if frames is None:
                arrive(message, arrays)
            else:
                arrive(*wire.decode(frames, _ALL_KINDS))

        copies = 1
        if self._rng.random() < self.weather.loss:
            copies = 0
        elif self._rng.random() < self.weather.duplication:
            copies = 2
        for _ in range(copies):
            when = start + self._delay()
            if self._rng.random() >= self.weather.reordering:
                when = max(when, self._arrivals.get(link, 0.0))
                self._arrivals[link] = when
            else:
                when += 20 * self._delay()
            self.clock.at(when, deliver)

    def _delay(self) -> float:
        return -log(1.0 - self._rng.random()) * self.weather.delay_s
