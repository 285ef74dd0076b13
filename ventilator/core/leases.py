"""The ventilator's core: who holds which unit of work, who fell silent, who gets what next.

Theory of operation. The sink says, absolutely, which tasks it misses (`Progress`); each missing task is a unit of work
(`stream_queue.py`) that is ready, leased or given up. Workers say how many tasks they want to hold; `dispatch` leases
the ready work of the lowest position to workers with a free slot. A lease ends when the worker says `Finished`, when
its heartbeats no longer list it, or when the worker is lost; a unit of work ends only when the sink has its samples.
So a lost message or a dead peer costs at most a repetition, and repetitions are harmless.

A worker runs its leases in the order it got them, so the oldest is the one that runs: only that one is charged when
the worker dies (`poison.py`), and what was charged runs alone from then on (`suspects.py`). A worker whose oldest
lease holds up the stream is not waited for any longer (`hedging.py`), nor is a result that does not arrive
(`delivery.py`). No socket, no clock, no thread: messages and `now` in, instructions out.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import (
    AnyMessage,
    Done,
    Drain,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    ListPaths,
    Paths,
    Progress,
    Reset,
    SinkHello,
    SinkWelcome,
    Task,
    TaskKey,
    Tasks,
    WorkerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.delivery import Delivery
from penstock.ventilator.core.hedging import Hedging
from penstock.ventilator.core.poison import Poison
from penstock.ventilator.core.sink_report import SinkReport
from penstock.ventilator.core.stream_queue import MakeTask, StreamQueue, Work
from penstock.ventilator.core.suspects import Suspects
from penstock.ventilator.core.workers import Worker, Workers

#: Tasks of one stream that a sink may miss at once; more would stop this service from answering anybody else.
MAX_MISSING = 2**22
#: Heartbeats without a word after which a worker gets nothing new: dead, it would be charged for what it got.
_QUIET_BEATS = 2.0


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """When to give up on a lease."""

    #: Workers that may die running one item before it is quarantined.
    attempts: int = 3
    #: Seconds that a sent result may stay unconfirmed before its task is leased again.
    confirm_s: float = 10.0
    #: Least seconds without a finished task before a worker that holds up the stream is hedged.
    hedge_s: float = 2.0
    #: Hedge only what is this many times older than a typical task.
    hedge_factor: float = 4.0


@dataclass(slots=True)
class _Sink:
    peer: bytes
    hello: SinkHello
    live: Liveness
    sequence: int = -1


class Leases:
    """State machine of the ventilator; see the module's text."""

    def __init__(
        self,
        plans: Iterable[StreamPlan],
        make_task: MakeTask,
        roots: Mapping[str, str],
        intervals: Intervals,
        version: str,
        policy: LeasePolicy | None = None,
    ) -> None:
        """Start with no peers and nothing to do."""
        self.plans = tuple(plans)
        self.queues = {plan.name: StreamQueue(plan, make_task) for plan in self.plans}
        self.policy = policy or LeasePolicy()
        self.workers = Workers()
        self.sink: _Sink | None = None
        #: What the sink says of itself, and how many workers went, by how.
        self.sink_report = SinkReport()
        self.lost: Counter[str] = Counter()
        self._suspects = Suspects(self.workers, self.policy.hedge_s)
        self._delivery = Delivery(self.workers, self.policy.confirm_s)
        self._hedging = Hedging(self.workers, self.policy.hedge_s, self.policy.hedge_factor)
        self._poison = Poison(self.queues, self.policy.attempts)
        #: What the items of a stream are called, from one on; a sink that writes a file asks.
        self.paths: Callable[[str, int], Paths] | None = None
        self._roots = dict(roots)
        self._intervals = intervals
        self._version = version

    def receive(self, peer: bytes, message: AnyMessage, now: float) -> list[Instruction]:
        """Take one message in. Raises RemoteProtocolError if this peer may not send it."""
        known = self.workers.get(peer)
        link = known.live if known else self.sink.live if self.sink and self.sink.peer == peer else None
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
                for done in message.done:
                    self._finish(peer, done, now)
                return []
            case Heartbeat():
                return self._beat(peer, known, message, now)
            case Goodbye() if known:
                return self._remove(peer, "worker left", None)
            case ListPaths() if not known and self.paths:
                return [Send(peer, self.paths(message.stream, message.start))]
            case Progress() if not known:
                return self._progress(message, now)
            case Goodbye():
                return self._lose_sink("sink left", now)
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} from this kind of peer")

    def gone(self, peer: bytes, now: float) -> list[Instruction]:
        """Take in that the transport cannot reach a peer any more."""
        if worker := self.workers.get(peer):
            running = worker.running
            innocent = running and worker.held[running] == now  # it could not be sent: the worker was dead already
            return self._remove(peer, "worker unreachable", None if innocent else running)
        if self.sink and self.sink.peer == peer:
            return self._lose_sink("sink unreachable", now)
        return []

    def tick(self, now: float) -> list[Instruction]:
        """Notice silence, repeat what must be repeated, hedge.

        Call it at `next_timer` or more often, once all that came was taken in: after a pause (a suspended machine)
        everybody looks silent who is only waiting to be heard.
        """
        out: list[Instruction] = []
        for peer, worker in self.workers.pairs():
            if worker.live.lost(now):
                out += self._remove(peer, "worker silent", worker.running)
            elif worker.live.due(now):
                worker.live.spoke_at = now
                out.append(Send(peer, Heartbeat()))
                worker.quiet = now - worker.live.heard_at > _QUIET_BEATS * self._intervals.heartbeat_s
                self.workers.offer(peer)
        if self.sink and self.sink.live.lost(now):
            out += self._lose_sink("sink silent", now)
        if self.sink and self.sink.live.due(now):
            self.sink.live.spoke_at = now
            out.append(Send(self.sink.peer, Heartbeat(ledger=self.sink_report.lines)))
            out += self._poison.repeat(self.sink.peer)
        for queue in self.queues.values():
            out += self._requeue_unconfirmed(queue, now)
            out += self._hedging.hedge(queue, self.queues, now)
        self._delivery.review(now)
        return out

    def next_timer(self, now: float) -> float:
        """Return when to call `tick` next."""
        return now + self._intervals.heartbeat_s / 4

    def dispatch(self, now: float) -> list[Instruction]:
        """Lease ready work to free slots, lowest position first; one message a worker."""
        outgoing: dict[bytes, list[Task]] = {}
        for reserved, queue, work in self._suspects.lease(self.queues.values(), now):
            outgoing.setdefault(reserved, []).append(queue.task(work))
        refused: list[tuple[StreamQueue, Work]] = []
        while self.workers.free and (choice := self._next_work()):
            queue, work = choice
            peer = self.workers.lease(work.key, now)
            if peer is None:
                refused.append(choice)
            else:
                outgoing.setdefault(peer, []).append(queue.task(work))
        for queue, work in refused:
            queue.push(work)
        return [Send(peer, Tasks.model_construct(tasks=tuple(tasks))) for peer, tasks in outgoing.items()]

    def _next_work(self) -> tuple[StreamQueue, Work] | None:
        if len(self.queues) == 1:
            [queue] = self.queues.values()
        else:
            leads = [(lead, name) for name, queue in self.queues.items() if (lead := queue.lead()) is not None]
            if not leads:
                return None
            queue = self.queues[min(leads)[1]]
        work = queue.pop()
        return (queue, work) if work else None

    def _join(self, peer: bytes, hello: Hello, now: float) -> list[Instruction]:
        if hello.version != self._version:
            reason = f"this worker runs Penstock {hello.version}, the ventilator {self._version}: install the same"
            return [Send(peer, Drain(reason=reason)), Note("worker refused", {"reason": reason}, "error")]
        if peer in self.workers:
            return [Send(peer, self._welcome())]
        out: list[Instruction] = []
        for old in self.workers.incarnations(hello.incarnation):
            out += self._remove(old, "worker came back", None)
        self._poison.refund(hello.incarnation)
        self.workers.add(peer, hello, Liveness(self._intervals, now, now))
        return [
            *out,
            Send(peer, self._welcome()),
            Note("worker joined", {"worker": hello.worker, "slots": hello.slots}),
        ]

    def _welcome(self) -> WorkerWelcome:
        hello = self.sink.hello if self.sink else None
        return WorkerWelcome(
            streams=self.plans,
            roots=self._roots,
            sink=hello.results if hello else "",
            incarnation=hello.incarnation if hello else "",
            intervals=self._intervals,
        )

    def _join_sink(self, peer: bytes, hello: SinkHello, now: float) -> list[Instruction]:
        if hello.version != self._version:
            reason = f"this sink runs Penstock {hello.version}, the ventilator {self._version}: install the same"
            return [Send(peer, Drain(reason=reason)), Note("sink refused", {"reason": reason}, "error")]
        out: list[Instruction] = [Send(peer, SinkWelcome(streams=self.plans, intervals=self._intervals))]
        if self.sink and self.sink.peer == peer:
            return out
        if self.sink:
            out += self._lose_sink("sink replaced", now)
        self.sink = _Sink(peer, hello, Liveness(self._intervals, now, now))
        self._delivery.forgive()
        self.sink_report.meet(hello.incarnation)
        out.append(Note("sink joined", {"results": hello.results}))
        return [*out, *(Send(worker, self._welcome()) for worker in self.workers)]

    def _lose_sink(self, event: str, now: float) -> list[Instruction]:
        self.sink = None
        for queue in self.queues.values():  # until the next one says what it misses, nothing is known to be needed
            queue.need(None, self.workers.is_held, now)
        return [Note(event, level="warning")]

    def _progress(self, message: Progress, now: float) -> list[Instruction]:
        assert self.sink is not None  # noqa: S101 - receive() has found this peer to be the sink
        if message.sequence <= self.sink.sequence:
            return []
        for claim in message.needs:
            if not ranges.is_normal(claim.missing) or ranges.size(claim.missing) > MAX_MISSING:
                raise RemoteProtocolError("progress", f"{claim.stream}: no list of at most {MAX_MISSING} tasks")
        self.sink.sequence = message.sequence
        needs = {need.stream: need for need in message.needs}
        out: list[Instruction] = []
        for name, queue in self.queues.items():
            need = needs.get(name)
            if need and need.stopped and not queue.stopped:
                out.append(Note("stream stopped", {"stream": name, "reason": need.stopped}, "error"))
            out += self._delivery.arrived(queue.need(need, self.workers.is_held, now), now)
        return [*out, *self._poison.untold(self.sink.peer)]

    def _finish(self, peer: bytes, done: Done, now: float) -> None:
        leased_at = self.workers.end(peer, done.key, now)
        if leased_at is None:
            return
        if queue := self.queues.get(done.key.stream):
            queue.took(done.timings)
            work = queue.works.get(done.key)
            if work and leased_at < work.since:  # it came, and was dropped before it was wanted again
                self._again(done.key)
            elif work:
                self._delivery.sent(peer, work, now)
                work.ready = False

    def _beat(self, peer: bytes, worker: Worker | None, beat: Heartbeat, now: float) -> list[Instruction]:
        """Take in what a worker, or the sink, says of itself."""
        if worker is None:
            if beat.sink_stats:
                self.sink_report.take(beat.sink_stats, now)
            return []
        if beat.worker_stats:
            worker.stats, worker.stats_at = beat.worker_stats, now
        return self._reconcile(peer, worker, beat, now)

    def _reconcile(self, peer: bytes, worker: Worker, beat: Heartbeat, now: float) -> list[Instruction]:
        """Drop leases that the worker does not know of: the task, or its `Finished`, was lost on the way.

        Say welcome again if the worker pushes to another sink than this one: that welcome was lost.
        """
        known = set(beat.running or ())
        lost = [
            key for key, since in worker.held.items() if key not in known and now - since > self._intervals.silence_s
        ]
        for key in lost:
            self.workers.end(peer, key, now)
            self._again(key)
        out: list[Instruction] = []
        if lost:
            out.append(
                Note(
                    "leases lost",
                    {"worker": worker.hello.worker, "tasks": [key.model_dump() for key in lost]},
                    "warning",
                )
            )
        if self.sink and beat.sink != self.sink.hello.results:
            out.append(Send(peer, self._welcome()))
        return [*out, *self._block(peer, worker, beat.blocked, now)]

    def _block(self, peer: bytes, worker: Worker, why: str, now: float) -> list[Instruction]:
        """Take in whether a worker's results get to the sink: while they do not, others get what it holds."""
        if bool(why) == bool(worker.blocked):
            return []
        worker.blocked = why
        self.workers.offer(peer)
        if not why:
            return [Note("worker reaches the sink again", {"worker": worker.hello.worker})]
        taken = list(worker.held)
        for key in taken:
            self.workers.end(peer, key, now)
            self._again(key)
        return [Note("worker cannot reach the sink", {"worker": worker.hello.worker, "why": why}, "error")]

    def _again(self, key: TaskKey) -> None:
        queue = self.queues[key.stream]
        work = queue.works.get(key)
        if work and not self.workers.is_held(key):
            queue.repeated += not work.ready
            queue.push(work)

    def _remove(self, peer: bytes, event: str, running: TaskKey | None) -> list[Instruction]:
        """Forget a worker; `running` is charged with its death."""
        worker = self.workers.remove(peer)
        self.lost[event] += 1
        name = worker.hello.worker
        out: list[Instruction] = [
            Note(
                event,
                {"worker": name, "leases": len(worker.held), "task": running and running.model_dump()},
                "warning" if running else "info",
            )
        ]
        for key in worker.held:
            work = self.queues[key.stream].works.get(key)
            if key != running or work is None or work.failure:
                self._again(key)
            else:
                out += self._poison.charge(work, worker, self.sink.peer if self.sink else None)
        return out

    def _requeue_unconfirmed(self, queue: StreamQueue, now: float) -> list[Note]:
        works, notes = self._delivery.overdue(queue, now)
        for work in works:
            work.finished_at = None
            self._again(work.key)
        return notes

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        for queue in self.queues.values():
            queue.validate()
            for key, work in queue.works.items():
                leased = self.workers.is_held(key)
                assert work.ready or leased or work.finished_at is not None or work.failure, f"{key} is nobody's"  # noqa: S101
        self.workers.validate()
