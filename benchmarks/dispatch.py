"""How many tasks a second the ventilator leases and has confirmed: a real ventilator, workers that do nothing.

This process plays the workers (each with a socket and an identity of its own) and the sink that confirms; the
ventilator is the real process. What is measured is the ventilator with its socket, its core and its task book.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import structlog

from penstock.protocol import wire
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
WINDOW = 8192
_DEADLINE_S = 60.0
#: Seconds between the sink's reports.
_REPORT_S = 0.01


@contextmanager
def ventilator(address: str, items: int, folder: Path, *flags: str) -> Generator[None]:
    """Run a real ventilator over a manifest of `items` images that are never opened."""
    (folder / "list.csv").write_text("path,label\n" + "".join(f"images/{i:08d}.jpg,c{i % 10}\n" for i in range(items)))
    (folder / "spec.toml").write_text(
        f'[roots]\nhere = "{folder}"\n[streams.train]\ntask_items = 1\n'
        '[streams.train.source]\nkind = "manifest"\nroot = "here"\npath = "list.csv"\n'
        '[streams.train.transform]\ncolor = "gray"\nresize = {height = 1, width = 1}\n'
    )
    service = [sys.executable, "-P", "-m", "penstock.ventilator"]
    command = [*service, "--spec", str(folder / "spec.toml"), "--bind", address]
    process = subprocess.Popen([*command, "--log-level", "error", *flags])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


class Peers:
    """All workers and the sink of one measurement."""

    def __init__(self, address: str, workers: int, slots: int) -> None:
        """Connect all workers and wait until all are welcome."""
        self.hub = Hub(structlog.get_logger())
        self.done = self.sequence = 0
        self._held: set[int] = set()
        self._low = 0
        self.sink = self.hub.dealer(address, wire.kinds(SinkWelcome, Heartbeat), "ventilator")
        self.sink.send(SinkHello(incarnation="bench", results="ipc:///nowhere", version=__version__))
        self.workers = [
            self.hub.dealer(address, wire.kinds(WorkerWelcome, Tasks, Heartbeat), "ventilator") for _ in range(workers)
        ]
        for number, worker in enumerate(self.workers):
            name = f"bench/{number}"
            worker.send(Hello(worker=name, incarnation=name, host="bench", slots=slots, version=__version__))
        welcome = 0
        deadline = time.monotonic() + _DEADLINE_S
        while welcome < workers + 1 and time.monotonic() < deadline:
            for endpoint in self.hub.wait(1.0):
                welcome += sum(isinstance(message, WorkerWelcome | SinkWelcome) for _, message, _ in endpoint.receive())
        self.report()

    def report(self) -> None:
        """Confirm what is done: everything in the window that is not held is missing."""
        while self._low in self._held:
            self._held.remove(self._low)
            self._low += 1
        missing = from_sorted(n for n in range(self._low, self._low + WINDOW) if n not in self._held)
        self.sequence += 1
        self.sink.send(Progress(sequence=self.sequence, needs=(StreamNeed(stream="train", missing=missing),)))

    def work(self, endpoint: Endpoint) -> None:
        """Finish at once whatever was leased."""
        for _, message, _ in endpoint.receive():
            if isinstance(message, Tasks):
                self._held.update(task.key.ordinal for task in message.tasks)
                self.done += len(message.tasks)
                no_time = Timings()
                done = tuple(Done.model_construct(key=task.key, timings=no_time) for task in message.tasks)
                endpoint.send(Finished.model_construct(done=done))

    def run(self, seconds: float) -> float:
        """Return confirmed tasks a second."""
        began = reported = beaten = time.perf_counter()
        before = self._low
        while (now := time.perf_counter()) < began + seconds:
            for endpoint in self.hub.wait(0.005):
                self.work(endpoint)
            if now - reported > _REPORT_S:
                reported = now
                self.report()
            if now - beaten > 1.0:
                beaten = now
                for endpoint in self.workers:
                    endpoint.send(Heartbeat())
        self.report()
        return (self._low - before) / (time.perf_counter() - began)


def measure(workers: int, slots: int, seconds: float, *flags: str) -> float:
    """Return the tasks a second that a fresh ventilator, with `flags`, leases to `workers` and has confirmed."""
    with tempfile.TemporaryDirectory(prefix="pk-") as folder:
        address = f"ipc://{folder}/v.sock"
        with ventilator(address, 200_000, Path(folder), *flags):
            peers = Peers(address, workers, slots)
            peers.run(1.0)
            rate = peers.run(seconds)
            peers.hub.close()
            return rate


if __name__ == "__main__":
    for count, slots in ((2, 64), (200, 4)):
        print(f"{count:4d} workers × {slots} slots: {measure(count, slots, 5.0):10,.0f} tasks/s")
