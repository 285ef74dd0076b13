"""`penstock worker`: stateless; told one address, it fetches all else from there and runs tasks until drained."""

import os
import sys
import time
import uuid
from collections.abc import Iterable, Sequence

from pydantic import Field

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError, StackError
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import Drain, Heartbeat, Hello, Intervals, Reset, Tasks, WorkerStats, WorkerWelcome
from penstock.protocol.runtime.metrics import Metrics, Page
from penstock.protocol.runtime.service import Service, host_name, run
from penstock.protocol.runtime.settings import ServiceSettings
from penstock.protocol.stats import few
from penstock.protocol.transport.addresses import host_of, reachable
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, Address
from penstock.protocol.version import __version__
from penstock.worker.confinement import permitted_roots
from penstock.worker.executor import Engine, Setup
from penstock.worker.imaging.pipeline import Pipeline
from penstock.worker.metrics import METRICS, fill
from penstock.worker.session import Configure, Run, Stop, Withdraw, WorkerInstruction, WorkerSession
from penstock.worker.sink_reachability import Outlet

_FROM_VENTILATOR = wire.kinds(WorkerWelcome, Tasks, Heartbeat, Drain, Reset)
#: Exit status of a worker that is stuck in a task (EX_SOFTWARE of sysexits.h).
_STUCK = 70
#: Shared memory (bytes) that may be on its way or free beside what the sink holds.
_SPARE_BYTES = 64_000_000
#: Seconds that a drained worker's last result and goodbye may take to leave.
_LEAVE_S = 2.0


class WorkerSettings(ServiceSettings):
    """Decodes and transforms images; start as many as there are cores, on any machine."""

    ventilator: Address = OWN_VENTILATOR
    """Address of the ventilator: all that a worker needs to know."""
    root: dict[str, str] = Field(default_factory=dict)
    """name=/path: where a root of the spec lies on this host. A worker that is given any root reads below the given
    roots only, whatever the ventilator says."""
    allow_outside: bool = False
    """Whether a worker that was given --root follows links out of its roots where the spec asks for that."""
    slots: int = Field(default=3, ge=1, le=10_000)
    """Tasks to hold at once: one that runs, the rest so that none is waited for."""
    drain_s: float = Field(default=30.0, ge=0)
    """Seconds that a drain may take; then what runs is given back too."""
    heartbeat_s: float = Field(default=1.0, gt=0, le=3600)
    """Seconds between heartbeats until the ventilator says otherwise."""
    silence_s: float = Field(default=5.0, gt=0, le=86400)
    """Seconds of silence after which the ventilator counts as lost until it says otherwise."""
    shared_memory: bool = True
    """Share memory with a sink on this host, where both can; off: samples go through the socket."""


