"""A simulated worker: the shell around its core, and a thread that computes."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, assert_never

from simulation.processes import VERSION, Process
from simulation.standby.links import SimulatedLinks
from support.plans import make_result, shares_of

from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Done,
    Hello,
    Task,
    Timings,
)
from penstock.protocol.wire import Array
from penstock.worker.session import Configure, Run, Stop, Withdraw, WorkerInstruction, WorkerSession

if TYPE_CHECKING:
    from simulation.scenario import WorkerPart
    from simulation.world import World


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
            host=self.world.scenario.hosts.get(self.name, self.name),
            slots=self.part.slots,
            version=VERSION,
        )
        self.session = WorkerSession(hello, self.world.scenario.first_intervals, self.now)
        self.queue: deque[Task] = deque()
        self.running: Task | None = None
        self.hung = self._computed = False
        #: Where each sink takes results in, by name.
        self._sinks: dict[str, str] = {}
        self._ventilators = SimulatedLinks(self)
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
        del peer, arrays
        if not self._ventilators.takes(link, message):
            return
        self._execute(self.session.receive(message, self.now))
        self.session.validate()

    def _tick(self) -> None:
        self._execute(self.session.tick(self.now))
        self._ventilators.greet(self.session.hello, self.session.live.intervals.heartbeat_s)
        self.session.validate()
        self.later(max(self.session.next_timer() - self.now, 0.001), self._tick)

    def _recover(self) -> None:
        self.hung = False

    def _execute(self, instructions: Iterable[WorkerInstruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Send(_, message):
                    self._ventilators.send(message)
                    if self.world.cut_runners:
                        self.world.cut_runners.sent(self, message)
                case Run(task):
                    self.queue.append(task)
                    self._next()
                case Withdraw():
                    keys = tuple(task.key for task in self.queue)
                    self.queue.clear()
                    self._execute(self.session.withdrawn(keys))
                case Configure(welcome):
                    self._sinks = {sink.name: sink.results for sink in welcome.sinks}
                case Reopen():
                    self._ventilators.reopen()
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
        self._computed = False
        rng, scenario = self.world.rng, self.world.scenario
        took_s = scenario.task_s * self.part.slowness * rng.uniform(0.5, 1.5) * len(task.items) ** 0.5
        if self._kills(task):
            self.later(took_s * rng.random(), self._crash)
        else:
            self.later(took_s, lambda: self._finish(task, took_s))

        def watch() -> None:
            if self.running is task and not self._computed:
                self.trace("stuck: ends itself")
                self._crash()

        self.later(scenario.intervals.task_timeout_s, watch)

    def _kills(self, task: Task) -> bool:
        return any(item.item in self.world.scenario.poison[task.key.stream] for item in task.items)

    def _crash(self) -> None:
        self.kill()
        self.world.restart_later(self, self.world.rng.uniform(0.05, 1.0))

    def _finish(self, task: Task, took_s: float) -> None:
        if self.hung and not self._computed:  # what is computed waits for the sink alone
            self.later(0.05, lambda: self._finish(task, took_s))
            return
        self._computed = True
        if not self._sinks:  # no sink has said hello yet
            self.later(0.2, lambda: self._finish(task, took_s))
            return
        rng, scenario = self.world.rng, self.world.scenario
        plan = scenario.plan(task.key.stream)
        unlucky = frozenset(item for item in sorted(scenario.flaky.get(plan.name, ())) if rng.random() < 0.5)
        result, arrays = make_result(plan, task, scenario.failing[plan.name] | unlucky, self.session.hello.worker)
        for sink, share, rows in shares_of(plan, task, result, arrays):
            if sink in self._sinks:
                self.world.sharing.sent(self, sink, share)
                self.world.network.ask(self, self._pusher, self._sinks[sink], share, rows)
        self.running = None
        if rng.random() < scenario.crash_after_push:
            self._crash()
            return
        timings = Timings(decode_s=took_s)
        self._execute(self.session.finished((Done(key=task.key, timings=timings),), self.now))
        self._next()
