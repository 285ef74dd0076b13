"""Lets happen what a schedule says goes wrong: at its time, or once trainers have consumed so many batches."""

from typing import TYPE_CHECKING

from simulation.cut_runners import CutRunners
from simulation.network import Cut
from simulation.processes import Process, SinkProcess
from simulation.scenario import Fault, WorkerPart
from simulation.standby.process import disturb
from simulation.trainer_process import TrainerProcess, reshape
from simulation.worker_process import WorkerProcess

if TYPE_CHECKING:
    from simulation.world import World


class Faults:
    """The faults of one schedule."""

    def __init__(self, world: "World") -> None:
        """Begin with none that has happened."""
        self._world = world
        #: Those that wait for trainers, and how many batches and epochs' ends these have passed.
        self._awaited = [fault for fault in world.scenario.faults if fault.after]
        self._passed = 0

    def start(self) -> None:
        """Let those with a time happen then."""
        for fault in self._world.scenario.faults:
            if not fault.after:
                self._world.clock.at(fault.when, lambda fault=fault: self._break(fault))  # type: ignore[misc]

    def came(self) -> None:
        """Note that a trainer came further, and let happen what waited for that."""
        self._passed += 1
        for fault in [fault for fault in self._awaited if fault.after <= self._passed]:
            self._awaited.remove(fault)
            self._world.clock.after(0.0, lambda fault=fault: self._break(fault))  # type: ignore[misc]

    def _break(self, fault: Fault) -> None:  # noqa: C901, PLR0915 - a case for each kind
        if self._world.network.trace:
            self._world.network.trace(f"FAULT {fault}")
        if fault.kind == "reshape":
            reshape(self._world, fault)
            return
        if fault.kind == "cut runners":
            self._world.cut_runners = CutRunners(self._world, fault)
            return
        process = self._named(fault.target)
        match fault.kind:
            case "cut":
                self._world.network.cuts[fault.target, fault.other] = Cut(
                    min(self._world.clock.now + fault.seconds, self._world.scenario.heal_at), fault.holds
                )
            case "folder" | "isolate":
                disturb(self._world, process, fault)
            case "join":
                part = WorkerPart(slots=2, slowness=1.0)
                worker = WorkerProcess(f"worker {len(self._world.workers)}", self._world, part)
                self._world.workers.append(worker)
                worker.start()
            case "pause" if process.alive:
                process.paused_until = min(self._world.clock.now + fault.seconds, self._world.scenario.heal_at)
            case "jump":
                process.jump(fault.seconds)
            case "disk" if self._world.disk and fault.holds:
                self._world.disk.full_until = self._world.clock.now + fault.seconds
            case "disk" if self._world.disk:
                self._world.disk.broken_until = self._world.clock.now + fault.seconds
            case "kill" if process.alive:
                process.kill()
                self._world.restart_later(process, fault.seconds)
                self._world.sharing.killed(process)
            case "start" if not process.generation:
                process.start()
                self._world.notes["sink started late"] += 1
            case "twin" if isinstance(process, SinkProcess):
                twin = SinkProcess(f"{process.name} twin", self._world, process.sink, f"{process.results} twin")
                twin.passing = True
                twin.start()
                self._world.clock.after(fault.seconds, twin.kill)
            case "hang" if isinstance(process, WorkerProcess) and process.alive:
                process.hang(fault.seconds)
            case "drain" if isinstance(process, WorkerProcess) and process.alive:
                process.drain()
            case "seek" if isinstance(process, TrainerProcess) and process.alive and not process.done:
                process.seek(process.saves[int(fault.choice * len(process.saves))][0])
            case _:
                pass  # it happened to a process that is not there

    def _named(self, name: str) -> Process:
        """Return the process of this name; "acting": the ventilator that acts."""
        if name == "acting":
            return self._world.ventilator
        return next(process for process in self._world.processes() if process.name == name)
