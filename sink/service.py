"""`penstock sink`: takes results in, restores order, forwards batches under credit, keeps the quarantine ledger."""

import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, assert_never

from penstock.protocol import wire
from penstock.protocol.errors import SpecError, StackError
from penstock.protocol.heartbeat import Attention
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    Drain,
    Goodbye,
    Heartbeat,
    Intervals,
    Outcomes,
    Paths,
    Quarantined,
    Reset,
    Result,
    SampleRequest,
    SinkHello,
    SinkWelcome,
    Story,
    StoryRequest,
    Subscribe,
    TrainerWelcome,
)
from penstock.protocol.runtime.metrics import Metrics
from penstock.protocol.runtime.service import Observed, Service, host_name, run, spare_collector
from penstock.protocol.runtime.story_desk import StoryDesk
from penstock.protocol.runtime.ventilator_links import VentilatorLinks
from penstock.protocol.transport.addresses import check_address, farthest, host_of, reachable
from penstock.protocol.transport.own_sockets import split
from penstock.protocol.transport.reachability import advertised
from penstock.protocol.transport.receiving import receive_all
from penstock.protocol.transport.segments import can_share
from penstock.protocol.transport.shared_memory import Attachments, most_segments
from penstock.protocol.transport.sockets import Endpoint
from penstock.protocol.version import __version__
from penstock.protocol.wire import Array
from penstock.sink.core.assembly import VENTILATOR, Assembly
from penstock.sink.core.instructions import AppendToLedger, SinkInstruction, Write
from penstock.sink.core.recording import Pace, Recording
from penstock.sink.core.statistics import ProcessFacts
from penstock.sink.metrics import METRICS, fill
from penstock.sink.quarantine_ledger import Ledger
from penstock.sink.report_pace import ReportPace
from penstock.sink.resting import Resting
from penstock.sink.settings import SinkSettings
from penstock.sink.shared_batches import Lending

if TYPE_CHECKING:
    from penstock.sink.output.writer_thread import Writer

_FROM_VENTILATOR = wire.kinds(SinkWelcome, Outcomes, Quarantined, Paths, Heartbeat, Reset, Drain, StoryRequest)
_FROM_TRAINERS = wire.kinds(Subscribe, Credit, Heartbeat, Goodbye, Story, SampleRequest)
#: Seconds that a last commit may take before the process ends without: the next run makes those samples again.
_LEAVE_S = 0.7
#: Seconds between two observations of the core for the status and the metrics.
_OBSERVE_S = 0.1
#: How much longer an observation may wait for other work that wakes the loop (s).
_PATIENCE_S = 0.2
#: Seconds to wait for the trainers' parts of a story.
_STORY_S = 0.5
#: How often (s) memory of workers that are gone is given back.
_SWEEP_S = 5.0


