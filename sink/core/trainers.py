"""The trainers' side of the sink's core: subscriptions, waiting, serving, silence, and requests for previews.

`streams.py` holds the samples. No socket, no clock, no thread.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.event_log import EventLog
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Note, Send
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    EpochEnd,
    Goodbye,
    Heartbeat,
    Intervals,
    Refused,
    Reset,
    SampleRequest,
    Subscribe,
    TrainerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.instructions import SinkInstruction
from penstock.sink.core.reader import Reader
from penstock.sink.core.refusals import not_here, other_fingerprint, too_many_in_all, why_not
from penstock.sink.core.sample_previews import SamplePreviews
from penstock.sink.core.statistics import SinkStatistics
from penstock.sink.core.store import Store
from penstock.sink.core.streams import Streams


@dataclass(slots=True)
class _Waiting:
    subscribe: Subscribe
    live: Liveness


class Trainers:
    """Trainers and peers that ask for previews, by the routing identity of their link."""

    def __init__(
        self, streams: Streams, statistics: SinkStatistics, intervals: Intervals, version: str, log: EventLog
    ) -> None:
        """Start without trainers; those of another `version` are refused."""
        self.previews = SamplePreviews()
        self._streams, self._statistics, self._intervals, self._version = streams, statistics, intervals, version
        self._log = log
        #: Trainers that asked before the ventilator said what there is, or before their stream's output was open.
        self._waiting: dict[bytes, _Waiting] = {}

    def receive(self, peer: bytes, message: AnyMessage, now: float) -> list[SinkInstruction]:
        """Handle a message. Raises RemoteProtocolError if it breaks the protocol."""
        known = self._streams.readers.get(peer) or self._waiting.get(peer)
        if known:
            known.live.heard_at = now
        match message:
            case Subscribe() if known and known.subscribe == message:
                return self._welcome(peer)  # repeated on the way: identities are fresh, so it is the same one
            case Subscribe():
                return self._subscribe(peer, message, now)
            case Credit() if isinstance(known, Reader):
                self._streams.report.changed |= known.credit.update(message.consumed, message.limit)
                known.feed = message.feed or known.feed
                return self._serve(peer, now)
            case Goodbye():
                return self.gone(peer, now, "trainer left")
            case SampleRequest():
                return self._peek(peer, message)
            case Credit() | Heartbeat():
                return [] if known else [Send(peer, Reset())]
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} from a trainer")

    def gone(self, peer: bytes, now: float, event: str = "trainer unreachable") -> list[SinkInstruction]:
        """Forget a peer that left, or that cannot be reached any more."""
        self._waiting.pop(peer, None)
        self.previews.forget(peer)
        return self._leave(peer, now, event)

    def tick(self, now: float, *, judging: bool = True) -> list[SinkInstruction]:
        """Notice silence, if it is `judging`, and send heartbeats."""
        out: list[SinkInstruction] = []
        known: list[tuple[bytes, Reader | _Waiting]] = [*self._streams.readers.items(), *self._waiting.items()]
        for peer, trainer in known:
            if judging and trainer.live.lost(now):
                out += self.gone(peer, now, "trainer silent")
            elif trainer.live.due(now):
                trainer.live.spoke_at = now
                out.append(Send(peer, Heartbeat(position=trainer.cursor if isinstance(trainer, Reader) else None)))
        return out

    def admit(self, now: float) -> list[SinkInstruction]:
        """Subscribe trainers that waited for the ventilator or the output: a head start would do work twice."""
        waiting, self._waiting = self._waiting, {}
        return [each for peer, patient in waiting.items() for each in self._subscribe(peer, patient.subscribe, now)]

    def serve(self, stream: str, now: float) -> list[SinkInstruction]:
        """Send all trainers of a stream the complete batches that they have credit for."""
        return [each for peer in self._streams.peers(stream) for each in self._serve(peer, now)]

    def refuse(self, stream: str, refused: Refused, now: float) -> list[SinkInstruction]:
        """Refuse all trainers of a stream."""
        return [each for peer in self._streams.peers(stream) for each in self._refuse(peer, refused, now)]

    def show(self, store: Store) -> list[SinkInstruction]:
        """Answer previews from a result that has just arrived, since it may leave at once."""
        return self.previews.came(store, self._streams.readers_of(store))

    def adopt(self, intervals: Intervals) -> None:
        """Take over the ventilator's intervals."""
        self._intervals = intervals
        for reader in self._streams.readers.values():
            reader.live.intervals = intervals

    def replan(self, streams: Iterable[StreamPlan], now: float) -> list[SinkInstruction]:
        """Refuse the trainers whose stream has changed, before anything of it is replaced."""
        out: list[SinkInstruction] = []
        plans = {plan.name: plan for plan in streams}
        for peer, reader in list(self._streams.readers.items()):
            plan = plans.get(reader.plan.name)
            if plan is None or plan.fingerprint != reader.plan.fingerprint:
                reason = (
                    other_fingerprint(reader.plan.fingerprint, plan) if plan else f"no stream {reader.plan.name!r} now"
                )
                out += self._refuse(peer, Refused(kind="fingerprint", reason=reason), now)
            elif plan != reader.plan:  # other batches or memory limits: the position still holds, the sequence does not
                out += [Send(peer, Reset()), *self._leave(peer, now, "stream settings changed")]
        return out

    def _subscribe(self, peer: bytes, message: Subscribe, now: float) -> list[SinkInstruction]:
        live = Liveness(self._intervals, now, now)
        streams = self._streams
        if not streams.is_open(message.stream):
            self._waiting[peer] = _Waiting(message, live)
            return []
        again = self._leave(peer, now, "trainer subscribed again")
        refused = why_not(message, streams.plans, len(streams.readers), self._version)
        refused = refused or streams.budgets[message.stream].refused or self._too_much(message)
        if refused:
            return [*again, Send(peer, refused)]
        reader = Reader(message, streams.plans[message.stream], live, message.position)
        reader.credit.update(0, message.limit)
        streams.join(peer, reader)
        fields = message.model_dump(include={"stream", "rank", "world_size", "position"})
        return [*again, *self._welcome(peer), Note("trainer subscribed", fields), *self._serve(peer, now)]

    def _too_much(self, message: Subscribe) -> Refused | None:
        plan = self._streams.plans[message.stream]
        tasks = self._streams.tasks_with(plan, message.position, plan.window(message.world_size))
        return too_many_in_all(plan, tasks)

    def _welcome(self, peer: bytes) -> list[SinkInstruction]:
        reader = self._streams.readers.get(peer)
        if reader is None:
            return []
        return [
            Send(peer, TrainerWelcome(plan=reader.plan, position=reader.subscribe.position, intervals=self._intervals))
        ]

    def _serve(self, peer: bytes, now: float) -> list[SinkInstruction]:
        """Send a reader the complete batches that it has credit for."""
        reader = self._streams.readers.get(peer)
        if reader is None:
            return []
        out: list[SinkInstruction] = []
        store = self._streams.stores[reader.plan.name]
        before = reader.cursor
        while due := reader.next(store):
            if isinstance(due, EpochEnd):
                self._statistics.ended(reader, due)
                fields = due.model_dump(exclude={"sequence", "stop"}) | {"stream": reader.plan.name}
                out += [Send(peer, due), Note("epoch ended", fields)]
            else:
                self._log_batch(reader, due[0], now)
                out.append(Send(peer, *due))
        reader.waits.become(now, starved=reader.starved)
        if reader.cursor != before:
            self._streams.passed(store, before, reader.cursor)
        return out

    def _log_batch(self, reader: Reader, batch: Batch, now: float) -> None:
        tasks = reader.plan.geometry.tasks_between(batch.start, batch.stops[-1])
        rank = f"rank {reader.subscribe.rank} of {reader.world_size}"
        what = f"sent to {rank} with batch {batch.sequence}, positions {batch.start} to {batch.stops[-1] - 1}"
        self._log.add_tasks(now, reader.plan.name, tasks, what)

    def _leave(self, peer: bytes, now: float, event: str) -> list[SinkInstruction]:
        reader = self._streams.leave(peer)
        if reader is None:
            return []
        self._statistics.left(reader, now)
        return [Note(event, {"stream": reader.plan.name, "rank": reader.subscribe.rank, "position": reader.cursor})]

    def _refuse(self, peer: bytes, refused: Refused, now: float) -> list[SinkInstruction]:
        return [Send(peer, refused), *self._leave(peer, now, "trainer refused")]

    def _peek(self, peer: bytes, request: SampleRequest) -> list[SinkInstruction]:
        """Answer a request for a preview: it opens no subscription."""
        streams = self._streams
        if not streams.plans:
            return []  # asked again, in a moment
        if refused := not_here(request, streams.plans, self._version):
            return [Send(peer, refused)]
        if refused := streams.budgets[request.stream].refused:
            return [Send(peer, refused)]
        store = streams.stores[request.stream]
        return self.previews.ask(peer, request, store, streams.readers_of(store))
