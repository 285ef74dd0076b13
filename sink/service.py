"""`penstock sink`: takes results in, restores order, forwards batches under credit, keeps the quarantine ledger."""

import os
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError, SpecError, StackError
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    Drain,
    Goodbye,
    Heartbeat,
    Intervals,
    Paths,
    Quarantined,
    Reset,
    Result,
    SampleRequest,
    SinkHello,
    SinkWelcome,
    Subscribe,
    TrainerWelcome,
)
from penstock.protocol.runtime.metrics import Metrics
from penstock.protocol.runtime.service import Service, host_name, run, spare_collector
from penstock.protocol.runtime.settings import ServiceSettings
from penstock.protocol.transport.addresses import check_address, host_of, reachable
from penstock.protocol.transport.own_sockets import OWN_RESULTS, OWN_TRAINERS, OWN_VENTILATOR, Address
from penstock.protocol.transport.reachability import advertised
from penstock.protocol.transport.shared_memory import Attachments, most_segments
from penstock.protocol.transport.sockets import Endpoint
from penstock.protocol.version import __version__
from penstock.protocol.wire import Array
from penstock.sink.core.assembly import VENTILATOR, Assembly
from penstock.sink.core.recording import Pace, Recording
from penstock.sink.core.writer_jobs import SinkInstruction, Write
from penstock.sink.metrics import METRICS, fill
from penstock.sink.output.options import WriterOptions
from penstock.sink.quarantine_ledger import Ledger
from penstock.sink.shared_batches import Lending

if TYPE_CHECKING:
    from penstock.sink.output.writer_thread import Writer

_FROM_VENTILATOR = wire.kinds(SinkWelcome, Quarantined, Paths, Heartbeat, Reset, Drain)
_FROM_TRAINERS = wire.kinds(Subscribe, Credit, Heartbeat, Goodbye, SampleRequest)
#: Least time (s) between two reports to the ventilator, where they are pressing and where they can wait: many
#: confirmations share one message, and each message costs both sides a wake-up.
_PRESSING_S, _PROGRESS_S = 0.01, 0.1
#: Seconds that a last commit may take before the process ends without: the next run makes those samples again.
_LEAVE_S = 0.7
#: How often (s) memory of workers that are gone is given back.
_SWEEP_S = 5.0


class SinkSettings(ServiceSettings, WriterOptions):
    """Restores order, forwards batches to trainers and, with a writer, records a stream to a file."""

    ventilator: Address = OWN_VENTILATOR
    """Address of the ventilator."""
    results: Address = OWN_RESULTS
    """Address to bind for workers' results."""
    bind: Address = OWN_TRAINERS
    """Address to bind for trainers."""
    advertise: str = ""
    """Address of `results` as workers reach it (tcp://sink:5556 in containers); default: `results`, where a wildcard
    becomes this host's address towards the ventilator, or the ventilator's own host if that is this one."""
    quarantine: str = ""
    """File of the quarantine ledger (JSON lines); empty: only the log has it."""
    heartbeat_s: float = Field(default=1.0, gt=0, le=3600)
    """Seconds between heartbeats until the ventilator says otherwise."""
    silence_s: float = Field(default=5.0, gt=0, le=86400)
    """Seconds of silence after which a peer counts as lost until the ventilator says otherwise."""
    writer: Literal["none", "hdf5"] = "none"
    """Record a stream to `output` as well; the sink goes on serving trainers when that is done."""
    wait_for_trainers: int = Field(default=0, ge=0, le=1000)
    """Begin to record once so many trainers read the stream: from then on they and the writer share the work."""
    full_disk_wait_s: float = Field(default=3600.0, ge=0, le=1e7)
    """Seconds to wait for space when the disk is full, trainers of the stream too; then the sink leaves in words."""
    shared_memory: bool = True
    """Let workers and trainers on this host share memory with the sink, where they can; off: all goes by sockets."""


