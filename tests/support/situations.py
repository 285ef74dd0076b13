"""Situations for the verdict, made for real: a trainer at a pace, transforms that wait, a throttled line, a slow sink.

Owns threads and sockets of its own; knows of Penstock only what a user knows, and (the sloth) what a worker says.
"""

import os
import select
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq
from support.hostile import Attacker, message

from penstock import __version__
from penstock.protocol.errors import PenstockError
from penstock.protocol.messages import Heartbeat, Hello, WorkerStats
from penstock.trainer.client.feed import Feed

#: Transforms that take their time without a processor, as a slow service would; `hang` never ends on one item.
_TRANSFORMS = """
import time


def dawdle(sample, rng, *, seconds):
    time.sleep(seconds)
    return sample


def hang(sample, rng, *, item):
    while sample["item"] == item:
        time.sleep(1)
    return sample
"""


def write_transforms(folder: Path) -> Path:
    """Write an installed package with the transforms `dawdle` and `hang`; return what belongs on Python's path."""
    facts = folder / "dawdling-1.0.dist-info"
    facts.mkdir(parents=True)
    (folder / "dawdling.py").write_text(_TRANSFORMS, encoding="utf-8")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: dawdling\nVersion: 1.0\n", encoding="utf-8")
    entries = "[penstock.transforms]\ndawdle = dawdling:dawdle\nhang = dawdling:hang\n"
    (facts / "entry_points.txt").write_text(entries, encoding="utf-8")
    return folder


class Running:
    """Something that goes on in a thread while a block lasts."""

    def __init__(self) -> None:
        """Begin with the block."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._over.set()
        self._stop()
        self._thread.join(10)

    def _run(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        """Make what the thread waits for end."""


class Trainer(Running):
    """A training program: reads epoch after epoch, and takes `step_s` seconds for each batch."""

    def __init__(self, feed: Feed, step_s: float = 0.0) -> None:
        """Keep the feed."""
        super().__init__()
        self.feed, self.step_s = feed, step_s
        #: What ended the training, if that was an error.
        self.error: PenstockError | None = None

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                for _ in self.feed:
                    if self._over.wait(self.step_s):  # the step: it holds a batch and computes
                        return
        except PenstockError as error:
            self.error = error

    def _stop(self) -> None:
        self.feed.close()


class Line(Running):
    """A TCP line to the Unix socket `target` that passes on so many bytes a second to it, each connection alike."""

    def __init__(self, target: str, bytes_per_s: float) -> None:
        """Listen on some port of the loopback interface."""
        super().__init__()
        self._target, self._rate = target, bytes_per_s
        self._server = socket.create_server(("127.0.0.1", 0))
        #: Where it listens.
        self.port: int = self._server.getsockname()[1]

    def _run(self) -> None:
        with self._server:
            while not self._over.is_set():
                if select.select([self._server], [], [], 0.1)[0]:
                    front, _ = self._server.accept()
                    front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)  # a line holds little
                    back = socket.socket(socket.AF_UNIX)
                    threading.Thread(target=self._pass_on, args=(front, back), daemon=True).start()

    def _pass_on(self, front: socket.socket, back: socket.socket) -> None:
        with front, back, suppress(OSError):  # a peer that hangs up, or is not there yet, comes again
            back.connect(self._target)
            while not self._over.is_set():
                for source in select.select([front, back], [], [], 0.1)[0]:
                    data = source.recv(4096)
                    if not data:
                        return
                    if source is back:
                        front.sendall(data)
                        continue
                    self._over.wait(len(data) / self._rate)
                    back.sendall(data)


class Drowsy(Running):
    """Stops a process for most of the time, as an overloaded host would: it runs for a tenth of it."""

    def __init__(self, pid: int, stopped_s: float = 0.45, runs_s: float = 0.05) -> None:
        """Keep the process."""
        super().__init__()
        self._pid, self._stopped_s, self._runs_s = pid, stopped_s, runs_s

    def _run(self) -> None:
        with suppress(ProcessLookupError):
            while not self._over.is_set():
                os.kill(self._pid, signal.SIGSTOP)
                self._over.wait(self._stopped_s)
                os.kill(self._pid, signal.SIGCONT)
                self._over.wait(self._runs_s)


class Sloth(Running):
    """A worker that is alive and does nothing: it says hello, takes tasks, and forgets them.

    It says hello every time, so that a ventilator that has lost it meanwhile knows it again.
    """

    def __init__(self, ventilator: str) -> None:
        """Keep the ventilator's address."""
        super().__init__()
        self._ventilator = ventilator

    def _run(self) -> None:
        hello = Hello(worker="box/sloth", incarnation="sloth", host="box", slots=2, version=__version__)
        with Attacker(zmq.DEALER, self._ventilator) as line:
            while not self._over.wait(0.1):
                while line.socket.poll(0):
                    line.socket.recv_multipart()
                line.send([message(hello), message(Heartbeat(running=(), worker_stats=WorkerStats()))])