class Sink:
    """The sink's endpoints, its core, and the thread that writes."""

    def __init__(self, service: Service, settings: SinkSettings) -> None:
        """Bind and connect, open the ledger, say hello to the ventilator. Raises SpecError."""
        self._service, self._settings = service, settings
        hub = service.hub
        self._lending: Lending | None = None
        if settings.shared_memory and can_share():
            hub.memory = Attachments(releases=True, most=most_segments())
            self._lending = Lending()
        self._results = hub.pull(settings.results, {"worker": wire.kinds(Result)})
        self._trainers = hub.router(settings.bind, {"trainer": _FROM_TRAINERS, "ventilator": wire.kinds(SampleRequest)})
        self._ventilator = VentilatorLinks(hub, settings.ventilator, _FROM_VENTILATOR)
        self._ledger = Ledger(settings.quarantine)
        self._stories = StoryDesk(_STORY_S)
        hello = self._hello()
        intervals = Intervals(heartbeat_s=settings.heartbeat_s, silence_s=settings.silence_s)
        now = time.monotonic()
        self._writer: Writer | None = None
        recording = self._open_writer() if settings.writer != "none" else None
        process = ProcessFacts(settings.restarts, hub.rejects.counts)
        self._core = Assembly(hello, intervals, now, recording, process)
        #: What the status and the metrics show.
        self.observed = Observed(self._core.observe, _OBSERVE_S, now, _PATIENCE_S)
        self._resting = Resting()
        self._pace = ReportPace(now)
        self._attention = Attention()
        self._tick_at = self._sweep_at = now
        self._execute(self._core.start(now))
        service.health.serve("/metrics", Metrics(METRICS, lambda page: fill(page, self.observed.latest.stats)).answer)
        addresses = {"trainers": self._trainers.address, "results": self._results.address}
        service.log.info("serving", **addresses, advertised=hello.results)

    def turn(self, now: float) -> float:
        """Handle all that has arrived and is due; return when to turn again at the latest.

        Whether silence counts goes by what trainers sent, also for the ventilator's silence: its few messages are read
        to the end in each turn, unless there are more than one turn takes.
        """
        self._ventilator.receive(self._service.hub.rejects, lambda message: self._handle(VENTILATOR, message, (), now))
        for endpoint in (self._trainers, self._results):
            self._receive_all(endpoint, now)
        for outcome in self._writer.outcomes() if self._writer else ():
            self._execute(self._core.wrote(outcome, now))
        self._give_memory_back(now)
        judging = self._attention.judges(now, self._core.intervals, all_read=self._trainers.drained)
        if now >= self._tick_at:
            self._execute(self._core.tick(now, self._writer.busy_s if self._writer else 0.0, judging=judging))
            self._tick_at = self._core.next_timer(now)
        for answer in self._stories.answers(now):
            self._ventilator.send(Story(number=answer.tag, parts=answer.parts))
        heartbeat_s = self._core.intervals.heartbeat_s
        if self._trainers.drained and self._results.drained and not self._writer:
            self._service.rest_until(now + self._resting.rest_s(self._core.streams.readers, now, heartbeat_s))
        greet_at = self._ventilator.greet(self._core.hello, now, heartbeat_s)
        return min(self.observed.renew(now, self._report(now)), self._stories.next_timer(), greet_at)

    def status(self) -> dict[str, object]:
        """Return what `/healthz` shows."""
        seen, memory = self.observed.latest, self._service.hub.memory
        if not seen.welcomed:
            return {"ready": False, "why": self._ventilator.waiting}
        return {
            "ready": True,
            "trainers": seen.trainers,
            "sharing": {
                "trainers": self._lending.count if self._lending else 0,
                "segments": memory.count if memory else 0,
            },
            "results": seen.results,
            "writer": {**seen.recording, **self._writer.status()} if self._writer and seen.recording else None,
            "stopped": seen.stopped,
        }

    def close(self) -> None:
        """Commit what is to be written, as far as that is quick; close the ledger."""
        self._ledger.close()
        if self._writer:
            self._execute(self._core.leave())
            self._writer.close(_LEAVE_S)

    def _hello(self) -> SinkHello:
        """Return our greeting, with the addresses at which workers and trainers reach us."""
        settings = self._settings
        ventilator = farthest(split(settings.ventilator))
        reached = settings.advertise or advertised(self._results.address, ventilator, host_name())
        check_address(reached)
        bound = self._trainers.address
        seen_at = reachable(bound, host_of(settings.advertise)) if settings.advertise else bound
        return SinkHello(
            incarnation=uuid.uuid4().hex,
            name=settings.name,
            results=reached,
            trainers=advertised(seen_at, ventilator, host_name()),
            host=settings.node or host_name(),
            version=__version__,
        )

    def _open_writer(self) -> Recording:
        """Start the writing thread; return the core that decides what it writes. Raises SpecError."""
        settings = self._settings
        if not settings.output:
            raise SpecError("--writer hdf5 needs a file to write: give --output patches.h5")
        from penstock.sink.output.writer_thread import Writer  # noqa: PLC0415 - needs h5py, which nothing else here does

        config = settings.output_config()
        self._writer = Writer(config, settings.full_disk_wait_s, self._service.hub.wake)
        pace = Pace(int(settings.piece_mb * 1e6), settings.piece_s)
        return Recording(config, pace, settings.wait_for_trainers)

    def _receive_all(self, endpoint: Endpoint, now: float) -> None:
        receive_all(
            endpoint,
            self._service.hub.rejects,
            lambda peer, message, arrays: self._handle(peer, message, arrays, now),
        )

    def _handle(self, sender: bytes, message: AnyMessage, arrays: Sequence[Array], now: float) -> None:
        self._note_memory(sender, message)
        if isinstance(message, SinkWelcome):
            self._results.expect(max((plan.task_bytes for plan in message.streams), default=0))
        if isinstance(message, StoryRequest):
            self._ask_trainers(message, now)
        elif isinstance(message, Story):
            self._stories.receive(sender, message, now)
        else:
            self._execute(self._core.receive(sender, message, arrays, now))

    def _ask_trainers(self, request: StoryRequest, now: float) -> None:
        """Collect the story of a task here and at the stream's trainers; `turn` sends it to the ventilator."""
        own, peers = self._core.story(request.key, now), self._core.streams.trainers(request.key.stream)
        # Each of the ventilator's questions is collected on its own.
        asker = VENTILATOR + request.number.to_bytes(8)
        self._execute(self._stories.ask(asker, request.number, request.key, own, peers, now))

    def _report(self, now: float) -> float:
        """Tell the ventilator what changed, if it is time to; return when to turn again at the latest."""
        due_at = self._pace.due_at(pressing=self._core.pressing(), answered=self._core.answered())
        if now < due_at:
            return min(self._tick_at, due_at)
        began = time.thread_time()
        if report := self._core.progress():
            self._execute(report)
            self._pace.made(now, time.thread_time() - began)
        return self._tick_at

    def _execute(self, instructions: Iterable[SinkInstruction]) -> None:
        """Carry out what the core asks for; the core hears of a trainer that cannot be reached."""
        for instruction in instructions:
            match instruction:
                case Send(peer, message) if peer == VENTILATOR:
                    self._ventilator.send(message)
                case Send(peer, message, arrays):
                    if not self._send(peer, message, arrays):
                        self._execute(self._core.gone(peer))
                case AppendToLedger(entry):
                    self._ledger.write(entry)
                case Note():
                    self._service.note(instruction)
                case Write(job):
                    assert self._writer  # noqa: S101 - it is asked for only where there is one
                    self._writer.give(job)
                case Reopen():
                    self._ventilator.reopen()
                case Failed(reason):
                    raise StackError(reason)
                case _:
                    assert_never(instruction)

    def _send(self, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> bool:
        if self._lending and isinstance(message, TrainerWelcome):
            message = self._lending.welcome(message)
        elif self._lending and isinstance(message, Batch):
            message, arrays = self._lending.send(peer, message, arrays)
        return self._trainers.send(message, arrays, peer)

    def _note_memory(self, peer: bytes, message: AnyMessage) -> None:
        """Handle what a message says about shared memory; the core only sees arrays."""
        if isinstance(message, Result) and message.offers and self._service.hub.memory:
            self._service.hub.memory.accept(message.offers)
        elif isinstance(message, Credit) and self._lending and peer in self._core.subscribers:
            self._lending.credit(peer, message)

    def _give_memory_back(self, now: float) -> None:
        """Forget memory shared with trainers that left and workers that are gone."""
        if self._lending:
            self._lending.keep_only(self._core.subscribers)
            if self._service.hub.memory and now >= self._sweep_at:
                self._service.hub.memory.sweep()
                self._sweep_at = now + _SWEEP_S


def serve(settings: SinkSettings) -> int:
    """Run the service until it is asked to stop; return the exit status."""
    sink: Sink | None = None

    def status() -> dict[str, object]:
        return sink.status() if sink else {"ready": False, "why": "starting"}

    with Service("sink", settings, status) as service:
        sink = Sink(service, settings)
        spare_collector()
        service.loop(sink.turn, lambda: service.stopping)
        sink.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock sink`."""
    return run(SinkSettings, serve, "sink", arguments)


if __name__ == "__main__":
    sys.exit(main())