class Worker:
    """The worker's endpoint, its core and its engine."""

    def __init__(self, service: Service, settings: WorkerSettings) -> None:
        """Connect and say hello."""
        self.service, self.settings = service, settings
        self.name = f"{host_name()}/{os.getpid()}"
        self.left = False
        self._drain_by: float | None = None
        self._outlet, self._sink = Outlet(), ""
        self.engine = Engine(service.hub, self.name)
        self.ventilator = service.hub.dealer(settings.ventilator, _FROM_VENTILATOR, "ventilator")
        hello = Hello(
            worker=self.name, incarnation=uuid.uuid4().hex, host=host_name(), slots=settings.slots, version=__version__
        )
        intervals = Intervals(heartbeat_s=settings.heartbeat_s, silence_s=settings.silence_s)
        self.task_timeout_s = intervals.task_timeout_s
        now = time.monotonic()
        self.session = WorkerSession(hello, intervals, now)
        self.execute(self.session.start(now))

    def turn(self, now: float) -> float:
        """Take in all that is here; return when to turn again at the latest."""
        if self.engine.error:
            raise self.engine.error
        for _, message, _ in self.ventilator.receive():
            try:
                self.execute(self.session.receive(message, now))
            except RemoteProtocolError as error:
                self.service.hub.rejects.add(error, self.settings.ventilator)
        if done := self.engine.finished():
            self.execute(self.session.finished(done, now))
        if self.session.live.due(now):
            self.session.stats = self._stats(now)
        self.execute(self.session.tick(now))
        if self.service.orphaned:
            self.left = True
        elif self.service.stopping:
            self._drain(now)
        blocked = self._outlet.look(self._sink, self.engine.cut_since, self.session.live.intervals.silence_s, now)
        if blocked is not None:
            self.execute(self.session.block(blocked))
        self._watch(now)
        return self.session.next_timer()

    def execute(self, instructions: Iterable[WorkerInstruction]) -> None:
        """Carry out what the core asks for."""
        for instruction in instructions:
            match instruction:
                case Send(message=message):
                    self.ventilator.send(message)
                case Run(task):
                    self.engine.submit(task)
                case Withdraw():
                    self.execute(self.session.withdrawn(self.engine.withdraw()))
                case Configure(welcome):
                    self._configure(welcome)
                case Reopen():
                    self.ventilator.reopen()
                case Note():
                    self.service.note(instruction)
                case Stop():
                    self.left = True
                case Failed(reason):
                    raise StackError(reason)

    def fill(self, page: Page) -> None:
        """Fill a page of metrics; called by the thread that serves them."""
        fill(page, self.engine.meter, self.session.stats or WorkerStats(), len(self.session.held))

    def close(self) -> None:
        """Let the last words leave, then stop the threads."""
        ended = self.engine.stop(_LEAVE_S)
        self.ventilator.close(linger_s=_LEAVE_S)
        if not ended:  # a thread that hangs in a read or a decode keeps its socket, and nothing but this ends it
            self.service.log.error("a task does not end: leaving without it")
            os._exit(_STUCK)

    def _stats(self, now: float) -> WorkerStats:
        known = {"restarts": self.settings.restarts, "rejected": few(self.service.hub.rejects.counts)}
        return self.engine.stats(now).model_copy(update=known)

    def _configure(self, welcome: WorkerWelcome) -> None:
        self.task_timeout_s = welcome.intervals.task_timeout_s
        roots = permitted_roots(welcome, self.settings.root, allow_outside=self.settings.allow_outside)
        pipelines = {plan.name: Pipeline(plan, roots) for plan in welcome.streams}
        # A sink on the ventilator's host says so by a wildcard: it is where we reach the ventilator.
        self._sink = reachable(welcome.sink, host_of(self.settings.ventilator))
        self.engine.configure(Setup(pipelines, self._sink, welcome.incarnation, self._shared_bytes(welcome)))
        self.service.log.info("welcomed", streams=sorted(pipelines), sink=self._sink or "(none yet)")

    def _shared_bytes(self, welcome: WorkerWelcome) -> int:
        """Return how much memory to share at most: what the sink may hold ahead is all that can be in use."""
        if not self.settings.shared_memory:
            return 0
        return _SPARE_BYTES + sum(2 * plan.window() * plan.sample_bytes for plan in welcome.streams)

    def _drain(self, now: float) -> None:
        if self._drain_by is None:
            self._drain_by = now + self.settings.drain_s
            self.execute(self.session.drain())
        elif now > self._drain_by and not self.left:
            self._give_back("drain took too long: giving back what runs")
        elif (since := self.engine.sending_since) and now - since > self.session.live.intervals.silence_s:
            self._give_back("no sink takes what was made: it will be made again")  # all were told to stop, most likely

    def _give_back(self, why: str) -> None:
        if not self.left:
            self.service.log.warning(why, drain_s=self.settings.drain_s)
            self.execute(self.session.withdrawn(tuple(self.session.held)))

    def _watch(self, now: float) -> None:
        """Leave the hard way if a task does not end: threads cannot be killed, and the task must count an attempt."""
        for running in (self.engine.running, self.engine.reading):
            if running and now - running[0] > self.task_timeout_s:
                self.service.log.error(
                    "stuck in a task: leaving", task=running[1].model_dump(), after_s=self.task_timeout_s
                )
                os._exit(_STUCK)


def serve(settings: WorkerSettings) -> int:
    """Run the service until it was told to stop and has drained; return the exit status."""
    worker: Worker | None = None

    def status() -> dict[str, object]:
        welcomed = worker is not None and worker.session.welcomed
        why = "" if welcomed else f"waiting for the ventilator at {settings.ventilator}"
        if worker and worker.session.blocked:
            why = worker.session.blocked
        return {
            "ready": not why,
            "why": why,
            "held": len(worker.session.held) if worker else 0,
        }

    with Service("worker", settings, status) as service:
        worker = Worker(service, settings)
        service.health.serve("/metrics", Metrics(METRICS, worker.fill).answer)
        deadline = time.monotonic()
        try:
            while not worker.left:
                deadline = worker.turn(service.wait_until(deadline))
        finally:
            worker.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock worker`."""
    return run(WorkerSettings, serve, "worker", arguments)


if __name__ == "__main__":
    sys.exit(main())
