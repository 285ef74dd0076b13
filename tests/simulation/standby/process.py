"""A simulated ventilator of several: it acts while its record in the shared folder says so (`candidate.py`).

A process that was stopped may have checked that it acts just before, and what it sent may wait in its queues: so what
it does first after a pause goes out unchecked.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from simulation.network import Cut
from simulation.processes import Process, VentilatorProcess
from simulation.scenario import Fault

from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.messages import AnyMessage, Hello, SinkHello
from penstock.protocol.wire import Array
from penstock.ventilator.standby.candidate import Candidate, Job, Record, Seen
from penstock.ventilator.standby.company import GREETED_BEATS, Company

if TYPE_CHECKING:
    from simulation.world import World

#: Seconds without a change of a record after which another one acts.
TAKEOVER_S = 4.0
#: Chance that an access to the folder takes seconds while there is trouble.
_SLOW = 0.02
#: Seconds after a pause in which it does not notice that it acts no more.
_DAZED_S = 1.2


class StandbyProcess(VentilatorProcess):
    """One of several ventilators."""

    def __init__(self, name: str, world: "World") -> None:
        """Be not started yet."""
        super().__init__(name, world)
        self._term = self._last_term = 0
        self._beat_s = world.scenario.intervals.heartbeat_s
        self._company, self._hands_over = Company(0.0, self._beat_s), False

    def start(self) -> None:
        """List the sources, and wait for its turn."""
        self._candidate = Candidate(Record(f"{self.name}/{self.generation + 1}", self.name, takeover_s=TAKEOVER_S))
        self._term = 0
        super().start()
        self.later(0.0, self._work)

    @property
    def rank(self) -> int:
        """The last term in which it acted."""
        return self._last_term

    @property
    def _steady(self) -> float:
        """A clock that does not jump: it only runs a little too fast or too slow."""
        return self.world.clock.now * self._rate

    @property
    def _dazed(self) -> bool:
        """Whether it was just stopped, and goes on as before."""
        return self.paused_until <= self.world.clock.now < self.paused_until + _DAZED_S and self.paused_until > 0

    @property
    def acts(self) -> bool:
        """Whether it would send a message now, if it were not stopped."""
        held = 0 < self._term == self._candidate.term
        return self.alive and held and self._steady < self._candidate.acts_until

    def receive(self, link: str, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> None:
        """Hand a message to the core, or drop it."""
        if isinstance(message, Hello | SinkHello):
            self._company.greeted(self.now)
            self._candidate.greeted_until = self._steady + GREETED_BEATS * self._beat_s
        if self._review():
            super().receive(link, peer, message, arrays)

    def _tick(self) -> None:
        if self._review():
            super()._tick()
        else:
            self.later(0.1, self._tick)

    def _review(self) -> bool:
        """Notice that it began or ceased to act; return whether it does, or does not know better yet."""
        if self._dazed and self._term:
            return True
        term = self._candidate.term if self._candidate.holds(self._steady) else 0
        if term != self._term:
            self.trace(f"acts: {term}" if term else "acts no more")
            self._term, self._last_term = term, term or self._last_term
            self._company = Company(self.now, self._beat_s)
            self.leases = self._new_core(f"{self.generation}/{term}", term)
            self.world.notes["took over" if term else "ceased to act"] += 1
        here = bool(self.leases.peers())
        elsewhere = term > 0 and not here and self._candidate.another_is_reached(self._steady)
        if self._company.is_lost(self.now, here=here, elsewhere=elsewhere):
            self._hands_over = self._candidate.another_is_reached(self._steady)
        return term > 0

    def _execute(self, instructions: Iterable[Instruction]) -> None:
        unchecked = self._dazed
        others = [each for each in self.world.ventilators if each is not self]
        for each in instructions:
            if not unchecked and not self.acts:
                return
            if unchecked and not self.acts:
                self.world.notes["sent by one that acts no more"] += 1
            elif isinstance(each, Send):
                assert not any(isinstance(other, StandbyProcess) and other.acts for other in others), "two act"
            if isinstance(each, Send):
                self.world.terms.note(each.message, self._term)
            super()._execute([each])

    def _work(self) -> None:
        began = self._steady
        if handed := self._candidate.hand_over(began) if self._hands_over else None:
            self.trace("hands over")
            self.world.notes["handed over"] += 1
        self._hands_over = False
        job = handed or self._candidate.job(began, 1_700_000_000)
        self._candidate.validate(self._steady)
        self.later(self._delay(), lambda: self._do(job, began))

    def _do(self, job: Job, began: float) -> None:
        folder = self.world.folder
        away = self.world.clock.now < folder.away_until
        seen = None if away and self.world.rng.random() < 0.5 else folder.do(job)
        self.later(self._delay(), lambda: self._hear(job, None if away else seen, began))

    def _hear(self, job: Job, seen: Seen | None, began: float) -> None:
        if seen is None:
            self._candidate.failed(job, "no answer", self._steady)
        else:
            self._candidate.took(job, seen, began, self._steady)
        self.later(max(0.0, self._candidate.due - self._steady), self._work)

    def _delay(self) -> float:
        rng = self.world.rng
        slow = self.world.clock.now < self.world.scenario.heal_at and rng.random() < _SLOW
        return rng.uniform(0, 5) if slow else rng.uniform(0, 0.02)


def disturb(world: "World", process: Process, fault: Fault) -> None:
    """Take the shared folder away from all, or cut one ventilator off from all workers and sinks."""
    until = min(world.clock.now + fault.seconds, world.scenario.heal_at)
    if fault.kind == "folder":
        world.folder.away_until = until
        return
    for name in world.scenario.names:
        world.network.cuts[process.name, name] = world.network.cuts[name, process.name] = Cut(until, fault.holds)
