"""Simulated processes: the shells around the real cores, as thin as the socket shells. They execute instructions.

Every process can be killed and started at any moment; everything that it will do later is forgotten with it.
`worker_process.py` and `trainer_process.py` hold the other two.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, assert_never

from simulation.bounds import check_memory
from simulation.scenario import ClockPart
from simulation.standby.links import SimulatedLinks
from simulation.writer import BROKEN, Writer
from support.plans import PlannedTasks

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Failed, Instruction, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    LeaseKey,
    Outcomes,
    Quarantined,
    Result,
    SinkHello,
)
from penstock.protocol.wire import Array
from penstock.sink.core import assembly
from penstock.sink.core.assembly import Assembly
from penstock.sink.core.instructions import AppendToLedger, SinkInstruction, Write
from penstock.sink.core.writer_jobs import Outcome
from penstock.ventilator.core.leases import Leases

if TYPE_CHECKING:
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
        clock = world.scenario.clocks.get(name, ClockPart())
        self._offset, self._rate = clock.offset, clock.rate

    @property
    def now(self) -> float:
        """What its clock shows, which its core goes by."""
        return self._offset + self.world.clock.now * self._rate

    def jump(self, seconds: float) -> None:
        """Let its clock jump forward."""
        self._offset += seconds

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
        """Do something in `delay_s` seconds of its clock, unless this process was killed by then.

        While it is stopped, it waits.
        """
        generation = self.generation

        def act() -> None:
            if not self.alive or self.generation != generation:
                return
            if self.paused_until > self.now:
                self.world.clock.at(self.paused_until + 1e-6, act)
            else:
                action()

        self.world.clock.after(delay_s / self._rate, act)

    def trace(self, text: str) -> None:
        """Report an event to the listener, if there is one."""
        if self.world.network.trace:
            self.world.network.trace(f"{self.name}: {text}")


class VentilatorProcess(Process):
    """The ventilator."""

    leases: Leases
    #: When it turns next, though no message comes.
    _turn_at = math.inf

    def start(self) -> None:
        """Bind and begin to tick."""
        super().start()
        self._turn_at = math.inf
        self.leases = self._new_core(str(self.generation))
        self.world.network.bind(self.name, self)
        self.later(0.0, self._tick)

    def _new_core(self, start: str, term: int = 0) -> Leases:
        scenario = self.world.scenario
        return Leases(
            PlannedTasks(*scenario.plans),
            {"photos": "/photos"},
            scenario.intervals,
            VERSION,
            LeaseKey(issuer=f"{self.name}/{start}", secret=f"{self.generation:032x}"),
            scenario.policy,
            term=term,
        )

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Hand a message to the core."""
        del link, arrays
        self.world.watch(self.leases)
        try:
            self._execute(self.leases.receive(peer, message, self.now))
        except RemoteProtocolError as error:
            self.world.rejects[f"ventilator {error.reason}"] += 1
        self.world.blame(self.leases)
        self._turn()

    @property
    def rank(self) -> int:
        """Orders several ventilators: the highest is the one that acts, or did last."""
        return 0

    def _tick(self) -> None:
        self.world.watch(self.leases)
        self._execute(self.leases.tick(self.now))
        self.world.blame(self.leases)
        self._turn()
        self.later(self.leases.next_timer(self.now) - self.now, self._tick)

    def _turn_again(self) -> None:
        self._turn_at = math.inf
        self._turn()

    def _turn(self) -> None:
        self.world.watch(self.leases)
        self._execute(self.leases.dispatch(self.now))
        self.world.blame(self.leases)
        if (again := self.leases.next_dispatch()) < self._turn_at:
            self._turn_at = again
            self.later(max(0.001, again - self.now), self._turn_again)
        if self.world.due:
            self.leases.validate()

    def _execute(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Send(peer, message):
                    if isinstance(message, Quarantined):
                        self.world.gave_up(message)
                    elif isinstance(message, Outcomes):
                        self.world.sharing.published(message)
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
    """The sink, or one of several."""

    assembly: Assembly

    def __init__(self, name: str, world: "World", sink: str = "", results: str = "") -> None:
        """Be not started yet; of several sinks, this is the one called `sink`; workers reach it at `results`."""
        super().__init__(name, world)
        self.sink, self.results = sink, results or (f"results {sink}" if sink else "results")
        #: Whether nobody starts it again.
        self.passing = False

    def start(self) -> None:
        """Bind, connect and say hello."""
        super().start()
        network = self.world.network
        hello = SinkHello(
            incarnation=f"{self.name} {self.generation}",
            name=self.sink,
            results=self.results,
            host=self.world.scenario.hosts.get(self.name, self.name),
            version=VERSION,
        )
        disk = self.world.disk if self is self.world.sink else None
        self.writer = Writer(self, disk, self._wrote) if disk else None
        recording = self.writer.recording if self.writer else None
        self.assembly = Assembly(hello, self.world.scenario.first_intervals, self.now, recording)
        self._ventilators = SimulatedLinks(self)
        self._reporting, self._reported_at = False, 0.0
        network.bind(self.name, self)
        network.bind(self.results, self)
        self._execute(self.assembly.start(self.now))
        self.later(0.0, self._tick)

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Hand a message to the core."""
        who = peer
        if link in self.world.scenario.ventilators:
            if not self._ventilators.takes(link, message):
                return
            who = assembly.VENTILATOR
        if isinstance(message, Result):
            self.world.sharing.arrived(self, message)
        elif isinstance(message, Outcomes):
            self.world.sharing.heard(message)
        try:
            self._execute(self.assembly.receive(who, message, arrays, self.now))
        except RemoteProtocolError as error:
            self.trace(f"rejected {error}")
            self.world.rejects[f"sink {error.reason}"] += 1
        self._turn()

    def _tick(self) -> None:
        self._execute(self.assembly.tick(self.now))
        self._ventilators.greet(self.assembly.hello, self.assembly.intervals.heartbeat_s)
        self._turn()
        self.later(self.assembly.next_timer(self.now) - self.now, self._tick)

    def _turn(self) -> None:
        if self.world.due:
            self.assembly.validate()
            check_memory(self.assembly)
        if not self._reporting:
            self._reporting = True
            self.later(0.005, self._report)

    def _report(self) -> None:
        if not self.assembly.answered() and self.now < self._reported_at + 0.1:
            self.later(0.005, self._report)
            return
        self._reporting, self._reported_at = False, self.now
        self._execute(self.assembly.progress())

    def _wrote(self, outcome: Outcome) -> None:
        self._execute(self.assembly.wrote(outcome, self.now))
        if self.alive:
            self._turn()

    def _execute(self, instructions: Iterable[SinkInstruction]) -> None:
        network = self.world.network
        for instruction in instructions:
            match instruction:
                case Send(peer, message, arrays) if peer == assembly.VENTILATOR:
                    self._ventilators.send(message)
                case Send(peer, message, arrays):
                    if not network.answer(self, peer, message, arrays):
                        self._execute(self.assembly.gone(peer))
                case Reopen(peer):
                    assert assembly.VENTILATOR == peer
                    self._ventilators.reopen()
                case Note(event, fields):
                    self.trace(f"{event} {fields}")
                    self.world.notes[event] += 1
                case AppendToLedger(entry):
                    self.world.ledger[entry.stream, entry.epoch, entry.item] += 1
                case Write(job):
                    assert self.writer is not None
                    self.writer.do(job)
                case Failed(reason):
                    assert reason == BROKEN or "and lives" in reason, reason
                    self.trace(f"ends: {reason}")
                    self.kill()
                    if not self.passing:
                        self.world.restart_later(self, 0.5)
                    return
                case _:
                    assert_never(instruction)
