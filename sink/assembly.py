"""The sink's core: what is held, who reads where, what is missing.

Theory of operation. Every trainer is a `Reader` with a cursor; the wanted tasks are those between each reader's cursor
and its limit (its window, less what is on its way to it). Results fill the stream's `Store`; a reader whose next round
is complete and who has credit gets its batch at once. What no reader wants any more is dropped. `Progress` tells the
ventilator, absolutely, which wanted tasks are not here: that both confirms and limits.

No socket, no clock, no thread: messages and `now` in, instructions out.
"""

from collections import Counter
from collections.abc import Sequence

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Failed, Instruction, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Credit,
    Drain,
    EpochEnd,
    Failure,
    Goodbye,
    Heartbeat,
    Intervals,
    Progress,
    Quarantined,
    Refused,
    Reset,
    Result,
    SinkHello,
    SinkWelcome,
    StreamNeed,
    Subscribe,
    TrainerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array
from penstock.sink.budget import Budget
from penstock.sink.reader import Reader
from penstock.sink.store import Store

#: The routing identity under which the shell names the ventilator.
VENTILATOR = b"ventilator"
#: Trainers that one sink serves at most.
MAX_READERS = 256


class Assembly:
    """State machine of the sink; see the module's text."""

    def __init__(self, hello: SinkHello, intervals: Intervals, now: float) -> None:
        """Start with no plan, no readers and nothing held; `intervals` hold until the ventilator's arrive."""
        self.hello = hello
        self.intervals = intervals
        self.plans: dict[str, StreamPlan] = {}
        self.stores: dict[str, Store] = {}
        self.budgets: dict[str, Budget] = {}
        self.readers: dict[bytes, Reader] = {}
        #: Counts of what came in, by outcome: accepted, duplicate, unwanted.
        self.results: Counter[str] = Counter()
        self.ventilator = Liveness(intervals, now, now)
        self.welcomed = False
        self._waiting: dict[bytes, tuple[Subscribe, float]] = {}
        self._sequence = 0
        self._dirty = True

    def start(self, now: float) -> list[Instruction]:
        """Introduce ourselves to the ventilator, at first and after its link was opened again."""
        self.ventilator = Liveness(self.intervals, now, now)
        self.welcomed = False
        return [Send(VENTILATOR, self.hello)]

    def receive(self, peer: bytes, message: AnyMessage, arrays: Sequence[Array], now: float) -> list[Instruction]:
        """Take one message in. Raises RemoteProtocolError if it is not right."""
        if peer == VENTILATOR:
            self.ventilator.heard_at = now
        elif peer in self.readers:
            self.readers[peer].live.heard_at = now
        match message:
            case Result():
                return self._result(message, arrays)
            case Credit() if peer in self.readers:
                self._dirty |= self.readers[peer].credit.update(message.consumed, message.limit)
                return self._serve(peer)
            case Subscribe():
                return self._subscribe(peer, message, now)
            case Heartbeat() if peer == VENTILATOR or peer in self.readers or peer in self._waiting:
                return []
            case Goodbye():
                self._waiting.pop(peer, None)
                return self._leave(peer, "trainer left")
            case SinkWelcome():
                return self._welcome(message, now)
            case Quarantined():
                return self._quarantined(message)
            case Reset():
                return [Reopen(VENTILATOR), *self.start(now)]
            case Drain():
                return [Failed(message.reason)]
            case Credit() | Heartbeat():
                return [Send(peer, Reset())]
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} at the sink")

    def gone(self, peer: bytes) -> list[Instruction]:
        """Take in that the transport cannot reach a trainer any more."""
        return self._leave(peer, "trainer unreachable")

    def tick(self, now: float) -> list[Instruction]:
        """Notice silence and send heartbeats; call it at `next_timer` or more often."""
        out: list[Instruction] = []
        for peer, reader in list(self.readers.items()):
            if reader.live.lost(now):
                out += self._leave(peer, "trainer silent")
            elif reader.live.due(now):
                reader.live.spoke_at = now
                out.append(Send(peer, Heartbeat()))
        for peer, (_, since) in list(self._waiting.items()):
            if now - since > self.intervals.silence_s:  # it will ask again; by then the ventilator may have answered
                del self._waiting[peer]
                out.append(Send(peer, Reset()))
        if self.ventilator.lost(now):
            return [*out, Note("ventilator silent", level="warning"), Reopen(VENTILATOR), *self.start(now)]
        if self.ventilator.due(now):
            self.ventilator.spoke_at = now
            out.append(Send(VENTILATOR, Heartbeat()))
            self._dirty = True  # repeat the whole truth now and then: any message may have been lost
        return out

    def next_timer(self, now: float) -> float:
        """Return when to call `tick` next."""
        return now + self.intervals.heartbeat_s / 4

    def progress(self) -> list[Instruction]:
        """Return what to tell the ventilator, if anything changed; the shell decides how often to ask."""
        if not self._dirty or not self.welcomed:
            return []
        self._dirty = False
        self._sequence += 1
        needs = tuple(need for name in self.plans if (need := self._need(name)))
        return [Send(VENTILATOR, Progress(sequence=self._sequence, needs=needs))]

    def _need(self, name: str) -> StreamNeed | None:
        store, stopped = self.stores[name], self.budgets[name].exceeded
        readers = [reader for reader in self.readers.values() if reader.plan.name == name]
        if not readers and not stopped:
            return None
        spans = [] if stopped else [
            store.geometry.tasks_between(reader.cursor, reader.limit(store.dead)) for reader in readers
        ]
        wanted = ranges.members(ranges.normalise(spans))
        missing = ranges.from_sorted(ordinal for ordinal in wanted if not store.has(ordinal))
        return StreamNeed(stream=name, missing=missing, partial=tuple(store.partial()), stopped=stopped)

    def _result(self, result: Result, arrays: Sequence[Array]) -> list[Instruction]:
        name = result.key.stream
        store = self.stores.get(name)
        if store is None:
            self.results["unwanted"] += 1
            return []
        if not self._wants(store, store.geometry.block_start(result.key.ordinal)):
            self.results["unwanted"] += 1
            return []
        if result.plan != store.plan.token:
            raise RemoteProtocolError("plan", f"{result.key}: made by plan {result.plan!r}, this is {store.plan.token!r}")
        failures = store.add(result, arrays)
        if failures is None:
            self.results["duplicate"] += 1
            return []
        self.results["accepted"] += 1
        return self._account(name, result.key.ordinal, failures, result.worker)

    def _quarantined(self, message: Quarantined) -> list[Instruction]:
        store = self.stores.get(message.key.stream)
        if store is None or not self._wants(store, store.geometry.block_start(message.key.ordinal)):
            return []
        if not store.quarantine(message.key, message.failure):
            return []
        return self._account(message.key.stream, message.key.ordinal, [message.failure], message.failure.worker)

    def _account(self, name: str, ordinal: int, failures: Sequence[Failure], worker: str) -> list[Instruction]:
        self._dirty = True
        out: list[Instruction] = []
        epoch = ordinal // self.stores[name].geometry.tasks_per_epoch
        for failure in failures:
            if self.budgets[name].count(epoch, failure):
                record = failure.model_dump() | {"worker": failure.worker or worker, "stream": name, "epoch": epoch}
                out.append(Note("quarantined", record, "warning"))
        if failures and (reason := self.budgets[name].exceeded):
            out.append(Note("stream stopped", {"stream": name, "reason": reason}, "error"))
            for peer in [peer for peer, reader in self.readers.items() if reader.plan.name == name]:
                out += self._refuse(peer, "budget", reason)
        for peer in [peer for peer, reader in self.readers.items() if reader.plan.name == name]:
            out += self._serve(peer)
        return out

    def _wants(self, store: Store, start: int) -> bool:
        """Return whether some reader wants the block that starts at position `start`."""
        stop = store.geometry.block_of(start)[1]
        return any(
            reader.cursor < stop and start < reader.limit(store.dead)
            for reader in self.readers.values()
            if reader.plan is store.plan
        )

    def _subscribe(self, peer: bytes, message: Subscribe, now: float) -> list[Instruction]:
        if not self.plans:
            self._waiting[peer] = (message, now)
            return []
        plan = self.plans.get(message.stream)
        if plan is None:
            known = ", ".join(sorted(self.plans))
            return [Send(peer, Refused(kind="stream", reason=f"no stream {message.stream!r} here; there are: {known}"))]
        if message.fingerprint and message.fingerprint != plan.fingerprint:
            return [Send(peer, Refused(kind="fingerprint", reason=_other_fingerprint(message.fingerprint, plan)))]
        if message.rank >= message.world_size:
            reason = f"rank {message.rank} of world size {message.world_size}: ranks start at 0"
            return [Send(peer, Refused(kind="position", reason=reason))]
        if reason := self.budgets[plan.name].exceeded:
            return [Send(peer, Refused(kind="budget", reason=reason))]
        if len(self.readers) >= MAX_READERS and peer not in self.readers:
            return [Send(peer, Refused(kind="limit", reason=f"{MAX_READERS} trainers are subscribed already"))]
        again = self._leave(peer, "trainer subscribed again") if peer in self.readers else []
        reader = Reader(message, plan, Liveness(self.intervals, now, now), message.position)
        reader.credit.update(0, message.limit)
        self.readers[peer] = reader
        self._dirty = True
        fields = {"stream": plan.name, "rank": message.rank, "world_size": message.world_size, "position": reader.cursor}
        welcome = TrainerWelcome(plan=plan, position=reader.cursor, intervals=self.intervals)
        return [*again, Send(peer, welcome), Note("trainer subscribed", fields), *self._serve(peer)]

    def _serve(self, peer: bytes) -> list[Instruction]:
        """Send a reader all that is complete and that it has credit for."""
        reader = self.readers.get(peer)
        if reader is None:
            return []
        out: list[Instruction] = []
        store = self.stores[reader.plan.name]
        before = reader.cursor
        while due := reader.next(store):
            if isinstance(due, EpochEnd):
                fields = due.model_dump(exclude={"sequence", "stop"}) | {"stream": reader.plan.name}
                out += [Send(peer, due), Note("epoch ended", fields)]
            else:
                out.append(Send(peer, *due))
        if reader.cursor != before:
            self._dirty = True
            self._evict(store, before, reader.cursor)
        return out

    def _evict(self, store: Store, low: int, high: int) -> None:
        """Drop the blocks between two positions that no reader wants any more."""
        position = low
        while position < high:
            start, position = store.geometry.block_of(position)
            if not self._wants(store, start):
                store.drop(start)

    def _leave(self, peer: bytes, event: str) -> list[Instruction]:
        reader = self.readers.pop(peer, None)
        if reader is None:
            return []
        self._dirty = True
        store = self.stores[reader.plan.name]
        for start in store.starts():
            if not self._wants(store, start):
                store.drop(start)
        return [Note(event, {"stream": reader.plan.name, "rank": reader.subscribe.rank, "position": reader.cursor})]

    def _refuse(self, peer: bytes, kind: str, reason: str) -> list[Instruction]:
        refused = Refused.model_validate({"kind": kind, "reason": reason})
        return [Send(peer, refused), *self._leave(peer, "trainer refused")]

    def _welcome(self, message: SinkWelcome, now: float) -> list[Instruction]:
        self.welcomed = self._dirty = True
        self.intervals = message.intervals
        out: list[Instruction] = []
        plans = {plan.name: plan for plan in message.streams}
        for peer, reader in list(self.readers.items()):
            plan = plans.get(reader.plan.name)
            if plan is None or plan.fingerprint != reader.plan.fingerprint:
                reason = _other_fingerprint(reader.plan.fingerprint, plan) if plan else f"no stream {reader.plan.name!r} now"
                out += self._refuse(peer, "fingerprint", reason)
            elif plan != reader.plan:  # other batches or memory limits: the position still holds, the sequence does not
                out += [Send(peer, Reset()), *self._leave(peer, "stream settings changed")]
        for name, plan in plans.items():
            if self.plans.get(name) != plan:
                self.plans[name] = plan
                self.stores[name] = Store(plan)
                self.budgets[name] = Budget(plan)
        for name in set(self.plans) - set(plans):
            del self.plans[name], self.stores[name], self.budgets[name]
        waiting, self._waiting = self._waiting, {}
        for peer, (subscribe, _) in waiting.items():
            out += self._subscribe(peer, subscribe, now)
        return out

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold: nothing is kept that no reader wants, among others."""
        for store in self.stores.values():
            store.validate()
            for start in store.starts():
                assert self._wants(store, start), f"block {start} is held for nobody"  # noqa: S101
        for reader in self.readers.values():
            reader.credit.validate()
            assert reader.plan is self.plans[reader.plan.name]  # noqa: S101


def _other_fingerprint(given: str, plan: StreamPlan) -> str:
    return (
        f"stream {plan.name!r}: the position belongs to fingerprint {given}, the sink has {plan.fingerprint}: the spec "
        "(seed, source, transform or order) or the files listed have changed; restore them, or start from position 0"
    )
