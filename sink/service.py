"""`penstock sink`: takes results in, restores order, forwards batches under credit, keeps the quarantine ledger."""

import os
import sys
import time
import uuid
from collections.abc import Iterable, Sequence

from pydantic import Field

from penstock._version import __version__
from penstock.protocol import wire
from penstock.protocol.addresses import check_address, reachable
from penstock.protocol.errors import RemoteProtocolError, StackError
from penstock.protocol.instructions import Failed, Instruction, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    Drain,
    Goodbye,
    Heartbeat,
    Intervals,
    Peek,
    Quarantined,
    Reset,
    Result,
    SinkHello,
    SinkWelcome,
    Subscribe,
    TrainerWelcome,
)
from penstock.protocol.service import Service, host_name, run
from penstock.protocol.settings import ServiceSettings
from penstock.protocol.shared import Attachments
from penstock.protocol.sockets import Endpoint
from penstock.protocol.wire import Array
from penstock.sink.assembly import VENTILATOR, Assembly
from penstock.sink.ledger import Ledger
from penstock.sink.lending import Lending

_FROM_VENTILATOR = wire.kinds(SinkWelcome, Quarantined, Heartbeat, Reset, Drain)
_FROM_TRAINERS = wire.kinds(Subscribe, Credit, Heartbeat, Goodbye, Peek)
#: Least time (s) between two reports to the ventilator, where they are pressing and where they can wait: many
#: confirmations share one message, and each message costs both sides a wake-up.
_PRESSING_S, _PROGRESS_S = 0.01, 0.1


class SinkSettings(ServiceSettings):
    """Restores order and forwards batches to trainers."""

    ventilator: str = "tcp://127.0.0.1:5555"
    """Address of the ventilator."""
    results: str = "tcp://127.0.0.1:5556"
    """Address to bind for workers' results."""
    bind: str = "tcp://127.0.0.1:5557"
    """Address to bind for trainers."""
    advertise: str = ""
    """Address of `results` as workers reach it (tcp://sink:5556 in containers); default: `results`, with this host's
    name where that is a wildcard."""
    quarantine: str = ""
    """File of the quarantine ledger (JSON lines); empty: only the log has it."""
    heartbeat_s: float = Field(default=1.0, gt=0, le=3600)
    """Seconds between heartbeats until the ventilator says otherwise."""
    silence_s: float = Field(default=5.0, gt=0, le=86400)
    """Seconds of silence after which a peer counts as lost until the ventilator says otherwise."""
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
            hub.memory = Attachments(releases=True)
            self.lending = Lending()
        self.results = hub.pull(settings.results, {"worker": wire.kinds(Result)})
        self.trainers = hub.router(settings.bind, {"trainer": _FROM_TRAINERS})
        self.ventilator = hub.dealer(settings.ventilator, _FROM_VENTILATOR, "ventilator")
        self.ledger = Ledger(settings.quarantine)
        reached = settings.advertise or reachable(self.results.address, host_name())
        check_address(reached)
        hello = SinkHello(incarnation=uuid.uuid4().hex, results=reached, version=__version__)
        intervals = Intervals(heartbeat_s=settings.heartbeat_s, silence_s=settings.silence_s)
        now = time.monotonic()
        self.assembly = Assembly(hello, intervals, now)
        self._reported = self._due = now
        self.execute(self.assembly.start(now))
        service.log.info("serving", trainers=self.trainers.address, results=self.results.address, advertised=reached)

    def turn(self, now: float) -> float:
        """Take in all that is here; return when to turn again at the latest."""
        for endpoint in (self.ventilator, self.trainers, self.results):
            self._receive(endpoint, now)
        if self.lending:
            self.lending.keep_only(self.assembly.readers)
        if now >= self._due:
            self.execute(self.assembly.tick(now))
            self._due = self.assembly.next_timer(now)
        wait = _PRESSING_S if self.assembly.pressing() else _PROGRESS_S
        if now - self._reported >= wait:
            if report := self.assembly.progress():
                self._reported = now
                self.execute(report)
            return self._due
        return min(self._due, self._reported + wait)

    def execute(self, instructions: Iterable[Instruction]) -> None:
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
        elif isinstance(message, Credit) and self.lending and peer in self.assembly.readers:
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
            "trainers": len(core.readers),
            "sharing": {
                "trainers": sink.lending.count if sink.lending else 0,
                "segments": service.hub.memory.count if service.hub.memory else 0,
            },
            "results": dict(core.results),
            "stopped": {name: budget.exceeded for name, budget in core.budgets.items() if budget.exceeded},
        }

    with Service("sink", settings, status) as service:
        sink = Sink(service, settings)
        deadline = time.monotonic()
        while not service.stopping:
            deadline = sink.turn(service.wait_until(deadline))
        sink.ledger.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock sink`."""
    return run(SinkSettings, serve, "sink", arguments)


if __name__ == "__main__":
    sys.exit(main())
