"""The connected sinks: one that is alone, or several with names; who joins, who is lost, and what they report.

Part of the leases core: no socket, no clock. What a sink that is alone says of missing tasks goes to the queues as it
is. What several sinks say is merged (`shared_stream.py`), and what failed is decided for all of them (`settling.py`).
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import (
    Destination,
    Drain,
    Intervals,
    Progress,
    SinkAddress,
    SinkHello,
    StreamNeed,
)
from penstock.protocol.records import MOST_SINKS
from penstock.ventilator.core.delivery import Delivery
from penstock.ventilator.core.observation import SinkObservation
from penstock.ventilator.core.poison import Poison
from penstock.ventilator.core.sink_link import SinkLink
from penstock.ventilator.core.sinks.places import Places
from penstock.ventilator.core.sinks.settling import Settling
from penstock.ventilator.core.sinks.shared_stream import SharedStream
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.work import Work
from penstock.ventilator.core.workers import Workers

#: Longest time (s) that reports of several sinks wait for those of others: deciding by many at once costs as much. And
#: for each of them, while workers have enough to do: each sink reports again once it is answered.
_REVIEW_S, _BUSY_S = 0.01, 0.002
#: Heartbeats for which nothing is decided after the first of several sinks has joined: others may know outcomes that an
#: earlier ventilator published.
_PATIENT_BEATS = 2.5


class Sinks:
    """All sinks, by name."""

    def __init__(
        self,
        queues: Mapping[str, StreamQueue],
        workers: Workers,
        intervals: Intervals,
        issuer: str,
        attempts: int,
        *,
        new_link: Callable[[str], SinkLink],
    ) -> None:
        """Start without sinks. `issuer`: this ventilator; `attempts`: failures after which no more are waited for."""
        self._queues, self._workers, self._intervals = queues, workers, intervals
        self._issuer, self._attempts, self._new_link = issuer, attempts, new_link
        self._places = Places(intervals)
        self._links: dict[str, SinkLink] = {"": new_link("")}
        self._by_peer: dict[bytes, SinkLink] = {}
        #: The names of the connected sinks; another object after each change, how many changes there were, and which
        #: starts of their processes these are.
        self._names: dict[bytes, str] = {}
        self.version = 0
        self._incarnations = frozenset[str]()
        #: The hosts of the sinks with workers on them, by their identity; none while that leaves no choice.
        self.hosts: dict[bytes, str] = {}
        #: What several sinks need, by stream; none while there is one that is alone.
        self._shared: dict[str, SharedStream] = {}
        #: Whether one of several sinks has gone since workers were told of the sinks: what waits for it may be dropped.
        self.fewer = False
        #: When outcomes may be decided.
        self._decides_at = 0.0
        #: Whether anything was reported since the last review, and by how many sinks; when that was.
        self._changed, self._reports, self._reviewed_at = False, 0, -math.inf
        #: Whether the next review looks at all results that are late.
        self._sweeps = False

    @property
    def first(self) -> SinkLink:
        """The sink that is alone, or the first of several by name."""
        connected = (self._links[name] for name in sorted(self._links) if self._links[name].peer)
        return next(connected, next(iter(self._links.values())))

    @property
    def alone(self) -> bytes | None:
        """The identity of the connected sink, if it is alone."""
        return None if self._shared else self.first.peer

    def link(self, peer: bytes) -> SinkLink | None:
        """Return the connected sink with this identity."""
        return self._by_peer.get(peer)

    def peers(self) -> dict[bytes, str]:
        """Return the connected sinks with what a story calls them."""
        return {
            peer: f"sink {link.name} and trainers" if link.name else "sink and trainers"
            for peer, link in self._by_peer.items()
        }

    def addresses(self) -> tuple[SinkAddress, ...]:
        """Return what workers must know of the connected sinks."""
        hellos = [link.hello for _, link in sorted(self._links.items()) if link.hello]
        return tuple(
            SinkAddress(name=hello.name, results=hello.results, incarnation=hello.incarnation, host=hello.host)
            for hello in hellos
        )

    def unknown_to(self, worker: Iterable[str]) -> bool:
        """Return whether a worker that pushes to the sinks of these incarnations does not know all sinks."""
        return not self._incarnations.issubset(worker)

    def join(self, peer: bytes, hello: SinkHello, now: float) -> tuple[list[Instruction], bool]:
        """Handle a sink's hello; return what is to be sent, and whether it is a sink that was not connected."""
        link = self._links.get(hello.name)
        if refusal := self.first.refuse(peer, hello):
            return refusal, False
        holders = [each for each in self._by_peer.values() if each.name == hello.name or not (each.name and hello.name)]
        if not self._places.is_free(hello, holders, now):
            return self._places.answer(peer, hello, holders, now), False
        out: list[Instruction] = [Send(peer, self.first.welcome())]
        if link is None and len(self._by_peer) >= MOST_SINKS:
            return _too_many(peer), False
        if known := self._by_peer.get(peer):
            if known.name == hello.name:
                return out, False
            out += self.lose(peer, "sink replaced", now)
        for holder in holders:
            if holder.peer and holder.hello:
                self._places.take(hello, holder.hello)
                out += self.lose(holder.peer, "sink replaced", now)
        if bool(hello.name) != bool(self._shared):
            self._change(shared=bool(hello.name), now=now)
            link = self._links.get(hello.name)
        if link is None:
            link = self._links[hello.name] = self._new_link(hello.name)
            self._forget_links()
        out += link.join(peer, hello, now)
        self._by_peer[peer] = link
        self._meet()
        return out, True

    def lose(self, peer: bytes, event: str, now: float) -> list[Instruction]:
        """Forget a sink's connection: until it is back, nothing is known to be needed by it."""
        link = self._by_peer.pop(peer)
        self._meet()
        link.lose()
        self.fewer |= bool(self._shared)
        for name, queue in self._queues.items():
            if name in self._shared:
                self._shared[name].lose(peer)
                self._shared[name].merge(self._workers.is_held, now)
                self._changed = True
            else:
                queue.need(None, self._workers.is_held, now)
        return [Note(event, {"sink": link.name} if link.name else {}, level="warning")]

    def progress(
        self, peer: bytes, message: Progress, delivery: Delivery, poison: Poison, now: float
    ) -> list[Instruction]:
        """Handle a sink's report."""
        link = self._by_peer[peer]
        needs = link.needs(message)
        if needs is None:
            return []
        if self._shared:
            self._changed, self._reports = True, self._reports + 1
            for name, stream in self._shared.items():
                stream.take(peer, needs.get(name), message.sequence)
            return []
        out: list[Instruction] = []
        for name, queue in self._queues.items():
            need = needs.get(name)
            out += _stopped(queue, need)
            out += delivery.arrived(queue.need(need, self._workers.is_held, now), now)
        return [*out, *poison.untold(peer)]

    def tick(self, poison: Poison, now: float, *, judging: bool) -> list[Instruction]:
        """Notice silence if it is `judging`; send heartbeats, and repeat what may have been lost."""
        out: list[Instruction] = []
        for peer, link in list(self._by_peer.items()):
            if judging and link.is_lost(now):
                out += self.lose(peer, "sink silent", now)
        self._changed = self._sweeps = True
        for peer, link in self._by_peer.items():
            if not (heartbeat := link.heartbeat(now)):
                continue
            out += heartbeat
            out += self._answers({peer}, again=True) if self._shared else poison.repeat(peer)
        return out

    def destinations(self, work: Work) -> tuple[Destination, ...]:
        """Return where the samples of a unit of work go; nothing: all to the only sink."""
        if not self._shared:
            return ()
        return self._shared[work.key.stream].destinations(work)

    def find_hosts(self, workers: Collection[str]) -> bool:
        """Find which sinks have workers on their hosts, given the workers' hosts; return whether that has changed."""
        choice = workers if self._shared and len(workers) > 1 else ()
        hellos = {peer: link.hello for peer, link in self._by_peer.items()}
        hosts = {peer: hello.host for peer, hello in hellos.items() if hello and hello.host in choice}
        if hosts == self.hosts:
            return False
        self.hosts = hosts
        self._meet()
        return True

    def observe(self) -> tuple[SinkObservation, ...]:
        """Return the state of the connected sinks, by name."""
        seen = (self._links[name].observe() for name in sorted(self._links))
        return tuple(each for each in seen if each)

    def links(self) -> Sequence[SinkLink]:
        """Return all sinks that are or were connected, by name."""
        return [self._links[name] for name in sorted(self._links)]

    def next_review(self) -> float:
        """Return when to call `review` at the latest, though nothing comes."""
        return self._reviewed_at + self._pause_s() if self._shared and self._changed else math.inf

    def _pause_s(self) -> float:
        """Return how long reports wait at most."""
        many = _BUSY_S * len(self._by_peer)
        return many if many > _REVIEW_S and any(queue.ready for queue in self._queues.values()) else _REVIEW_S

    def review(self, delivery: Delivery, now: float) -> list[Instruction]:
        """Decide by what several sinks have reported, once for all reports that have come; tell them what is new."""
        if not self._shared or not self._changed:
            return []
        pause_s = self._pause_s()
        if (pause_s > _REVIEW_S or 2 * self._reports < len(self._by_peer)) and now < self._reviewed_at + pause_s:
            return []
        sweep, self._sweeps = self._sweeps, False
        self._changed, self._reports, self._reviewed_at = False, 0, now
        out: list[Instruction] = []
        for stream in self._shared.values():
            if now >= self._decides_at:
                stream.settle()
            out += stream.settling.take_notes()
            stopped = stream.queue.stopped
            out += delivery.arrived(stream.merge(self._workers.is_held, now, sweep=sweep), now)
            if stream.queue.stopped and not stopped:
                fields = {"stream": stream.queue.plan.name, "reason": stream.queue.stopped}
                out.append(Note("stream stopped", fields, "error"))
        return [*out, *self._answers(self._by_peer)]

    def _answers(self, peers: Iterable[bytes], *, again: bool = False) -> list[Instruction]:
        return [
            Send(peer, answer)
            for peer in peers
            for stream in self._shared.values()
            if (answer := stream.answer(peer, again=again))
        ]

    def _change(self, *, shared: bool, now: float) -> None:
        """Go over to several sinks, or to one that is alone; none is connected."""
        self._links = {} if shared else {"": self._new_link("")}
        self._shared = {
            name: SharedStream(queue, Settling(queue.plan, self._issuer, self._attempts))
            for name, queue in (self._queues.items() if shared else ())
        }
        self._decides_at = now + _PATIENT_BEATS * self._intervals.heartbeat_s

    def _meet(self) -> None:
        """Tell the streams of the connected sinks."""
        self._names = {peer: link.name for peer, link in self._by_peer.items()}
        self._incarnations = frozenset(link.hello.incarnation for link in self._by_peer.values() if link.hello)
        self.hosts = {peer: host for peer, host in self.hosts.items() if peer in self._by_peer}
        self.version += 1
        for stream in self._shared.values():
            stream.meet(self._names, self.hosts)

    def _forget_links(self) -> None:
        """Keep no more than so many sinks, of those that are gone."""
        gone = [name for name, link in self._links.items() if link.peer is None]
        for name in gone[: max(0, len(self._links) - MOST_SINKS)]:
            del self._links[name]


def _too_many(peer: bytes) -> list[Instruction]:
    reason = f"there are {MOST_SINKS} sinks with other names already: give sinks that take each other's place one name"
    return [Send(peer, Drain(reason=reason)), Note("sink refused", {"reason": reason}, "error")]


def _stopped(queue: StreamQueue, need: StreamNeed | None) -> list[Instruction]:
    if need is None or not need.stopped or queue.stopped:
        return []
    return [Note("stream stopped", {"stream": queue.plan.name, "reason": need.stopped}, "error")]
