"""Clients of a stack with keys, and what an attacker does to its sockets."""

import contextlib
import os
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import zmq
from support.hostile import Attacker
from support.services.peaks import begin_peak, peak_bytes
from support.services.running import FAST
from support.streams import DEADLINE_S, digest, take, told

from penstock.launcher.stack import LocalStack
from penstock.protocol.transport.keys import KeyRing, Role

Curve = tuple[str, str, str]


def curve(folder: Path, role: Role, server: Role) -> Curve:
    """Return what a client with the folder's key of a role needs to connect to a service."""
    ring = KeyRing(folder, role)
    return ring.own.public, ring.own.secret, ring.server(server)


def sockets(stack: LocalStack) -> list[tuple[Role, int, str, set[str]]]:
    """Return the service, the attacker's kind of socket, the address and who may connect, for every bound socket."""
    where = stack.addresses
    return [
        ("ventilator", zmq.DEALER, where.ventilator, {"worker", "sink", "trainer"}),
        ("sink", zmq.PUSH, where.results, {"worker"}),
        ("sink", zmq.DEALER, where.trainers, {"trainer", "ventilator"}),
    ]


def tcp(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def rejected(stack: LocalStack, part: str) -> Counter[str]:
    """Return what a part has dropped or refused, by reason."""
    return Counter(told(stack, part)["rejected"])


@contextmanager
def served(stack: LocalStack, reference: str, most_mb: float = 60) -> Generator[None]:
    """Read an epoch while the block's attack runs: the same bytes come, and no service's memory grows much."""
    with stack.feed() as feed:
        got = take(feed, 3)
        pids = {name: stack.children[name].process.pid for name in ("ventilator", "sink")}
        before = {name: begin_peak(pid) for name, pid in pids.items()}
        yield
        began = time.monotonic()
        got += take(feed, 5)
        took = time.monotonic() - began
        got += [batch for batch in feed]  # noqa: C416 - to the end of this epoch
        most = {name: (peak_bytes(pid) - before[name]) / 1e6 for name, pid in pids.items()}
    assert reference == digest(got)
    assert took < DEADLINE_S / 2, "no other peer is held up"
    assert all(size < most_mb for size in most.values()), most


@contextmanager
def process(*flags: str) -> Generator[tuple["subprocess.Popen[bytes]", str]]:
    """Run a service by its command; yield it and where its health is asked; kill it."""
    health = f"/tmp/penstock-{os.getpid()}-{random.randrange(10**9)}.health"  # noqa: S108 - short enough for a socket
    running = subprocess.Popen([sys.executable, "-m", *flags, "--health", health, *FAST], stderr=subprocess.DEVNULL)
    try:
        yield running, health
    finally:
        running.kill()
        running.wait()
        Path(health).unlink(missing_ok=True)


def is_silent(attacker: Attacker, heard: list[list[bytes]]) -> bool:
    """Take one message that comes within a second; return whether none did."""
    if not attacker.socket.poll(1000):
        return True
    heard.append(attacker.socket.recv_multipart())
    return False


def enters(kind: int, address: str, pair: Curve | None) -> bool:
    """Return whether a client with these keys, or without any, gets in."""
    with Attacker(kind, address, pair) as attacker:
        return attacker.gets_in()


class Recorder:
    """A man in the middle of a TCP connection, who cannot read it but keeps every byte that the client sent."""

    def __init__(self, victim: tuple[str, int]) -> None:
        """Listen for one client."""
        self._victim = victim
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "tcp://{}:{}".format(*self._listener.getsockname())
        self.bytes = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._listener:
            client, _ = self._listener.accept()
        with client, socket.create_connection(self._victim) as server, contextlib.suppress(OSError):
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    if not (data := ready.recv(65536)):
                        return
                    if ready is client:
                        self.bytes += data
                    (server if ready is client else client).sendall(data)


def hung_up(connection: socket.socket, seconds: float = 60.0) -> bool:
    """Wait until the other side closes; return whether it did."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
