"""Simulated processes: the shells around the real cores, as thin as the socket shells. They execute instructions.

Every process can be killed and started at any moment; everything that it will do later is forgotten with it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, assert_never

import numpy as np
from support.plans import ExpectedBatch, ExpectedEnd, PlannedTasks, expected, make_result, make_samples

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Failed, Instruction, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Done,
    EpochEnd,
    Hello,
    Part,
    Quarantined,
    SinkHello,
    Subscribe,
    Task,
    Timings,
)
from penstock.protocol.wire import Array
from penstock.sink.core import assembly
from penstock.sink.core.assembly import Assembly
from penstock.sink.core.instructions import AppendToLedger, SinkInstruction, Write
from penstock.trainer.client.session import Deliver, Ended, Rejected, Session, SessionInstruction, SubscriptionConfig
from penstock.ventilator.core.leases import Leases
from penstock.worker.session import Configure, Run, Stop, Withdraw, WorkerInstruction, WorkerSession

if TYPE_CHECKING:
    from simulation.scenario import TrainerPart, WorkerPart
    from simulation.world import World

VERSION = "1.0"


class Process:
    """A process that can be killed, stopped and started again."""

    def __init__(self, name: str, world: "World") -> None:
        """Be not started yet."""
        self.name, self.world = name, world
        self.alive = False
        self.generation = 0
        self.paused_until = 0.0

    @property
    def now(self) -> float:
        """The simulated time."""
        return self.world.clock.now

    def start(self) -> None:
        """Start afresh."""
        self.generation += 1
        self.alive = True
        self.paused_until = 0.0

    def kill(self) -> None:
        """Die at once."""
        self.alive = False
        self.world.network.vanish(self)

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Take a message in."""
        raise NotImplementedError

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something in `delay_s` seconds, unless this process was killed by then; while it is stopped, wait."""
        generation = self.generation

        def act() -> None:
            if not self.alive or self.generation != generation:
                return
            if self.paused_until > self.now:
                self.world.clock.at(self.paused_until + 1e-6, act)
            else:
                action()

        self.world.clock.after(delay_s, act)

    def trace(self, text: str) -> None:
        """Tell what happens, if anybody listens."""
        if self.world.network.trace:
            self.world.network.trace(f"{self.name}: {text}")


class VentilatorProcess(Process):
    """The ventilator."""

    leases: Leases

    def start(self) -> None:
        """Bind and begin to tick."""
        super().start()
        world = self.world
        self.leases = Leases(
            PlannedTasks(*world.scenario.plans),
            {"photos": "/photos"},
            world.scenario.intervals,
            VERSION,
            world.scenario.policy,
        )
        world.network.bind("ventilator", self)
        self.later(0.0, self._tick)

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Hand a message to the core."""
        del link, arrays
        with self.world.blame(self.leases):
            try:
                self._execute(self.leases.receive(peer, message, self.now))
            except RemoteProtocolError as error:
                self.world.rejects[f"ventilator {error.reason}"] += 1
        self._turn()

    def _tick(self) -> None:
        with self.world.blame(self.leases):
            self._execute(self.leases.tick(self.now))
        self._turn()
        self.later(self.leases.next_timer(self.now) - self.now, self._tick)

    def _turn(self) -> None:
        with self.world.blame(self.leases):
            self._execute(self.leases.dispatch(self.now))
        self.leases.validate()

    def _execute(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Send(peer, message):
                    if isinstance(message, Quarantined):
                        self.world.gave_up(message)
                    if not self.world.network.answer(self, peer, message):
                        self._execute(self.leases.gone(peer, self.now))
                case Note(event, fields):
                    self.trace(f"{event} {fields}")
                    self.world.notes[event] += 1
                case Failed() | Reopen():
                    raise AssertionError(instruction)
                case _:
                    assert_never(instruction)


class SinkProcess(Process):
    """The sink."""

    assembly: Assembly

    def start(self) -> None:
        """Bind, connect and say hello."""
        super().start()
        network = self.world.network
        hello = SinkHello(incarnation=f"sink {self.generation}", results="results", version=VERSION)
        self.assembly = Assembly(hello, self.world.scenario.first_intervals, self.now)
        self._identity = network.connect(self, "ventilator")
        self._reporting = False
        network.bind("sink", self)
        network.bind("results", self)
        self._execute(self.assembly.start(self.now))
        self.later(0.0, self._tick)

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Hand a message to the core."""
        who = assembly.VENTILATOR if link == "ventilator" else peer
        try:
            self._execute(self.assembly.receive(who, message, arrays, self.now))
        except RemoteProtocolError as error:
            self.trace(f"rejected {error}")
            self.world.rejects[f"sink {error.reason}"] += 1
        self._turn()

    def _tick(self) -> None:
        self._execute(self.assembly.tick(self.now))
        self._turn()
        self.later(self.assembly.next_timer(self.now) - self.now, self._tick)

    def _turn(self) -> None:
        self.assembly.validate()
        self.world.check_memory(self.assembly)
        if not self._reporting:
            self._reporting = True
            self.later(0.005, self._report)

    def _report(self) -> None:
        self._reporting = False
        self._execute(self.assembly.progress())

    def _execute(self, instructions: Iterable[SinkInstruction]) -> None:
        network = self.world.network
        for instruction in instructions:
            match instruction:
                case Send(peer, message, arrays) if peer == assembly.VENTILATOR:
                    network.ask(self, self._identity, "ventilator", message, arrays)
                case Send(peer, message, arrays):
                    if not network.answer(self, peer, message, arrays):
                        self._execute(self.assembly.gone(peer))
                case Reopen(peer):
                    assert assembly.VENTILATOR == peer
                    network.disconnect(self._identity)
                    self._identity = network.connect(self, "ventilator")
                case Note(event, fields):
                    self.trace(f"{event} {fields}")
                    self.world.notes[event] += 1
                case AppendToLedger(entry):
                    self.world.ledger[entry.stream, entry.epoch, entry.item] += 1
                case Failed() | Write():
                    raise AssertionError(instruction)
                case _:
                    assert_never(instruction)


class WorkerProcess(Process):
    """A worker with one thread that computes."""

    session: WorkerSession

    def __init__(self, name: str, world: "World", part: "WorkerPart") -> None:
        """Be not started yet."""
        super().__init__(name, world)
        self.part = part
        self.left = False

    def start(self) -> None:
        """Connect and say hello."""
        super().start()
        network = self.world.network
        hello = Hello(
            worker=f"{self.name}/{self.generation}",
            incarnation=f"{self.name}/{self.generation}",
            host=self.name,
            slots=self.part.slots,
            version=VERSION,
        )
        self.session = WorkerSession(hello, self.world.scenario.first_intervals, self.now)
        self.queue: deque[Task] = deque()
        self.running: Task | None = None
        self.hung = False
        self._sink = ""
        self.identity = network.connect(self, "ventilator")
        self._pusher = network.connect(self, "results")
        self._execute(self.session.start(self.now))
        self.later(self.session.next_timer() - self.now, self._tick)

    def kill(self) -> None:
        """Die at once."""
        if self.running:
            self.world.blame_task(self.running.key)
        super().kill()

    def drain(self) -> None:
        """Ask it to leave."""
        self._execute(self.session.drain())

    def hang(self, seconds: float) -> None:
        """Stop computing for a while (which may be for ever); heartbeats go on."""
        self.hung = True
        self.later(seconds, self._recover)

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Hand a message to the core."""
        del link, peer, arrays
        self._execute(self.session.receive(message, self.now))

    def _tick(self) -> None:
        self._execute(self.session.tick(self.now))
        self.later(max(self.session.next_timer() - self.now, 0.001), self._tick)

    def _recover(self) -> None:
        self.hung = False

    def _execute(self, instructions: Iterable[WorkerInstruction]) -> None:
        network = self.world.network
        for instruction in instructions:
            match instruction:
                case Send(_, message):
                    network.ask(self, self.identity, "ventilator", message)
                case Run(task):
                    self.queue.append(task)
                    self._next()
                case Withdraw():
                    keys = tuple(task.key for task in self.queue)
                    self.queue.clear()
                    self._execute(self.session.withdrawn(keys))
                case Configure(welcome):
                    self._sink = welcome.sink
                case Reopen():
                    network.disconnect(self.identity)
                    self.identity = network.connect(self, "ventilator")
                case Note(event, fields):
                    self.trace(f"{event} {fields}")
                case Stop():
                    self.left = True
                    super().kill()
                case Failed():
                    raise AssertionError(instruction)
                case _:
                    assert_never(instruction)

    def _next(self) -> None:
        if self.running is not None or not self.queue or not self.alive:
            return
        task = self.running = self.queue.popleft()
        rng, scenario = self.world.rng, self.world.scenario
        took_s = scenario.task_s * self.part.slowness * rng.uniform(0.5, 1.5) * len(task.items) ** 0.5
        if any(item.item in scenario.poison[task.key.stream] for item in task.items):
            self.later(took_s * rng.random(), self._crash)
        else:
            self.later(took_s, lambda: self._finish(task, took_s))

        def watch() -> None:
            if self.running is task:
                self.trace("stuck: ends itself")
                self._crash()

        self.later(scenario.intervals.task_timeout_s, watch)

    def _crash(self) -> None:
        self.kill()
        self.world.restart_later(self, self.world.rng.uniform(0.05, 1.0))

    def _finish(self, task: Task, took_s: float) -> None:
        if self.hung:
            self.later(0.05, lambda: self._finish(task, took_s))
            return
        if not self._sink:  # no sink has said hello yet
            self.later(0.2, lambda: self._finish(task, took_s))
            return
        rng, scenario = self.world.rng, self.world.scenario
        plan = scenario.plan(task.key.stream)
        result, arrays = make_result(plan, task, scenario.failing[plan.name], self.name)
        self.world.network.ask(self, self._pusher, self._sink, result, arrays)
        self.running = None
        if rng.random() < scenario.crash_after_push:
            self._crash()
            return
        timings = Timings(decode_s=took_s)
        self._execute(self.session.finished((Done(key=task.key, timings=timings),), self.now))
        self._next()


class TrainerProcess(Process):
    """A trainer that checks every batch against the reference while it consumes them."""

    session: Session

    def __init__(self, name: str, world: "World", part: "TrainerPart") -> None:
        """Be not started yet."""
        super().__init__(name, world)
        self.part = part
        self.plan = world.scenario.plan(part.stream)
        self.done = False
        #: What a checkpoint holds, as (position, fingerprint); positions that were saved before are in `saves`.
        self.saved: tuple[int, str] = (part.position, "")
        self.saves: list[tuple[int, str]] = [self.saved]
        self.batches = 0

    def start(self) -> None:
        """Connect and go on from the last checkpoint."""
        super().start()
        part, world = self.part, self.world
        config = SubscriptionConfig(part.stream, part.rank, part.world_size, part.ahead, VERSION)
        self.session = Session(config, *self.saved, world.scenario.first_intervals, self.now)
        dead = world.scenario.dead(part.stream)
        self.wanted = expected(self.plan, dead, self.saved[0], part.rank, part.world_size)
        self._queue: deque[int] = deque()
        self._busy = False
        self._reached = self._subscribed = self.saved[0]
        self.identity = world.network.connect(self, "sink")
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

    def _tick(self) -> None:
        self._execute(self.session.tick(self.now))
        self.later(max(self.session.next_timer(self.now) - self.now, 0.001), self._tick)

    def _execute(self, instructions: Iterable[SessionInstruction]) -> None:
        network = self.world.network
        for instruction in instructions:
            match instruction:
                case Send(_, message):
                    if isinstance(message, Subscribe):
                        self._subscribed = message.position
                    network.ask(self, self.identity, "sink", message)
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
                    self.done = True
                    self.kill()
                case Reopen():
                    network.disconnect(self.identity)
                    self.identity = network.connect(self, "sink")
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
        self._reached = position
        if self.batches % self.part.save_every == 0:
            self.saved = (position, self.plan.fingerprint)
            self.saves.append(self.saved)
        if position >= self.part.target and not self.done:
            self.done = True
            if not self.world.scenario.lingers:
                self.leave()

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
