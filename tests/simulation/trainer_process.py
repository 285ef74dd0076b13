"""A simulated trainer: the shell around its core; it checks every batch against the reference."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import numpy as np
from simulation.processes import VERSION, Process
from simulation.sinks.sharing import Received
from support.plans import ExpectedBatch, ExpectedEnd, expected, make_samples

from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    EpochEnd,
    Part,
    Subscribe,
)
from penstock.protocol.wire import Array
from penstock.trainer.client.session import Deliver, Ended, Rejected, Session, SessionInstruction, SubscriptionConfig

if TYPE_CHECKING:
    from simulation.scenario import Fault, TrainerPart
    from simulation.world import World


class TrainerProcess(Process):
    """A trainer that checks every batch against the reference while it consumes them."""

    session: Session

    def __init__(self, name: str, world: "World", part: "TrainerPart") -> None:
        """Be not started yet."""
        super().__init__(name, world)
        self.part = part
        self._sink = world.sinks[part.sink].name
        self.plan = world.scenario.plan(part.stream)
        self.done = self.retired = False
        #: What a checkpoint holds, as (position, fingerprint); positions that were saved before are in `saves`.
        self.saved: tuple[int, str] = (part.position, "")
        self.saves: list[tuple[int, str]] = [self.saved]
        self.batches = 0
        #: What came since each start, if that is checked at the end.
        self.got: list[Received] = []

    def start(self) -> None:
        """Connect and go on from the last checkpoint, unless the job was resumed by others before this first start."""
        if self.retired:
            return
        super().start()
        part, world = self.part, self.world
        config = SubscriptionConfig(part.stream, part.rank, part.world_size, part.ahead, VERSION)
        self.session = Session(config, *self.saved, world.scenario.first_intervals, self.now)
        dead = world.scenario.dead(part.stream)
        self.wanted = expected(self.plan, dead, self.saved[0], part.rank, part.world_size)
        self.got.append(Received(self.plan, part, self.saved[0]))
        self._queue: deque[int] = deque()
        self._busy = False
        self._reached = self._subscribed = self.saved[0]
        self.identity = world.network.connect(self, self._sink)
        self._execute(self.session.start(self.now))
        self.later(self.session.next_timer(self.now) - self.now, self._tick)

    def seek(self, position: int) -> None:
        """Go on from another position."""
        self.saved = (position, self.plan.fingerprint)
        if self.world.rng.random() < 0.5:
            self._execute(self.session.leave())
        self.kill()
        self.start()

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Hand a message to the core."""
        del link, peer
        self._execute(self.session.receive(message, arrays, self.now))
        self.session.validate()

    def _tick(self) -> None:
        self._execute(self.session.tick(self.now))
        self.session.validate()
        self.later(max(self.session.next_timer(self.now) - self.now, 0.001), self._tick)

    def _execute(self, instructions: Iterable[SessionInstruction]) -> None:
        network = self.world.network
        for instruction in instructions:
            match instruction:
                case Send(_, message):
                    if isinstance(message, Subscribe):
                        self._subscribed = message.position
                    network.ask(self, self.identity, self._sink, message)
                case Deliver(batch, arrays):
                    fields = self._join(batch, arrays)
                    for part in batch.parts():
                        self._check(part, fields)
                        self._queue.append(part.stop)
                    assert sum(stop > 0 for stop in self._queue) <= self.part.ahead, (
                        "more batches wait than were granted"
                    )
                    self._consume()
                case Ended(stop, report):
                    self._check_end(stop, report)
                    self._queue.append(-stop)
                    self._consume()
                case Rejected(refused):
                    self.world.refused(self, refused)
                    self._finish()
                    self.kill()
                case Reopen():
                    network.disconnect(self.identity)
                    self.identity = network.connect(self, self._sink)
                case Note(event, fields):
                    self.trace(f"{event} {fields}")
                    self.world.notes[event] += 1
                case Failed():
                    raise AssertionError(instruction)
                case _:
                    assert_never(instruction)

    def _consume(self) -> None:
        while not self._busy and self._queue and self.alive and not self.done:
            if self._queue[0] <= 0:
                self._save(-self._queue.popleft())
                continue
            self._busy = True
            self.later(self.part.think_s * self.world.rng.uniform(0.5, 1.5), self._consumed)

    def _consumed(self) -> None:
        self._busy = False
        stop = self._queue.popleft()
        self.batches += 1
        self._execute(self.session.consume(1, self.now))
        self._save(stop)
        self._consume()

    def _save(self, position: int) -> None:
        self.world.came()
        self._reached = position
        if self.batches % self.part.save_every == 0:
            self.saved = (position, self.plan.fingerprint)
            self.saves.append(self.saved)
        if position >= self.part.target and not self.done:
            self._finish()
            if not self.world.scenario.lingers:
                self.leave()

    def _finish(self) -> None:
        self.done = True
        self.world.finished()

    def retire(self) -> None:
        """End for good: its job is resumed by others."""
        self.retired = True
        if not self.done:
            self._finish()
        if self.world.rng.random() < 0.5:
            self.leave()
        else:
            self.kill()

    def leave(self) -> None:
        """Unsubscribe and end."""
        if self.alive:
            self._execute(self.session.leave())
            self.kill()

    def _join(self, batch: Batch, arrays: Sequence[Array]) -> list[Array]:
        fields: dict[str, list[Array]] = {}
        for frame, array in zip(batch.frames, arrays, strict=True):
            assert (frame.shape, frame.dtype) == (array.shape, array.dtype.name)
            fields.setdefault(frame.name, []).append(array)
        assert [field.name for field in self.plan.schema] == list(fields)
        joined = [np.concatenate(parts) for parts in fields.values()]
        assert {sum(batch.sizes)} == {len(array) for array in joined}
        return joined

    def _check(self, batch: Part, fields: Sequence[Array]) -> None:
        if self.world.scenario.as_told:
            self.got[-1].add(batch, [array[batch.rows] for array in fields[2:4]])
            return
        want = next(self.wanted)
        assert isinstance(want, ExpectedBatch), f"{batch!r} came instead of {want}"
        if (want.start, want.stop) != (batch.start, batch.stop):
            self._fail(f"positions {batch.start} to {batch.stop} came instead of {want}", want.start)
        items, patches = [sample.item for sample in want.samples], [sample.patch for sample in want.samples]
        truth = make_samples(self.plan, want.epoch, items, patches)
        for known, array, field in zip(self.plan.schema, truth, fields, strict=True):
            got = field[batch.rows]
            assert (array.dtype, array.shape) == (got.dtype, got.shape), f"{known.name} of {want}"
            if array.tobytes() != got.tobytes():
                row = int((array != got).reshape(len(array), -1).any(axis=1).argmax())
                epoch_start = want.epoch * self.plan.geometry.samples_per_epoch
                self._fail(f"{known.name} is wrong in {want}", epoch_start + want.samples[row].place)

    def _fail(self, what: str, position: int) -> None:
        """Raise AssertionError with the story of the sample at `position`."""
        error = AssertionError(f"{self.name}: {what}")
        error.add_note(self.world.story(self.plan, position))
        raise error

    def _check_end(self, stop: int, report: EpochEnd | None) -> None:
        if self.world.scenario.as_told:
            self.got[-1].parts.append((stop,))
            return
        want = next(self.wanted)
        assert isinstance(want, ExpectedEnd), f"epoch's end at {stop} came instead of {want}"
        assert want.stop == stop
        if report is None:
            return
        size = self.plan.geometry.samples_per_epoch
        begin = max(self._subscribed - want.epoch * size, 0)
        left = self.world.scenario.alive(self.part.stream, want.epoch, begin)
        dropped = len([place for place in want.dropped if place >= begin])
        assert (want.epoch, want.stop) == (report.epoch, report.stop)
        assert size - begin == report.expected
        assert (left - dropped, size - begin - left, dropped) == (report.delivered, report.quarantined, report.dropped)


def reshape(world: "World", fault: "Fault") -> None:
    """Stop the ranks of a job, and resume it from a position that one of them saved with another world size."""
    job = [
        trainer
        for trainer in world.trainers
        if (trainer.part.stream, str(trainer.part.job)) == (fault.target, fault.other)
    ]
    job = [trainer for trainer in job if not trainer.retired]
    if all(trainer.done for trainer in job):
        return
    world.notes["job resumed"] += fault.world_size != job[0].part.world_size
    saves = [saved for trainer in job for saved in trainer.saves]
    position = saves[int(fault.choice * len(saves))][0]
    for trainer in job:
        trainer.retire()
    for rank in range(fault.world_size):
        sink = (rank + int(fault.choice * 1000)) % len(world.sinks)
        part = replace(job[0].part, rank=rank, world_size=fault.world_size, position=position, sink=sink)
        trainer = TrainerProcess(f"trainer {len(world.trainers)}", world, part)
        world.trainers.append(trainer)
        world.unfinished += 1
        trainer.start()
