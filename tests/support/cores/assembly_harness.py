"""A sink's core with everything around it played by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from support.plans import (
    LEASE_KEY,
    leased,
    make_plan,
    make_result,
    make_task,
)

from penstock.protocol import ranges
from penstock.protocol.instructions import Note, Send
from penstock.protocol.messages import (
    Batch,
    EpochEnd,
    Failure,
    Heartbeat,
    Intervals,
    Part,
    Quarantined,
    SinkHello,
    SinkWelcome,
    StreamNeed,
    Subscribe,
    TaskKey,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array
from penstock.sink.core.assembly import VENTILATOR, Assembly
from penstock.sink.core.instructions import AppendToLedger, LedgerEntry, SinkInstruction

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)


HELLO = SinkHello(incarnation="i", results="results", version="1.0")


class CoreHarness:
    """An Assembly core with everything around it played by hand."""

    def __init__(self, *plans: StreamPlan, welcomed: bool = True, hello: SinkHello = HELLO) -> None:
        """Start at time 0, with the ventilator's welcome unless told otherwise."""
        self.plans = {plan.name: plan for plan in plans or (make_plan(),)}
        self.now = 0.0
        self.workers = 0
        self.core = Assembly(hello, INTERVALS, 0.0)
        self.notes: list[Note] = []
        self.ledger: list[LedgerEntry] = []
        self.got: dict[bytes, list[tuple[Part, list[int]] | EpochEnd]] = {}
        self.core.start(0.0)
        if welcomed:
            self.welcome()

    def take(self, instructions: Sequence[SinkInstruction]) -> list[Any]:
        """Check the core, keep notes, ledger, batches and epoch ends; return the other instructions and messages."""
        self.core.validate()
        out: list[Any] = []
        for each in instructions:
            if isinstance(each, Note):
                self.notes.append(each)
            elif isinstance(each, AppendToLedger):
                self.ledger.append(each.entry)
            elif isinstance(each, Send) and isinstance(each.message, Batch):
                items = self.items(each.message, each.arrays)
                parts = [(part, items[part.rows]) for part in each.message.parts()]
                self.got.setdefault(each.peer, []).extend(parts)
            elif isinstance(each, Send) and isinstance(each.message, EpochEnd):
                self.got.setdefault(each.peer, []).append(each.message)
            else:
                out.append(each.message if isinstance(each, Send) else each)
        return out

    def items(self, batch: Batch, arrays: Sequence[Array]) -> list[int]:
        """Return the items of a batch."""
        segments = [array for frame, array in zip(batch.frames, arrays, strict=True) if frame.name == "item"]
        return [int(item) for item in np.concatenate(segments)]

    def welcome(self, *plans: StreamPlan) -> list[Any]:
        """Let the ventilator's welcome arrive."""
        self.plans = {plan.name: plan for plan in plans} or self.plans
        return self.hear(
            VENTILATOR, SinkWelcome(streams=tuple(self.plans.values()), intervals=INTERVALS, leases=LEASE_KEY)
        )

    def hear(self, peer: bytes, message: Any, arrays: Sequence[Array] = ()) -> list[Any]:
        """Let a message arrive."""
        return self.take(self.core.receive(peer, message, arrays, self.now))

    def subscribe(self, peer: bytes = b"t", position: int = 0, limit: int = 100, **more: Any) -> list[Any]:
        """Let a trainer subscribe."""
        fields: dict[str, Any] = {"stream": "train", "version": "1.0"} | more
        return self.hear(peer, Subscribe(position=position, limit=limit, **fields))

    def result(
        self,
        ordinal: int,
        item_offset: int | tuple[int, ...] | None = None,
        failing: frozenset[int] = frozenset(),
        stream: str = "train",
        **by: Any,
    ) -> list[Any]:
        """Let the result of a unit of work arrive, by another worker than any before unless `by` says which."""
        plan = self.plans[stream]
        self.workers += 1
        which = {"offsets" if isinstance(item_offset, tuple) else "item_offset": item_offset}
        key = TaskKey.checked({"stream": stream, "ordinal": ordinal} | which)
        chosen: dict[str, Any] = {"holder": self.workers} | by
        task = leased(make_task(plan, key), **chosen)
        return self.hear(b"", *make_result(plan, task, failing, by.get("worker", "w")))

    def need(self, stream: str = "train") -> StreamNeed | None:
        """Return what the sink reports about a stream."""
        self.core.streams.report.changed = True
        [send] = self.take(self.core.progress())
        return next((need for need in send.needs if need.stream == stream), None)

    def missing(self) -> list[int]:
        """Return the tasks that are missing."""
        need = self.need()
        return list(ranges.members(need.missing)) if need else []

    def wait(self, seconds: float, *heard: bytes) -> list[Any]:
        """Let time pass in small steps, with the ventilator's heartbeats and those of `heard` trainers."""
        out: list[Any] = []
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now = min(self.now + 0.25, until)
            for peer in (VENTILATOR, *heard):
                self.hear(peer, Heartbeat())
            out += self.take(self.core.tick(self.now))
        return out

    def failure(self, ordinal: int, offset: int) -> Quarantined:
        """Return the ventilator's word that it gave up on an item."""
        key = TaskKey(stream="train", ordinal=ordinal, item_offset=offset)
        [item] = make_task(self.plans["train"], key).items
        failure = Failure(
            offset=offset, item=item.item, path=item.path, reason="kills its worker", attempts=3, worker="w"
        )
        return Quarantined(key=key, failure=failure)

    def spans(self, peer: bytes = b"t") -> list[tuple[int, int]]:
        """Return the positions of the batches that a trainer got."""
        return [(each[0].start, each[0].stop) for each in self.got.get(peer, []) if isinstance(each, tuple)]

    def ends(self, peer: bytes = b"t") -> list[EpochEnd]:
        """Return the epoch ends that a trainer got."""
        return [each for each in self.got.get(peer, []) if isinstance(each, EpochEnd)]


def items_of(plan: StreamPlan, *ordinals: int) -> list[int]:
    """Return the items of tasks."""
    return [item.item for n in ordinals for item in make_task(plan, TaskKey(stream=plan.name, ordinal=n)).items]


def joined(batch: Batch, arrays: Sequence[Array]) -> list[Array]:
    """Return the fields of a message, each in one piece."""
    parts: dict[str, list[Array]] = {}
    for frame, array in zip(batch.frames, arrays, strict=True):
        parts.setdefault(frame.name, []).append(array)
    return [np.concatenate(pieces) for pieces in parts.values()]
