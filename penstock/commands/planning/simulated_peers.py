"""Peers that keep a real ventilator as busy as it can be: workers that make nothing, and the sink that confirms it.

This process plays all of them, each worker with a socket and an identity of its own. What a task costs the ventilator
under load shows only so: while a real stack runs on few cores, most of its time goes into waking up for one task.
"""

import time

from penstock.protocol import wire
from penstock.protocol.errors import DeadlineError
from penstock.protocol.messages import (
    Done,
    Finished,
    Heartbeat,
    Hello,
    Progress,
    SinkHello,
    SinkWelcome,
    StreamNeed,
    Tasks,
    Timings,
    WorkerWelcome,
)
from penstock.protocol.ranges import from_sorted
from penstock.protocol.transport.sockets import Endpoint, Hub
from penstock.protocol.version import __version__

#: Tasks that the simulated sink lets the ventilator run ahead.
_WINDOW = 8192
_DEADLINE_S = 60.0
#: Seconds between the sink's reports, and between heartbeats.
_REPORT_S, _BEAT_S = 0.01, 1.0


class SimulatedPeers:
    """The workers and the sink of one ventilator; `hub` has to be closed afterwards."""

    def __init__(self, hub: Hub, address: str, stream: str, workers: int, slots: int) -> None:
        """Connect all workers, for tasks of one stream, and wait until all are welcome. Raises DeadlineError."""
        self._hub, self._stream = hub, stream
        self._sequence = 0
        self._held: set[int] = set()
        #: Tasks that were finished and confirmed.
        self.confirmed = 0
        self._sink = hub.dealer(address, wire.kinds(SinkWelcome, Heartbeat), "ventilator")
        self._sink.send(SinkHello(incarnation="simulated", results="ipc:///nowhere", version=__version__))
        self._workers = [
            hub.dealer(address, wire.kinds(WorkerWelcome, Tasks, Heartbeat), "ventilator") for _ in range(workers)
        ]
        for number, worker in enumerate(self._workers):
            name = f"simulated/{number}"
            worker.send(Hello(worker=name, incarnation=name, host="simulated", slots=slots, version=__version__))
        welcome = 0
        deadline = time.monotonic() + _DEADLINE_S
        while welcome < workers + 1 and time.monotonic() < deadline:
            for endpoint in hub.wait(1.0):
                welcome += sum(isinstance(message, WorkerWelcome | SinkWelcome) for _, message, _ in endpoint.receive())
        if welcome < workers + 1:
            raise DeadlineError(f"the ventilator at {address} has not answered within {_DEADLINE_S:g} s")
        self._report()

    def run(self, seconds: float) -> float:
        """Work for so long; return how many tasks a second were confirmed."""
        began = reported = beaten = time.perf_counter()
        before = self.confirmed
        while (now := time.perf_counter()) < began + seconds:
            for endpoint in self._hub.wait(0.005):
                self._work(endpoint)
            if now - reported > _REPORT_S:
                reported = now
                self._report()
            if now - beaten > _BEAT_S:
                beaten = now
                for endpoint in self._workers:
                    endpoint.send(Heartbeat())
        self._report()
        return (self.confirmed - before) / (time.perf_counter() - began)

    def _report(self) -> None:
        """Confirm what is done: everything in the window that is not held is missing."""
        while self.confirmed in self._held:
            self._held.remove(self.confirmed)
            self.confirmed += 1
        window = range(self.confirmed, self.confirmed + _WINDOW)
        missing = from_sorted(n for n in window if n not in self._held)
        self._sequence += 1
        self._sink.send(Progress(sequence=self._sequence, needs=(StreamNeed(stream=self._stream, missing=missing),)))

    def _work(self, endpoint: Endpoint) -> None:
        """Finish at once whatever was leased."""
        for _, message, _ in endpoint.receive():
            if isinstance(message, Tasks):
                self._held.update(task.key.ordinal for task in message.tasks)
                no_time = Timings()
                done = tuple(Done(key=task.key, timings=no_time) for task in message.tasks)
                endpoint.send(Finished(done=done))