class Sink:
    """The sink's endpoints and its core."""

    def __init__(self, service: Service, settings: SinkSettings) -> None:
        """Bind and connect; open the ledger."""
        self.service = service
        hub = service.hub
        self.lending: Lending | None = None
        if settings.shared_memory and hasattr(os, "memfd_create"):
            hub.memory = Attachments(releases=True, most=most_segments())
            self.lending = Lending()
        self.results = hub.pull(settings.results, {"worker": wire.kinds(Result)})
        self.trainers = hub.router(settings.bind, {"trainer": _FROM_TRAINERS, "ventilator": wire.kinds(SampleRequest)})
        self.ventilator = hub.dealer(settings.ventilator, _FROM_VENTILATOR, "ventilator")
        self.ledger = Ledger(settings.quarantine)
        reached = settings.advertise or advertised(self.results.address, settings.ventilator, host_name())
        check_address(reached)
        bound = self.trainers.address
        looked_at = reachable(bound, host_of(settings.advertise)) if settings.advertise else bound
        hello = SinkHello(
            incarnation=uuid.uuid4().hex,
            results=reached,
            trainers=advertised(looked_at, settings.ventilator, host_name()),
            version=__version__,
        )
        intervals = Intervals(heartbeat_s=settings.heartbeat_s, silence_s=settings.silence_s)
        now = time.monotonic()
        self.writer: Writer | None = None
        recording = self._open_writer(settings) if settings.writer != "none" else None
        self.assembly = Assembly(hello, intervals, now, recording)
        self.assembly.statistics.restarts, self.assembly.statistics.rejected = settings.restarts, hub.rejects.counts
        self._reported = self._due = self._sweep_at = now
        self.execute(self.assembly.start(now))
        service.log.info("serving", trainers=self.trainers.address, results=self.results.address, advertised=reached)

    def _open_writer(self, settings: SinkSettings) -> Recording:
        """Start the thread that writes; return what decides what."""
        if not settings.output:
            raise SpecError("--writer hdf5 needs a file to write: give --output patches.h5")
        from penstock.sink.output.writer_thread import Writer  # noqa: PLC0415 - needs h5py, which only this does

        config = settings.output_config()
        self.writer = Writer(config, settings.full_disk_wait_s, self.service.hub.wake)
        pace = Pace(int(settings.piece_mb * 1e6), settings.piece_s)
        return Recording(config, pace, settings.wait_for_trainers)

    def writing(self) -> dict[str, Any] | None:
        """Return where the output stands; None if nothing is written."""
        if self.writer is None or self.assembly.recording is None:
            return None
        return self.assembly.recording.status() | self.writer.status()

    def close(self) -> None:
        """Commit what is to be written, as far as that is quick; close the ledger."""
        self.ledger.close()
        if self.writer and self.assembly.recording:
            self.execute(self.assembly.recording.leave())
            self.writer.close(_LEAVE_S)

    def turn(self, now: float) -> float:
        """Take in all that is here; return when to turn again at the latest."""
        for endpoint in (self.ventilator, self.trainers, self.results):
            self._receive(endpoint, now)
        for outcome in self.writer.outcomes() if self.writer else ():
            self.execute(self.assembly.wrote(outcome, now))
        if self.lending:
            self.lending.keep_only(self.assembly.streams.readers)
            if self.service.hub.memory and now >= self._sweep_at:
                self.service.hub.memory.sweep()
                self._sweep_at = now + _SWEEP_S
        if now >= self._due:
            if self.writer and self.assembly.statistics.writing:
                self.assembly.statistics.writing.busy_s = self.writer.busy_s
            self.execute(self.assembly.tick(now))
            self._due = self.assembly.next_timer(now)
        wait = _PRESSING_S if self.assembly.pressing() else _PROGRESS_S
        if now - self._reported >= wait:
            if report := self.assembly.progress():
                self._reported = now
                self.execute(report)
            return self._due
        return min(self._due, self._reported + wait)

    def execute(self, instructions: Iterable[SinkInstruction]) -> None:
        """Carry out what the core asks for; a trainer that cannot be reached is told to the core."""
        for instruction in instructions:
            match instruction:
                case Send(peer, message, arrays):
                    if peer == VENTILATOR:
                        self.ventilator.send(message)
                    elif not self._send(peer, message, arrays):
                        self.execute(self.assembly.gone(peer))
                case Note():
                    if instruction.event == "quarantined":
                        self.ledger.write(instruction.fields)
                    self.service.note(instruction)
                case Write(job):
                    assert self.writer  # noqa: S101 - it is asked for only where there is one
                    self.writer.give(job)
                case Reopen():
                    self.ventilator.reopen()
                case Failed(reason):
                    raise StackError(reason)

    def _send(self, peer: bytes, message: AnyMessage, arrays: Sequence[Array]) -> bool:
        if self.lending and isinstance(message, TrainerWelcome):
            message = self.lending.welcome(message)
        elif self.lending and isinstance(message, Batch):
            message, arrays = self.lending.send(peer, message, arrays)
        return self.trainers.send(message, arrays, peer)

    def _note_memory(self, peer: bytes, message: AnyMessage) -> None:
        """Take in what a message says about shared memory; the core only sees arrays."""
        if isinstance(message, Result) and message.offers and self.service.hub.memory:
            self.service.hub.memory.accept(message.offers)
        elif isinstance(message, Credit) and self.lending and peer in self.assembly.streams.readers:
            self.lending.credit(peer, message)

    def _receive(self, endpoint: Endpoint, now: float) -> None:
        for peer, message, arrays in endpoint.receive():
            self._note_memory(peer, message)
            try:
                who = VENTILATOR if endpoint is self.ventilator else peer
                self.execute(self.assembly.receive(who, message, arrays, now))
            except RemoteProtocolError as error:
                self.service.hub.rejects.add(error, f"{peer.hex()[:8]} at {endpoint!r}")


def serve(settings: SinkSettings) -> int:
    """Run the service until it is told to stop; return the exit status."""
    sink: Sink | None = None

    def status() -> dict[str, object]:
        if sink is None or not sink.assembly.welcomed:
            return {"ready": False, "why": f"waiting for the ventilator at {settings.ventilator}"}
        core = sink.assembly
        return {
            "ready": True,
            "trainers": len(core.streams.readers),
            "sharing": {
                "trainers": sink.lending.count if sink.lending else 0,
                "segments": service.hub.memory.count if service.hub.memory else 0,
            },
            "results": dict(core.results),
            "writer": sink.writing(),
            "stopped": core.streams.stopped(),
        }

    with Service("sink", settings, status) as service:
        sink = Sink(service, settings)
        statistics = sink.assembly.statistics
        service.health.serve("/metrics", Metrics(METRICS, lambda page: fill(page, statistics.told)).answer)
        deadline = time.monotonic()
        spare_collector()
        while not service.stopping:
            deadline = sink.turn(service.wait_until(deadline))
        sink.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock sink`."""
    return run(SinkSettings, serve, "sink", arguments)


if __name__ == "__main__":
    sys.exit(main())
