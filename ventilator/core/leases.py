"""The ventilator's core: which worker holds which unit of work, which peers fell silent, and what is leased next.

Theory of operation. The sink says, absolutely, which tasks it misses (`Progress`); each missing task is a unit of work
(`stream_queue.py`) that is ready, leased or given up. Workers say how many tasks they want to hold; `dispatch` leases
the ready work of the lowest position to workers with a free slot. A lease ends when the worker says `Finished`, when
its heartbeats no longer list it, or when the worker is lost; a unit of work ends only when the sink has its samples.
So a lost message or a dead peer costs at most a repetition, and repetitions are harmless.

A worker runs its leases in the order it got them, so the oldest is the one that runs: only that one is charged when
the worker dies (`poison.py`), and its items run alone from then on (`item_deaths.py`, `suspects.py`). A worker whose
oldest lease holds up the stream is not waited for any longer (`hedging.py`), nor is a result that does not arrive
(`delivery.py`). No socket, no clock, no thread: messages and `now` in, instructions out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.event_log import EventLog
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.lease_proofs import LeaseProver
from penstock.protocol.messages import (
    AnyMessage,
    Drain,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    LeaseKey,
    ListPaths,
    Progress,
    Reset,
    SinkHello,
    StoryPart,
    TaskKey,
    WorkerWelcome,
)
from penstock.protocol.stats import LEDGER_KEPT, few
from penstock.ventilator.core.delivery import Delivery
from penstock.ventilator.core.dispatch import LEASED_BY_DEFAULT, Dispatcher
from penstock.ventilator.core.hedging import Hedging
from penstock.ventilator.core.hosts.homes import Homes
from penstock.ventilator.core.lease_ends import LeaseEnds
from penstock.ventilator.core.observation import LeasesObservation
from penstock.ventilator.core.poison import Poison
from penstock.ventilator.core.queue_observation import observe
from penstock.ventilator.core.second_words import SecondWords
from penstock.ventilator.core.sink_link import SinkLink
from penstock.ventilator.core.sinks.links import Sinks
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.suspects import Suspects
from penstock.ventilator.core.work import WorkSource
from penstock.ventilator.core.worker import Worker
from penstock.ventilator.core.workers import Workers

#: Missed heartbeats after which a worker gets nothing new: if it is dead, new work would be charged with its death.
_QUIET_BEATS = 2.0
#: What workers hear: nothing but that the ventilator is there.
_BEAT = Heartbeat()


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """When to give up on a lease."""

    #: Workers that may die running one item before it is quarantined (`item_deaths.py` says which losses count).
    attempts: int = 3
    #: Seconds that a sent result may stay unconfirmed before its task is leased again.
    confirm_s: float = 10.0
    #: Least seconds without a finished task before a worker that holds up the stream is hedged.
    hedge_s: float = 2.0
    #: Hedge only what is this many times older than a typical task.
    hedge_factor: float = 4.0
    #: Seconds for which another worker is waited for that could confirm a failure, before the same one may.
    second_word_s: float = 20.0


class Leases:
    """State machine of the ventilator; see the module's text."""

    def __init__(  # noqa: PLR0913 - what a ventilator is made of
        self,
        source: WorkSource,
        roots: Mapping[str, str],
        intervals: Intervals,
        version: str,
        lease_key: LeaseKey,
        policy: LeasePolicy | None = None,
        *,
        term: int = 0,
    ) -> None:
        """Start without peers and without missing tasks; leases are proved with `lease_key`.

        `term`: which of several ventilators this is that act one after the other (`protocol/runtime/following.py`).
        """
        self.plans = tuple(source.plans)
        self.policy = policy or LeasePolicy()
        #: The last events, for `story`.
        self.log = EventLog()
        homes = Homes()
        self.queues = {
            plan.name: StreamQueue(plan, source.task, self.log, self.policy.attempts, homes) for plan in self.plans
        }
        self.workers = Workers()

        def new_link(name: str) -> SinkLink:
            return SinkLink(self.plans, intervals, version, lease_key, source.paths, name, term=term)

        self.sinks = Sinks(
            self.queues, self.workers, intervals, lease_key.issuer, self.policy.attempts, new_link=new_link
        )
        second_words = SecondWords(self.workers, self.policy.second_word_s)
        suspects = Suspects(self.workers, second_words, self.policy.hedge_s)
        prover = LeaseProver(lease_key)
        dispatched = self.queues, self.workers, self.sinks
        self._dispatcher = Dispatcher(*dispatched, suspects, prover, second_words, log=self.log)
        self._delivery = Delivery(self.workers, self.policy.confirm_s)
        self._hedging = Hedging(self.workers, self.policy.hedge_s, self.policy.hedge_factor, self.log)
        self._poison = Poison(self.queues, self.workers)
        self._ends = LeaseEnds(self.queues, self.workers, self._delivery, self._poison, self.log)
        self._roots = dict(roots)
        self._intervals = intervals
        self._version, self._term = version, term

    def receive(self, peer: bytes, message: AnyMessage, now: float) -> list[Instruction]:
        """Handle a message. Raises RemoteProtocolError if this peer may not send it."""
        known = self.workers.get(peer)
        sink = None if known else self.sinks.link(peer)
        link = known.live if known else sink.live if sink else None
        if link:
            link.heard_at = now
        if known and known.quiet:
            known.quiet = False
            self.workers.offer(peer)
        match message:
            case Hello():
                return self._join(peer, message, now)
            case SinkHello():
                return self._join_sink(peer, message, now)
            case Goodbye() if link is None:
                return []
            case _ if link is None:
                return [Send(peer, Reset())]
            case Finished() if known:
                self._ends.finish(peer, message.done, now)
                return []
            case Heartbeat():
                return self._beat(peer, known, sink, message, now)
            case Goodbye() if known:
                return self._ends.remove(peer, "worker left", None, self.sinks.alone, now)
            case ListPaths() if sink:
                return sink.paths(peer, message)
            case Progress() if sink:
                return self.sinks.progress(peer, message, self._delivery, self._poison, now)
            case Goodbye():
                return self.sinks.lose(peer, "sink left", now)
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} from this kind of peer")

    def gone(self, peer: bytes, now: float) -> list[Instruction]:
        """Handle a peer that the transport cannot reach any more."""
        if worker := self.workers.get(peer):
            running = worker.running
            innocent = running and worker.held[running] == now  # it could not be sent: the worker was dead already
            charged = None if innocent else running
            # After a silence, the worker itself may have closed the connection: its line failed, and it lives.
            died = not worker.quiet
            return self._ends.remove(peer, "worker unreachable", charged, self.sinks.alone, now, closed=died)
        if self.sinks.link(peer):
            return self.sinks.lose(peer, "sink unreachable", now)
        return []

    def tick(self, now: float, *, judging: bool = True) -> list[Instruction]:
        """Notice silence, repeat what must be repeated, hedge.

        Call it at `next_timer` or more often. Only while `judging` it is known what peers have sent: else they look
        silent, and results look lost, whose messages merely wait to be read (`protocol/heartbeat.py`).
        """
        out: list[Instruction] = []
        for peer, worker in self.workers.pairs():
            if peer not in self.workers:  # it was reset because of another worker's loss
                continue
            if judging and worker.live.lost(now):
                out += self._ends.remove(peer, "worker silent", worker.running, self.sinks.alone, now)
            elif worker.live.due(now):
                worker.live.spoke_at = now
                out.append(Send(peer, _BEAT))
                quiet = now - worker.live.heard_at > _QUIET_BEATS * self._intervals.heartbeat_s
                worker.quiet = quiet and (judging or worker.quiet)
                self.workers.offer(peer)
        out += self.sinks.tick(self._poison, now, judging=judging)
        out += self._tell_of_sinks() if self.sinks.fewer else []
        for queue in self.queues.values() if judging else ():
            out += self._ends.requeue_unconfirmed(queue, now)
            out += self._hedging.hedge(queue, self.queues, now)
        self._delivery.review(now)
        return out

    def next_timer(self, now: float) -> float:
        """Return when to call `tick` next."""
        return now + self._intervals.heartbeat_s / 4

    def dispatch(self, now: float, most: int = LEASED_BY_DEFAULT) -> list[Instruction]:
        """Lease ready work to free slots, lowest position first; call it after handling all messages that have come."""
        return [*self.review(now), *self._dispatcher.dispatch(now, most)]

    def next_dispatch(self) -> float:
        """Return when to call `dispatch` again at the latest, though no message comes."""
        return 0.0 if self._dispatcher.more else self.sinks.next_review()

    def review(self, now: float) -> list[Instruction]:
        """Decide by what several sinks have reported."""
        return self.sinks.review(self._delivery, now)

    def observe(self, now: float) -> LeasesObservation:
        """Return what the status, the metrics and the dashboard show of this core."""
        return LeasesObservation(
            now=now,
            workers=tuple(worker.observe(peer) for peer, worker in self.workers.items()),
            streams=tuple(observe(queue, self.workers.is_held) for queue in self.queues.values()),
            sinks=self.sinks.observe(),
            lost=few(self._ends.lost),
            ledger=self.sinks.first.report.newest(LEDGER_KEPT),
        )

    def story(self, key: TaskKey, now: float) -> StoryPart:
        """Return what happened to a task here lately, oldest first; to one item of it if the key names one."""
        return StoryPart(service="ventilator", events=self.log.story(key, now))

    def peers(self) -> dict[bytes, str]:
        """Return the workers and the sink with what a story calls them."""
        named = {peer: f"worker {worker.hello.worker}" for peer, worker in self.workers.items()}
        return named | self.sinks.peers()

    def _join(self, peer: bytes, hello: Hello, now: float) -> list[Instruction]:
        if hello.version != self._version:
            reason = f"this worker runs Penstock {hello.version}, the ventilator {self._version}: install the same"
            return [Send(peer, Drain(reason=reason)), Note("worker refused", {"reason": reason}, "error")]
        if peer in self.workers:
            return [Send(peer, self._welcome())]
        out: list[Instruction] = []
        for old in self.workers.incarnations(hello.incarnation):
            out += self._ends.remove(old, "worker came back", None, self.sinks.alone, now)
        out += self._poison.refund(hello.incarnation)
        self.workers.add(peer, hello, Liveness(self._intervals, now, now))
        return [
            *out,
            Send(peer, self._welcome()),
            Note("worker joined", {"worker": hello.worker, "slots": hello.slots}),
        ]

    def _welcome(self) -> WorkerWelcome:
        return WorkerWelcome(
            streams=self.plans,
            roots=self._roots,
            sinks=self.sinks.addresses(),
            intervals=self._intervals,
            term=self._term,
        )

    def _join_sink(self, peer: bytes, hello: SinkHello, now: float) -> list[Instruction]:
        out, fresh = self.sinks.join(peer, hello, now)
        if not fresh:
            return out
        self._delivery.forgive()
        return [*out, *self._tell_of_sinks()]

    def _tell_of_sinks(self) -> list[Instruction]:
        self.sinks.fewer = False
        return [Send(worker, self._welcome()) for worker in self.workers]

    def _beat(
        self, peer: bytes, worker: Worker | None, sink: SinkLink | None, beat: Heartbeat, now: float
    ) -> list[Instruction]:
        """Handle a heartbeat of a worker or of a sink.

        A worker that does not push to all connected sinks is welcomed again: that welcome was lost.
        """
        if sink and beat.sink_stats:
            sink.report.take(beat.sink_stats, now)
        if worker is None:
            return []
        if beat.worker_stats:
            worker.stats, worker.stats_at = beat.worker_stats, now
        out = self._ends.reconcile(peer, beat.running or (), self._intervals.silence_s, now)
        if self.sinks.unknown_to(beat.sinks):
            out.append(Send(peer, self._welcome()))
        return [*out, *self._ends.block(peer, beat.blocked, now)]

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        for queue in self.queues.values():
            queue.validate()
            for key, work in queue.works.items():
                leased = self.workers.is_held(key)
                assert work.ready or leased or work.finished_at is not None or work.failure, f"{key} is lost"  # noqa: S101
        self.workers.validate()
