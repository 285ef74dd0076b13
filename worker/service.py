"""`penstock worker`: stateless; connects to the ventilator, fetches spec and addresses, runs tasks until drained."""

import os
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, assert_never

from pydantic import Field

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError, SourceError, StackError
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    Drain,
    Heartbeat,
    Hello,
    Intervals,
    Reset,
    SinkAddress,
    StoryRequest,
    Tasks,
    WorkerStats,
    WorkerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.metrics import Metrics, MetricsPage
from penstock.protocol.runtime.service import Service, host_name, run
from penstock.protocol.runtime.settings import NodeSettings
from penstock.protocol.runtime.ventilator_links import VentilatorLinks
from penstock.protocol.stats import few
from penstock.protocol.transport.addresses import check_sent_address, host_of, reachable
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, Addresses
from penstock.protocol.version import __version__
from penstock.worker.confinement import permitted_roots
from penstock.worker.decoded_images import DecodedImages
from penstock.worker.executor import Executor, Setup
from penstock.worker.imaging.cache.images import Cache
from penstock.worker.imaging.map_style import import_from
from penstock.worker.imaging.parts.opening import open_any
from penstock.worker.kept_shards import KeptShards
from penstock.worker.metrics import METRICS, fill
from penstock.worker.session import Configure, Run, Stop, Withdraw, WorkerInstruction, WorkerSession
from penstock.worker.sink_reachability import SinkReachability

if TYPE_CHECKING:
    from penstock.worker.imaging.parts.pipeline import AnyPipeline

_FROM_VENTILATOR = wire.kinds(WorkerWelcome, Tasks, Heartbeat, Drain, Reset, StoryRequest)
#: Exit status of a worker that is stuck in a task (EX_SOFTWARE of sysexits.h).
_STUCK = 70
#: Shared memory (bytes) that may be in transit or free, in addition to what the sink holds.
_SPARE_BYTES = 64_000_000
#: Seconds that a drained worker's last result and goodbye may take to leave.
_LEAVE_S = 2.0


class WorkerSettings(NodeSettings):
    """Decodes and transforms images; start as many as there are cores, on any machine."""

    ventilator: Addresses = OWN_VENTILATOR
    """Address of the ventilator, from which the worker learns all other addresses; with a standby, those of both, as in
    tcp://one:5555,tcp://other:5555."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=PATH: the path of one of the spec's roots on this host. With any --root, the worker reads only below the
    roots given here, whatever the ventilator sends."""
    allow_outside: bool = False
    """Allow a worker with --root to follow links out of its roots where the spec asks for that."""
    dataset: list[str] = Field(default_factory=list)
    """module:Class of a map-style dataset that the worker may import and call; it imports no other dataset, whatever
    the ventilator sends."""
    import_path: list[str] = Field(default_factory=list)
    """Folder from which datasets may be imported, in addition to those where Python looks."""
    cache: str = ""
    """Folder for decoded images of streams with `cache`, and for whole shards of sources with `cache_gb`, shared by the
    workers of this host: on a local disk, or /dev/shm; default: penstock in the user's cache folder."""
    cache_gb: float | None = Field(default=None, ge=0)
    """Most room (GB, 10^9 bytes) for decoded images on this host, and for whole shards of each source, whatever the
    spec says; 0: keep none; default: what the spec asks for."""
    slots: int = Field(default=3, ge=1, le=256)
    """Tasks leased at once: one runs, the others are prefetched; from 2 on, twice as many if short and plenty."""
    drain_s: float = Field(default=30.0, ge=0)
    """Maximum seconds of a drain; after that, running tasks are returned to the ventilator."""
    heartbeat_s: float = Field(default=1.0, gt=0, le=3600)
    """Seconds between heartbeats until the ventilator sends its own setting."""
    silence_s: float = Field(default=5.0, gt=0, le=86400)
    """Seconds of silence after which the ventilator counts as lost, until the ventilator sends its own setting."""
    shared_memory: bool = True
    """Send samples through shared memory to a sink on this host if possible; off: through the socket."""


