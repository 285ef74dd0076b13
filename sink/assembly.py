"""The sink's core: what is held, who reads where, what is missing.

Theory of operation. Every trainer is a `Reader` with a cursor, and so is what records a stream (`recording`); wanted
tasks are those between each cursor and limit (the window, less what is on its way). Results fill the stream's `Store`;
a reader whose next round is complete and who has credit gets its batch at once. What no reader wants any more is
dropped. `Progress` tells the ventilator, absolutely, which wanted tasks are not here: that both confirms and limits.

No socket, no clock, no thread: messages and `now` in, instructions out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Credit,
    Drain,
    EpochEnd,
    Failure,
    Goodbye,
    Heartbeat,
    Intervals,
    Paths,
    Peek,
    Quarantined,
    Refused,
    Reset,
    Result,
    SinkHello,
    SinkWelcome,
    Subscribe,
    TaskKey,
    TrainerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array
from penstock.sink.budget import Budget
from penstock.sink.glimpse import Onlookers
from penstock.sink.jobs import Outcome, SinkInstruction
from penstock.sink.reader import Reader, Taker
from penstock.sink.recording import Recording
from penstock.sink.refusals import not_here, other_fingerprint, why_not
from penstock.sink.store import Store
from penstock.sink.tally import Tally
from penstock.sink.wanted import Report, drop_unwanted, reading, starts_between, wants
from penstock.sink.writing import Writing

#: The routing identity under which the shell names the ventilator.
VENTILATOR = b"ventilator"


@dataclass(slots=True)
class _Waiting:
    subscribe: Subscribe
    live: Liveness


class Assembly:
    """State machine of the sink; see the module's text."""

    def __init__(self, hello: SinkHello, intervals: Intervals, now: float, recording: Recording | None = None) -> None:
        """Start with no plan, no readers and nothing held; `intervals` hold until the ventilator's arrive.

        `recording` is what is to be written, if anything is.
        """
        self.recording = recording
        self.hello = hello
        self.intervals = intervals
        self.plans: dict[str, StreamPlan] = {}
        self.stores: dict[str, Store] = {}
        self.budgets: dict[str, Budget] = {}
        self.readers: dict[bytes, Reader] = {}
        #: What is counted for heartbeats and metrics; of it, what came in by outcome: accepted, duplicate, unwanted.
        self.tally = Tally()
        self.tally.writing = Writing(recording) if recording else None
        self.results = self.tally.results
        self.ventilator = Liveness(intervals, now, now)
        self.welcomed = False
        #: Trainers that asked before the ventilator said what there is, or before their stream's output was open.
        self._waiting: dict[bytes, _Waiting] = {}
        self.onlookers = Onlookers()
        self.report = Report()
        self._now = now

    @property
    def takers(self) -> dict[bytes, Taker]:
        """All who take samples: trainers, and what records a stream."""
        return {**self.readers, **(self.recording.takers if self.recording else {})}

    def start(self, now: float) -> list[SinkInstruction]:
        """Introduce ourselves to the ventilator, at first and after its link was opened again."""
        self.ventilator = Liveness(self.intervals, now, now)
        self.welcomed = False
        return [Send(VENTILATOR, self.hello)]

    def receive(self, peer: bytes, message: AnyMessage, arrays: Sequence[Array], now: float) -> list[SinkInstruction]:
        """Take one message in. Raises RemoteProtocolError if it is not right."""
        self._now = now
        if isinstance(message, Result):
            return self._result(message, arrays)
        if peer == VENTILATOR:
            self.ventilator.heard_at = now
            return self._from_ventilator(message, now)
        return self._from_trainer(peer, message, now)

    def _from_ventilator(self, message: AnyMessage, now: float) -> list[SinkInstruction]:
        match message:
            case SinkWelcome():
                return self._welcome(message, now)
            case Quarantined():
                return self._quarantined(message)
            case Paths():
                return self.recording.listed(message) if self.recording else []
            case Heartbeat():
                self.tally.heard(message.ledger)
                return []
            case Reset():
                return [Reopen(VENTILATOR), *self.start(now)]
            case Drain():
                return [Failed(message.reason)]
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} from the ventilator")

    def _from_trainer(self, peer: bytes, message: AnyMessage, now: float) -> list[SinkInstruction]:
        known = self.readers.get(peer) or self._waiting.get(peer)
        if known:
            known.live.heard_at = now
        match message:
            case Subscribe() if known and known.subscribe == message:
                return self._welcome_trainer(peer)  # repeated on the way: identities are fresh, so it is the same one
            case Subscribe():
                return self._subscribe(peer, message, now)
            case Credit() if isinstance(known, Reader):
                self.report.changed |= known.credit.update(message.consumed, message.limit)
                known.feed = message.feed or known.feed
                return self._serve(peer)
            case Goodbye():
                return self.gone(peer, "trainer left")
            case Peek():
                return self._peek(peer, message)
            case Credit() | Heartbeat():
                return [] if known else [Send(peer, Reset())]
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} from a trainer")

    def gone(self, peer: bytes, event: str = "trainer unreachable") -> list[SinkInstruction]:
        """Take in that the transport cannot reach a trainer any more."""
        self._waiting.pop(peer, None)
        self.onlookers.forget(peer)
        return self._leave(peer, event)

    def tick(self, now: float) -> list[SinkInstruction]:
        """Notice silence and send heartbeats; call it at `next_timer` or more often, after taking in all that came."""
        self._now = now
        out: list[SinkInstruction] = []
        known: list[tuple[bytes, Reader | _Waiting]] = [*self.readers.items(), *self._waiting.items()]
        for peer, trainer in known:
            if trainer.live.lost(now):
                out += self.gone(peer, "trainer silent")
            elif trainer.live.due(now):
                trainer.live.spoke_at = now
                out.append(Send(peer, Heartbeat(position=trainer.cursor if isinstance(trainer, Reader) else None)))
        out += self._tick_recording(now)
        if self.ventilator.lost(now):
            return [*out, Note("ventilator silent", level="warning"), Reopen(VENTILATOR), *self.start(now)]
        if self.ventilator.due(now):
            self.ventilator.spoke_at = now
            stats = self.tally.make(self.readers, self.stores, self._stopped(), now)
            out.append(Send(VENTILATOR, Heartbeat(sink_stats=stats) if self.welcomed else self.hello))
            self.report.changed = True  # repeat the whole truth now and then: any message may have been lost
        return out

    def next_timer(self, now: float) -> float:
        """Return when to call `tick` next."""
        return now + self.intervals.heartbeat_s / 4

    def wrote(self, outcome: Outcome, now: float) -> list[SinkInstruction]:
        """Take in what came of a job of the thread that writes."""
        assert self.recording is not None  # noqa: S101 - nobody else gives it jobs
        self._now = now
        self.report.changed = True
        out = self.recording.took(outcome, now)
        return [*out, *self._admit(now), *self._record(), *self._list_paths(now)]

    def progress(self) -> list[SinkInstruction]:
        """Return what to tell the ventilator, if anything changed; the shell decides how often to ask."""
        if not self.report.changed or not self.welcomed:
            return []
        return [Send(VENTILATOR, self.report.make(self.takers, self.stores, self.budgets))]

    def pressing(self) -> bool:
        """Return whether the ventilator should hear of the changes at once: what it may lease would soon run out."""
        return self.report.pressing(self.takers, self.stores)

    def _result(self, result: Result, arrays: Sequence[Array]) -> list[SinkInstruction]:
        name = result.key.stream
        store = self.stores.get(name)
        if store is None or not self._wants(store, result.key):
            self.results["unwanted"] += 1
            return []
        if result.plan != store.plan.token:
            raise RemoteProtocolError(
                "plan", f"{result.key}: made by plan {result.plan!r}, this is {store.plan.token!r}"
            )
        failures = store.add(result, arrays)
        if failures is None:
            self.results["duplicate"] += 1
            return []
        self.tally.accept(arrays)
        shown = self.onlookers.came(store, len(reading(self.takers.values(), store)))
        return [*shown, *self._account(name, result.key.ordinal, failures, result.worker)]

    def _peek(self, peer: bytes, peek: Peek) -> list[SinkInstruction]:
        """Show somebody what is here of a stream, without a reader's rights and duties."""
        if not self.plans:
            return []  # asked again, in a moment
        if refused := not_here(peek, self.plans, self.hello.version):
            return [Send(peer, refused)]
        if refused := self.budgets[peek.stream].refused:
            return [Send(peer, refused)]
        store = self.stores[peek.stream]
        return self.onlookers.ask(peer, peek, store, len(reading(self.takers.values(), store)))

    def _quarantined(self, message: Quarantined) -> list[SinkInstruction]:
        store = self.stores.get(message.key.stream)
        if store is None or not self._wants(store, message.key):
            return []
        if not store.quarantine(message.key, message.failure):
            return []
        return self._account(message.key.stream, message.key.ordinal, [message.failure], message.failure.worker)

    def _account(self, name: str, ordinal: int, failures: Sequence[Failure], worker: str) -> list[SinkInstruction]:
        self.report.changed = True
        out: list[SinkInstruction] = []
        epoch = ordinal // self.stores[name].geometry.tasks_per_epoch
        for failure in failures:
            if self.budgets[name].count(epoch, failure):
                self.tally.quarantine(name, epoch, failure, worker)
                record = failure.model_dump() | {
                    "worker": failure.worker or worker,
                    "stream": name,
                    "task": ordinal,
                    "epoch": epoch,
                }
                out.append(Note("quarantined", record, "warning"))
        if failures and (refused := self.budgets[name].refused):
            self.report.press()
            out.append(Note("stream stopped", {"stream": name, "reason": self.budgets[name].exceeded}, "error"))
            for peer in [peer for peer, reader in self.readers.items() if reader.plan.name == name]:
                out += self._refuse(peer, refused)
            out += self._stop_recording(name)
        for peer in [peer for peer, reader in self.readers.items() if reader.plan.name == name]:
            out += self._serve(peer)
        return out + self._record()

    def _stopped(self) -> dict[str, str]:
        return {name: budget.exceeded for name, budget in self.budgets.items() if budget.exceeded}

    def _wants(self, store: Store, key: TaskKey) -> bool:
        return wants(self.takers.values(), store, store.geometry.block_start(key.ordinal))

    def _subscribe(self, peer: bytes, message: Subscribe, now: float) -> list[SinkInstruction]:
        live = Liveness(self.intervals, now, now)
        if not self.plans or (self.recording and self.recording.is_opening(message.stream)):
            self._waiting[peer] = _Waiting(message, live)
            return []
        again = self._leave(peer, "trainer subscribed again")
        refused = why_not(message, self.plans, len(self.readers), self.hello.version)
        if refused := refused or self.budgets[message.stream].refused:
            return [*again, Send(peer, refused)]
        reader = Reader(message, self.plans[message.stream], live, message.position)
        reader.credit.update(0, message.limit)
        self.readers[peer] = reader
        self._keep_step()
        self.report.press()
        fields = message.model_dump(include={"stream", "rank", "world_size", "position"})
        return [*again, *self._welcome_trainer(peer), Note("trainer subscribed", fields), *self._serve(peer)]

    def _welcome_trainer(self, peer: bytes) -> list[SinkInstruction]:
        reader = self.readers.get(peer)
        if reader is None:
            return []
        return [
            Send(peer, TrainerWelcome(plan=reader.plan, position=reader.subscribe.position, intervals=self.intervals))
        ]

    def _serve(self, peer: bytes) -> list[SinkInstruction]:
        """Send a reader all that is complete and that it has credit for."""
        reader = self.readers.get(peer)
        if reader is None:
            return []
        out: list[SinkInstruction] = []
        store = self.stores[reader.plan.name]
        before = reader.cursor
        while due := reader.next(store):
            if isinstance(due, EpochEnd):
                self.tally.ended(reader, due)
                fields = due.model_dump(exclude={"sequence", "stop"}) | {"stream": reader.plan.name}
                out += [Send(peer, due), Note("epoch ended", fields)]
            else:
                out.append(Send(peer, *due))
        reader.waits.become(self._now, starved=reader.starved)
        if reader.cursor != before:
            self._passed(store, before, reader.cursor)
        return out

    def _passed(self, store: Store, before: int, cursor: int) -> None:
        """Take in that somebody's cursor has moved: what lies between may be wanted by nobody now."""
        self.report.changed = True
        drop_unwanted(self.takers.values(), store, starts_between(store, before, cursor))

    def _leave(self, peer: bytes, event: str) -> list[SinkInstruction]:
        reader = self.readers.pop(peer, None)
        if reader is None:
            return []
        self.report.press()
        self.tally.left(reader, self._now)
        if self.recording:
            self.recording.part(reader)
        store = self.stores[reader.plan.name]
        drop_unwanted(self.takers.values(), store, store.starts())
        return [Note(event, {"stream": reader.plan.name, "rank": reader.subscribe.rank, "position": reader.cursor})]

    def _refuse(self, peer: bytes, refused: Refused) -> list[SinkInstruction]:
        return [Send(peer, refused), *self._leave(peer, "trainer refused")]

    def _record(self) -> list[SinkInstruction]:
        """Hand over what is complete to who writes it."""
        recording = self.recording
        if recording is None or recording.recorder is None or recording.wish.stream not in self.stores:
            return []
        recorder, store = recording.recorder, self.stores[recording.wish.stream]
        before = recorder.cursor
        out = recording.serve(store, self._now)
        if self.tally.writing:
            self.tally.writing.look(self._now)
        if recorder.cursor != before:
            self._passed(store, before, recorder.cursor)
        return out

    def _keep_step(self) -> None:
        """Couple what records a stream with trainers that are near; what is then beyond their limit is dropped."""
        if self.recording and self.recording.keep_step(self.readers.values()):
            self.report.press()
            store = self.stores[self.recording.wish.stream]
            drop_unwanted(self.takers.values(), store, store.starts())

    def _tick_recording(self, now: float) -> list[SinkInstruction]:
        if self.recording is None:
            return []
        self._keep_step()
        return [*self.recording.tick(now), *self._record(), *self._list_paths(now)]

    def _list_paths(self, now: float) -> list[SinkInstruction]:
        message = self.recording.list_paths(now) if self.recording and self.welcomed else None
        return [Send(VENTILATOR, message)] if message else []

    def _stop_recording(self, stream: str) -> list[SinkInstruction]:
        if self.recording is None or self.recording.wish.stream != stream or not self.recording.takers:
            return []
        out = self.recording.stop(self.budgets[stream].exceeded)
        drop_unwanted(self.takers.values(), self.stores[stream], self.stores[stream].starts())
        return out

    def _welcome(self, message: SinkWelcome, now: float) -> list[SinkInstruction]:
        self.welcomed = True
        self.report.press()
        self.intervals = self.ventilator.intervals = message.intervals
        for reader in self.readers.values():
            reader.live.intervals = message.intervals
        out: list[SinkInstruction] = []
        plans = {plan.name: plan for plan in message.streams}
        for peer, reader in list(self.readers.items()):
            plan = plans.get(reader.plan.name)
            if plan is None or plan.fingerprint != reader.plan.fingerprint:
                reason = (
                    other_fingerprint(reader.plan.fingerprint, plan) if plan else f"no stream {reader.plan.name!r} now"
                )
                out += self._refuse(peer, Refused(kind="fingerprint", reason=reason))
            elif plan != reader.plan:  # other batches or memory limits: the position still holds, the sequence does not
                out += [Send(peer, Reset()), *self._leave(peer, "stream settings changed")]
        for name, plan in plans.items():
            if self.plans.get(name) != plan:
                self.plans[name] = plan
                self.stores[name] = Store(plan)
                self.budgets[name] = Budget(plan)
        for name in set(self.plans) - set(plans):
            del self.plans[name], self.stores[name], self.budgets[name]
        if self.recording:
            out += self.recording.welcome(self.plans)
        return [*out, *self._admit(now)]

    def _admit(self, now: float) -> list[SinkInstruction]:
        """Let those in who waited for the ventilator or the output: with a head start, work would be done twice."""
        waiting, self._waiting = self._waiting, {}
        return [each for peer, patient in waiting.items() for each in self._subscribe(peer, patient.subscribe, now)]

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold: nothing is kept that no reader wants, among others."""
        for store in self.stores.values():
            store.validate()
            spans = [(reader.cursor, reader.limit(store)) for reader in reading(self.takers.values(), store)]
            for start in store.starts():
                stop = store.geometry.block_of(start)[1]
                wanted = any(low < stop and start < high for low, high in spans)
                assert wanted, f"block {start} is held for nobody"  # noqa: S101
        for reader in self.readers.values():
            reader.credit.validate()
            assert reader.plan is self.plans[reader.plan.name]  # noqa: S101
