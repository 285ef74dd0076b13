"""One schedule from its first event to the last trainer's last batch, and all that must hold meanwhile.

Owns the checks that need the whole view: the sink's memory, what may be quarantined, progress after the faults, and
that no process talks without end. What each trainer gets is checked by the trainer's process.
"""

import random
import re
from collections import Counter
from typing import NoReturn

from simulation import bounds
from simulation.cut_runners import CutRunners
from simulation.faults import Faults
from simulation.network import Clock, Network
from simulation.processes import Process, SinkProcess, VentilatorProcess
from simulation.scenario import Scenario, WorkerPart
from simulation.sinks.sharing import Sharing
from simulation.standby.process import StandbyProcess
from simulation.standby.shared_folder import SharedFolder, Terms
from simulation.trainer_process import TrainerProcess
from simulation.worker_process import WorkerProcess
from simulation.writer import WrittenFile
from support.plans import make_task

from penstock.protocol.event_log import in_order
from penstock.protocol.messages import Quarantined, Refused, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.leases import Leases

#: An item that a reason names.
_ITEM = re.compile(r"'(\d+)\.jpg'")


class World:
    """All processes of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        """Set everything up; nothing has started yet."""
        self.scenario = scenario
        self.rng = random.Random(scenario.seed + 1)
        self.clock = Clock()
        self.network = Network(self.clock, self.rng, scenario.weather, encoded=scenario.encoded)
        self.network.unreached = scenario.unreached
        self.notes: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        #: Reasons for which messages may be dropped: peers lie.
        self.tolerated: frozenset[str] = frozenset()
        #: Entries of the quarantine ledger, by stream, epoch and item.
        self.ledger: Counter[tuple[str, int, int]] = Counter()
        #: By (stream, item): how many workers died while it was theirs to run.
        self.deaths: Counter[tuple[str, int]] = Counter()
        self._dying: dict[bytes, TaskKey] = {}
        #: What several sinks were told and got.
        self.sharing = Sharing(self)
        #: Cuts off the workers that run an item, if a fault asks for that.
        self.cut_runners: CutRunners | None = None
        #: Items given up although nothing is wrong with them: three workers died in their neighbourhood.
        self.innocents: set[tuple[str, int]] = set()
        #: The records of several ventilators.
        self.folder = SharedFolder()
        kind = VentilatorProcess if len(scenario.ventilators) == 1 else StandbyProcess
        self.ventilators: list[VentilatorProcess] = [kind(name, self) for name in scenario.ventilators]
        self.terms = Terms()
        names = zip(scenario.sink_names, scenario.sinks, strict=True)
        self.sinks = [SinkProcess(name, self, sink) for name, sink in names]
        self.sink = self.sinks[0]
        self.workers = [WorkerProcess(f"worker {n}", self, part) for n, part in enumerate(scenario.workers)]
        self.trainers = [TrainerProcess(f"trainer {n}", self, part) for n, part in enumerate(scenario.trainers)]
        #: What the sink writes, if it writes anything.
        self.disk = WrittenFile(scenario.plans[0], scenario.epochs_written) if scenario.epochs_written else None
        #: Trainers and files that are not where they are to get yet; when any of them came further (s).
        self.unfinished = len(self.trainers) + (self.disk is not None)
        self.came_at = 0.0
        self._faults = Faults(self)
        self.patience_s = bounds.patience_s(self.scenario)

    @property
    def ventilator(self) -> VentilatorProcess:
        """The ventilator that acts, or did last."""
        return max(self.ventilators, key=lambda each: each.rank)

    def run(self) -> None:
        """Run until every trainer has reached its target; raise AssertionError if anything is not as it must be."""
        late = {fault.target for fault in self.scenario.faults if fault.kind == "start"}
        for process in [each for each in self.processes() if each.name not in late]:
            self.clock.after(self.rng.choice((0.0, self.rng.uniform(0, 1))), process.start)
        self._faults.start()
        self.clock.at(self.scenario.heal_at, self._heal)
        deadline = bounds.deadline(self.scenario)
        while self.unfinished:
            self.clock.step()
            assert self.clock.now < deadline, f"no end by {deadline:.0f} s: {self._standing()}"
            waited = self.clock.now - max(self.came_at, self.scenario.heal_at)
            assert waited < self.patience_s, f"nothing came for {waited:.0f} s: {self._standing()}"
        for trainer in self.trainers:
            trainer.leave()
        bounds.check_chatter(self.network.sent)
        if self.disk:
            self.disk.check(self.scenario.dead(self.disk.plan.name))
        if self.scenario.peace:
            self._check_peace()
        assert self.rejects.keys() <= self.tolerated, self.rejects

    def came(self) -> None:
        """Note that a trainer or a file came further."""
        self.came_at = self.clock.now
        self._faults.came()

    def finished(self) -> None:
        """Note that a trainer or a file is where it is to get."""
        self.unfinished -= 1
        self.came()

    @property
    def due(self) -> bool:
        """Whether to check a core's invariants now: every fourth step, since that costs most of a schedule's time.

        What is broken stays broken, so the next check finds it. With a trace, every step is checked.
        """
        return self.network.trace is not None or self.clock.steps % 4 == 0

    def _check_peace(self) -> None:
        """Check that nothing is held without a reader once all have left and the last silence has expired."""
        end = max(self.clock.now, self.scenario.heal_at) + 2 * self.scenario.intervals.silence_s + 1.0
        while self.clock.now < end:
            self.clock.step()
        for sink in self.sinks:
            assert not sink.assembly.streams.readers
            assert not any(store.starts() for store in sink.assembly.streams.stores.values())
        assert not any(queue.works for queue in self.ventilator.leases.queues.values())

    def restart_later(self, process: Process, delay_s: float) -> None:
        """Start a process again in `delay_s` seconds, as a supervisor would."""
        generation = process.generation

        def restart() -> None:
            if not process.alive and process.generation == generation and not getattr(process, "done", False):
                process.start()

        self.clock.after(delay_s, restart)

    def watch(self, leases: Leases) -> None:
        """Note what the ventilator takes for the running tasks of workers that are dead, before it may notice that."""
        is_open = self.network.is_open
        gone = [(peer, worker.running) for peer, worker in leases.workers.pairs() if not is_open(peer)]
        self._dying = {peer: key for peer, key in gone if key} if gone else {}

    def blame(self, leases: Leases) -> None:
        """Count the deaths that the ventilator noticed since `watch` against those tasks."""
        if not self._dying:
            return
        noticed = [key for peer, key in self._dying.items() if peer not in leases.workers]
        self._dying = {}
        for key in noticed:
            self.blame_task(key)

    def blame_task(self, key: TaskKey) -> None:
        """Count a worker's death against all items of a unit of work."""
        self.deaths.update((key.stream, item) for item in self._items(key))

    def _items(self, key: TaskKey) -> list[int]:
        return [item.item for item in make_task(self.scenario.plan(key.stream), key).items]

    def gave_up(self, message: Quarantined) -> None:
        """Check that the ventilator gave up for a reason."""
        stream, item = message.key.stream, message.failure.item
        assert message.failure.attempts >= self.scenario.policy.attempts
        assert self.scenario.deadly, f"item {item} was given up, and nobody had died"
        if item not in self.scenario.poison[stream] and (stream, item) not in self.innocents:
            self._check_innocent(stream, item)

    def _check_innocent(self, stream: str, item: int) -> NoReturn:
        """Check that an item that kills no worker was blamed because so many died; end the schedule."""
        known = self.ventilator.leases.workers
        just_now = [key for peer, key in self._dying.items() if peer not in known and key.stream == stream]
        deaths = self.deaths[stream, item] + sum(item in self._items(key) for key in just_now)
        assert deaths >= self.scenario.policy.attempts, f"item {item} was given up after {deaths} deaths"
        self.innocents.add((stream, item))
        raise InnocentQuarantined(stream, item)

    def story(self, plan: StreamPlan, position: int) -> str:
        """Return what happened to the task of the sample at `position`, as all cores that live remember it."""
        geometry, now = plan.geometry, self.clock.now
        first, last = geometry.tasks_between(position, position + 1)
        [ordinal] = [number for number in range(first, last) if position in geometry.positions(number)]
        key = TaskKey(stream=plan.name, ordinal=ordinal)
        ventilator = self.ventilator
        parts = [ventilator.leases.story(key, ventilator.now)]
        parts += [sink.assembly.story(key, sink.now) for sink in self.sinks]
        parts += [worker.session.story(key, worker.now) for worker in self.workers if worker.generation]
        parts += [
            trainer.session.story(key, trainer.now)
            for trainer in self.trainers
            if trainer.generation and trainer.part.stream == plan.name
        ]
        lines = [f"  {now - event.ago_s:9.4f} s  {service}: {event.what}" for service, event in in_order(parts)]
        return "\n".join([f"story of position {position}, task {plan.name}/{ordinal}:", *lines])

    def refused(self, trainer: TrainerProcess, refused: Refused) -> None:
        """Check that a trainer was refused for a reason."""
        stream, plan = trainer.part.stream, trainer.plan
        allowed = min(plan.settings.failure_budget * plan.items + 1, plan.items - 1)
        named = int(found[1]) if (found := _ITEM.search(refused.reason)) else -1
        if self.scenario.as_told and refused.kind == "outcomes":
            self.notes["cannot be made again" if "cannot be made again" in refused.reason else "sinks disagree"] += 1
            assert self.scenario.flaky or named in self.scenario.dead(stream), refused
            return
        if refused.kind == "outcomes" and self.scenario.deadly and "its worker died" in refused.reason:
            self._check_innocent(stream, named)
        assert refused.kind == "budget", refused
        assert "failure_budget" in refused.reason
        assert self.scenario.flaky or len(self.scenario.dead(stream)) > allowed - 1, refused

    def processes(self) -> list[Process]:
        """Return all processes."""
        return [*self.ventilators, *self.sinks, *self.workers, *self.trainers]

    def _heal(self) -> None:
        weather = self.network.weather
        if not self.scenario.forever:
            weather.loss = weather.duplication = weather.reordering = 0.0
        self.network.cuts.clear()
        if all(worker.left or worker.session.draining for worker in self.workers if worker.generation):
            part = WorkerPart(slots=2, slowness=1.0)
            self.workers.append(WorkerProcess(f"worker {len(self.workers)}", self, part))
        for process in self.processes():
            left = getattr(process, "left", False) or getattr(process, "done", False)
            if not process.alive and not left:
                process.start()

    def _standing(self) -> str:
        trainers = [
            (trainer.name, trainer.alive, trainer.session.position, trainer.part.target)
            for trainer in self.trainers
            if not trainer.done
        ]
        queues = {name: queue.missing for name, queue in self.ventilator.leases.queues.items()}
        return f"waiting: {trainers}, missing: {queues}"


class InnocentQuarantined(Exception):  # noqa: N818 - not an error: the schedule killed too well
    """Three workers died while they ran an item that is fine; the reference cannot know how the stream goes on."""