class Worker:
    """The worker's endpoint, its core, and the threads that make samples."""

    def __init__(self, service: Service, settings: WorkerSettings) -> None:
        """Connect and say hello."""
        self._service, self._settings = service, settings
        name = f"{host_name()}/{os.getpid()}"
        #: Whether there is nothing left to do.
        self.left = False
        self._drain_by: float | None = None
        self._reachability = SinkReachability()
        self._pipelines: dict[str, AnyPipeline] = {}
        self._decoded = DecodedImages(settings.cache, settings.cache_gb, service.note)
        self._kept_shards = KeptShards(settings.cache, settings.cache_gb, service.note)
        import_from(settings.import_path)
        #: Whether the sources of the pipelines are opened anew with the next welcome.
        self._stale = False
        self._executor = Executor(service.hub, name)
        self._ventilator = VentilatorLinks(service.hub, settings.ventilator, _FROM_VENTILATOR)
        host = settings.node or host_name()
        hello = Hello(worker=name, incarnation=uuid.uuid4().hex, host=host, slots=settings.slots, version=__version__)
        intervals = Intervals(heartbeat_s=settings.heartbeat_s, silence_s=settings.silence_s)
        self._task_timeout_s = intervals.task_timeout_s
        now = time.monotonic()
        self._core = WorkerSession(hello, intervals, now)
        #: What the status and the metrics show; made by the loop, since other threads read it.
        self.observed = self._core.observe(now)
        self._execute(self._core.start(now))
        service.health.serve("/metrics", Metrics(METRICS, self._fill).answer)

    def turn(self, now: float) -> float:
        """Handle all that has arrived and is due; return when to turn again at the latest."""
        if self._executor.error:
            raise self._executor.error
        rejects = self._service.hub.rejects
        self._ventilator.receive(rejects, lambda message: self._execute(self._core.receive(message, now)))
        if done := self._executor.finished():
            self._execute(self._core.finished(done, now))
        self._execute(self._core.tick(now, self._stats(now) if self._core.wants_stats(now) else None))
        if self._service.orphaned:
            self.left = True
        elif self._service.stopping:
            self._drain(now)
        self._check_sink(now)
        self._check_stuck(now)
        self._decoded.log_notes()
        self._kept_shards.log_notes(self._pipelines.values())
        self.observed = self._core.observe(now)
        rest_until, turn_at = self._executor.rest(now, self._core.next_timer())
        self._service.rest_until(rest_until)
        greet_at = self._ventilator.greet(self._core.hello, now, self._core.live.intervals.heartbeat_s)
        return min(self._core.next_timer(), greet_at, turn_at)

    def status(self) -> dict[str, object]:
        """Return what `/healthz` shows."""
        seen = self.observed
        why = seen.blocked or ("" if seen.welcomed else self._ventilator.waiting)
        return {"ready": not why, "why": why, "held": seen.held}

    def close(self) -> None:
        """Let the last messages leave, then stop the threads."""
        ended = self._executor.stop(_LEAVE_S)
        self._ventilator.close(linger_s=_LEAVE_S)
        if not ended:  # a thread that hangs in a read or a decode keeps its socket, and nothing but this ends it
            self._service.log.error("a task does not end: leaving without it")
            os._exit(_STUCK)
        self._decoded.close()

    def _execute(self, instructions: Iterable[WorkerInstruction]) -> None:
        """Carry out what the core asks for."""
        for instruction in instructions:
            match instruction:
                case Send(message=message):
                    self._ventilator.send(message)
                case Run(task):
                    self._executor.submit(task)
                case Withdraw():
                    self._stale = True  # another ventilator may have listed other files: open them anew
                    self._execute(self._core.withdrawn(self._executor.withdraw()))
                case Configure(welcome):
                    self._configure(welcome)
                case Reopen():
                    self._ventilator.reopen()
                case Note():
                    self._service.note(instruction)
                case Stop():
                    self.left = True
                case Failed(reason):
                    raise StackError(reason)
                case _:
                    assert_never(instruction)

    def _fill(self, page: MetricsPage) -> None:
        """Fill a page of metrics; called by the thread that serves them."""
        fill(page, self._executor.counters, self.observed.stats, self.observed.held)

    def _stats(self, now: float) -> WorkerStats:
        known = {"restarts": self._settings.restarts, "rejected": few(self._service.hub.rejects.counts)}
        known |= {"cache": self._decoded.stats(), "shards": self._kept_shards.stats(self._pipelines.values())}
        return self._executor.stats(now).model_copy(update=known)

    def _configure(self, welcome: WorkerWelcome) -> None:
        self._task_timeout_s = welcome.intervals.task_timeout_s
        roots = permitted_roots(welcome, self._settings.root, allow_outside=self._settings.allow_outside)
        cache = self._decoded.open(welcome.streams)
        self._pipelines = {plan.name: self._pipeline(plan, roots, cache) for plan in welcome.streams}
        self._stale = False
        sinks = self._usable(welcome.sinks)
        near = frozenset(sink.name for sink in sinks if sink.host == self._core.hello.host)
        self._executor.configure(Setup(self._pipelines, sinks, self._shared_bytes(welcome), near))
        told = {sink.name: sink.results for sink in sinks}
        shown = {"sink": told[""]} if "" in told else {"sinks": told} if told else {"sink": "(none yet)"}
        self._service.log.info("welcomed", streams=sorted(self._pipelines), **shown)

    def _pipeline(self, plan: StreamPlan, roots: Mapping[str, str], cache: Cache | None) -> "AnyPipeline":
        """Return the open pipeline of an equal plan, or open one.

        A worker is welcomed again whenever the sink changes. Sources stay open then: opening them takes time, and fails
        where a part was deleted meanwhile, although only the part's items are lost. For the same reason they stay open
        if a worker that lost the others for a while cannot open them again.
        """
        known = self._pipelines.get(plan.name)
        if known is None or not known.serves(plan, roots):
            return self._kept_shards.open(open_any(plan, roots, self._settings.dataset, cache))
        if self._stale:
            try:
                return self._kept_shards.open(open_any(plan, roots, self._settings.dataset, cache))
            except SourceError as error:
                self._service.log.warning("a source stays open as it was", stream=plan.name, why=str(error))
        return known

    def _usable(self, sinks: Iterable[SinkAddress]) -> list[SinkAddress]:
        """Return the sinks at the addresses that lead to them from here.

        One to which no socket can connect is left out: a worker waits for a better address.
        """
        found = []
        for sink in sinks:
            # A sink on the ventilator's host says so by a wildcard: it is where we reach the ventilator.
            address = reachable(sink.results, host_of(self._ventilator.address))
            try:
                check_sent_address(address)
            except RemoteProtocolError as error:
                self._service.hub.rejects.add(error, self._ventilator.address)
            else:
                found.append(sink.model_copy(update={"results": address}))
        return found

    def _shared_bytes(self, welcome: WorkerWelcome) -> int:
        """Return the most memory to share with a sink: its window is all that can be in use."""
        if not self._settings.shared_memory:
            return 0
        return _SPARE_BYTES + sum(2 * plan.window() * plan.sample_bytes for plan in welcome.streams)

    def _drain(self, now: float) -> None:
        if self._drain_by is None:
            self._drain_by = now + self._settings.drain_s
            self._execute(self._core.drain())
        elif now > self._drain_by and not self.left:
            self._give_back("drain took too long: giving back what runs")
        elif (since := self._executor.sending_since) and now - since > self._core.live.intervals.silence_s:
            # The stack is probably stopping.
            self._give_back("no sink accepts the results: their tasks will be repeated")

    def _give_back(self, why: str) -> None:
        if not self.left:
            self._service.log.warning(why, drain_s=self._settings.drain_s)
            self._execute(self._core.withdrawn(tuple(self._core.held)))

    def _check_sink(self, now: float) -> None:
        """Tell the core when results stop reaching a sink, and when they reach it again."""
        blocked = self._reachability.check(self._executor.cut, self._core.live.intervals.silence_s, now)
        if blocked is not None:
            self._execute(self._core.block(blocked))

    def _check_stuck(self, now: float) -> None:
        """Leave the hard way if a task does not end: threads cannot be killed, and the task must count an attempt."""
        for running in (self._executor.running, self._executor.reading):
            if running and now - running[0] > self._task_timeout_s:
                self._service.log.error(
                    "stuck in a task: leaving", task=running[1].to_dict(), after_s=self._task_timeout_s
                )
                os._exit(_STUCK)


def serve(settings: WorkerSettings) -> int:
    """Run the service until it was asked to stop and has drained; return the exit status."""
    worker: Worker | None = None

    def status() -> dict[str, object]:
        return worker.status() if worker else {"ready": False, "why": "starting"}

    with Service("worker", settings, status) as service:
        worker = Worker(service, settings)
        try:
            service.loop(worker.turn, lambda: worker.left)
        finally:
            worker.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock worker`."""
    return run(WorkerSettings, serve, "worker", arguments)


if __name__ == "__main__":
    sys.exit(main())
