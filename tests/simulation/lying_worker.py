"""Simulated workers that lie: about what fails, about what they were asked for, and about what they have finished."""

from typing import TYPE_CHECKING

from simulation.worker_process import WorkerProcess
from support.plans import leased, make_result, make_task

from penstock.protocol.messages import Done, Result, Task, TaskKey, Timings
from penstock.protocol.wire import Array

if TYPE_CHECKING:
    from simulation.scenario import WorkerPart
    from simulation.world import World


class LyingWorkerProcess(WorkerProcess):
    """Holds leases as any worker does; what it makes of them is a lie, or late, or not its own."""

    def __init__(self, name: str, world: "World", part: "WorkerPart") -> None:
        """Be not started yet."""
        super().__init__(name, world, part)
        self._sent: list[tuple[Result, list[Array]]] = []

    def start(self) -> None:
        """Start once an honest worker is there: a worker that is alone is believed."""
        leases = getattr(self.world.ventilator, "leases", None)
        if leases and any(not worker.hello.worker.startswith("liar") for worker in leases.workers.values()):
            super().start()
        else:
            self.world.clock.after(0.1, self.start)

    def _kills(self, task: Task) -> bool:
        del task
        return False  # it runs nothing

    def _finish(self, task: Task, took_s: float) -> None:
        if not self._sinks:
            self.later(0.2, lambda: self._finish(task, took_s))
            return
        rng = self.world.rng
        for lie in (self._fail, self._repeat, self._forge):
            if rng.random() < 0.6:
                result, arrays = lie(task)
                for address in self._sinks.values():
                    self.world.network.ask(self, self._pusher, address, result, arrays)
        self.running = None
        if rng.random() < 0.9:  # else it keeps the lease, or says that it finished what it never sent
            times = Timings(decode_s=1e12)
            self._execute(self.session.finished((Done(key=task.key, timings=times),), self.now))
        self._next()

    def _fail(self, task: Task) -> tuple[Result, list[Array]]:
        """Return a result in which some items, or all, fail fatally."""
        items = [item.item for item in task.items]
        lies = frozenset(self.world.rng.sample(items, self.world.rng.randint(1, len(items))))
        scenario, name = self.world.scenario, task.key.stream
        # Of what nobody can decode it has no samples either: wrong pixels are not what this family is about.
        failing = lies | scenario.dead(name)
        result, arrays = make_result(scenario.plan(name), task, failing, self.session.hello.worker)
        fatal = tuple(failure.replaced(fatal=True) for failure in result.failures)
        self._sent.append((result.model_copy(update={"failures": fatal}), arrays))
        return self._sent[-1]

    def _repeat(self, task: Task) -> tuple[Result, list[Array]]:
        """Send an older result again, as it was."""
        return self.world.rng.choice(self._sent) if self._sent else self._fail(task)

    def _forge(self, task: Task) -> tuple[Result, list[Array]]:
        """Send a result of a task that was not leased to it, with a lease of its own making."""
        plan = self.world.scenario.plan(task.key.stream)
        key = TaskKey(stream=plan.name, ordinal=max(0, task.key.ordinal + self.world.rng.randint(-2, 4)))
        forged = leased(make_task(plan, key), self.session.hello.worker, task.lease.holder, vouched=True)
        lease = forged.lease.replaced(issuer=task.lease.issuer)
        result, arrays = self._fail(forged.replaced(lease=lease))
        self._sent.pop()
        return result, arrays


class BoastingWorkerProcess(LyingWorkerProcess):
    """Says of all that it is leased that it made every item, and has no samples to show for any."""

    def _finish(self, task: Task, took_s: float) -> None:
        if not self._sinks:
            self.later(0.2, lambda: self._finish(task, took_s))
            return
        plan = self.world.scenario.plan(task.key.stream)
        made, _ = make_result(plan, task, frozenset(), self.session.hello.worker)
        empty = made.model_copy(update={"shares": (), "frames": ()})
        for address in self._sinks.values():
            self.world.network.ask(self, self._pusher, address, empty, [])
        self.running = None
        self._execute(self.session.finished((Done(key=task.key, timings=Timings()),), self.now))
        self._next()


class ClaimingWorkerProcess(WorkerProcess):
    """Says of the items that kill its peers that it has finished them, and sends nothing; else it is honest."""

    def _kills(self, task: Task) -> bool:
        del task
        return False

    def _finish(self, task: Task, took_s: float) -> None:
        if not super()._kills(task):
            super()._finish(task, took_s)
            return

        def claim() -> None:
            self.running = None
            self._execute(self.session.finished((Done(key=task.key, timings=Timings()),), self.now))
            self._next()

        # Some lies come when the trainer that wanted the item has gone, others before that.
        self.later(self.world.rng.choice((0.0, self.world.rng.uniform(0.0, 3.0))), claim)
