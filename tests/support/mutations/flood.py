"""Floods each bound socket of running services with what is too much, and measures what comes of it.

Three attacks: one message of very many empty frames, valid headers near the largest size, and a message of large frames
that never ends. Meanwhile a trainer reads, and an onlooker asks the attacked service again and again.
`python -m support.mutations.flood` (in tests/) prints a table. `attack.py` sends mutated messages.
"""

import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from support.hostile import message
from support.hostile_zmtp import connect, frame, never_end
from support.mutations.onlooker import asked, meanwhile
from support.services.peaks import begin_peak, peak_bytes
from support.streams import digest, epochs, held_ports, is_alive, make_images, make_spec, told, until

from penstock.launcher.stack import Addresses, LocalStack
from penstock.protocol import messages

#: By bound socket: the service, the kind of the attacker's socket and a message that belongs there.
_SOCKETS = {
    "ventilator": ("ventilator", "DEALER", messages.Progress),
    "sink: results": ("sink", "PUSH", messages.Result),
    "sink: trainers": ("sink", "DEALER", messages.Subscribe),
}
#: Size of the frames of a message without an end; seconds without an attack.
_FRAME_BYTES, _REST_S = 8_000_000, 2.0
#: Answers and batches that come after an attack before it counts as dealt with: more batches than may be on their
#: way when it begins.
_ANSWERS, _BATCHES = 3, 100
#: Log lines that say that a service took another for lost.
_LOST = re.compile(r"(?:worker|trainer|sink|ventilator)(?: is)? silent")


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is sent at most: by default, what stopped services before these were bounded."""

    frames: int = 3_000_000
    headers: int = 100
    header_bytes: int = 7_400_000
    endless_bytes: int = 2_000_000_000


@dataclass(slots=True)
class Flooded:
    """What one attack on one socket did."""

    attack: str
    target: str
    sent_bytes: int = 0
    #: By how much the service's memory grew at most (bytes).
    grew_bytes: int = 0
    #: Longest (s) that an onlooker waited for the service's answer, and the trainer for a batch.
    answer_s: float = 0.0
    batch_s: float = 0.0
    #: What the services rejected, by reason; how often one took another for lost.
    rejected: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    #: Answers and batches so far.
    answers: int = 0
    batches: int = 0

    def answered(self, seconds: float) -> None:
        """Note how long an answer took."""
        self.answers += 1
        self.answer_s = max(self.answer_s, seconds)

    def __str__(self) -> str:
        """Return a line of a table."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.rejected.most_common()) or "-"
        return (
            f"| {self.attack} | {self.target} | {self.sent_bytes / 1e6:.0f} MB | {self.grew_bytes / 1e6:.0f} MB "
            f"| {self.answer_s:.2f} s | {self.batch_s:.2f} s | {self.lost} | {reasons} |"
        )


HEADING = (
    "| attack | socket | sent | memory grew by | longest answer | longest batch | taken for lost | rejected |\n"
    "|---|---|---|---|---|---|---|---|"
)


def flood_everything(folder: Path, amount: Amount) -> Generator[Flooded]:
    """Flood every bound socket; AssertionError if a service restarts or the trainer gets other bytes than before."""
    spec = make_spec(make_images(folder / "photos", each=20))
    with held_ports(3) as ports:
        addresses = Addresses(*(f"tcp://127.0.0.1:{port}" for port in ports))
        with LocalStack(spec, workers=1, addresses=addresses) as stack:  # with the intervals that users have
            feed = stack.feed()
            reference = digest(epochs(feed, 1))
            yield _flood(stack, Flooded("none", "ventilator"), _rest)
            for port, (name, (_, kind, belongs)) in zip(ports, _SOCKETS.items(), strict=True):
                address = ("127.0.0.1", port)
                attacks: tuple[tuple[str, Callable[[], int]], ...] = (
                    ("empty frames", lambda: _empty_frames(address, kind, amount.frames)),  # noqa: B023 - used at once
                    ("headers", lambda: _headers(address, kind, belongs, amount)),  # noqa: B023
                    ("no end", lambda: never_end(address, kind, _FRAME_BYTES, amount.endless_bytes)),  # noqa: B023
                )
                for attack, send in attacks:
                    yield _flood(stack, Flooded(attack, name), send)
            feed = stack.feed()
            assert reference == digest(epochs(feed, 1))
            assert 0 == sum(child.restarts for child in stack.children.values())


def _flood(stack: LocalStack, flooded: Flooded, send: Callable[[], int]) -> Flooded:
    """Send, and measure until the service has dealt with it: it answers, and the trainer gets batches."""
    part = _SOCKETS[flooded.target][0]
    process = psutil.Process(stack.children[part].process.pid)
    rejected, lost = _rejected(stack), _lost(stack)
    with asked(stack, part, flooded.answered), _measured(process, flooded), _reading(stack, flooded):
        flooded.sent_bytes = send()
        answers, batches = flooded.answers + _ANSWERS, flooded.batches + _BATCHES
        until(lambda: flooded.answers >= answers and flooded.batches >= batches, "the service to go on")
    assert is_alive(process), flooded
    flooded.rejected = _rejected(stack) - rejected
    flooded.lost = _lost(stack) - lost
    return flooded


def _rejected(stack: LocalStack) -> Counter[str]:
    return Counter(told(stack, "ventilator")["rejected"]) + Counter(told(stack, "sink")["rejected"])


def _lost(stack: LocalStack) -> int:
    return sum(len(_LOST.findall(log.read_text(errors="replace"))) for log in stack.run_dir.rglob("*.log"))


@contextmanager
def _measured(process: psutil.Process, flooded: Flooded) -> Generator[None]:
    """Measure by how much a process grows while the block lasts."""
    before = begin_peak(process.pid)
    yield
    flooded.grew_bytes = max(0, peak_bytes(process.pid) - before)


@contextmanager
def _reading(stack: LocalStack, flooded: Flooded) -> Generator[None]:
    """Let a trainer read while the block lasts, once it has its first batch."""
    over, began = threading.Event(), threading.Event()

    def read() -> None:
        with stack.feed() as feed:
            at = None
            while not over.is_set():
                for _ in feed:
                    now = time.monotonic()
                    flooded.batch_s = max(flooded.batch_s, now - (at or now))
                    at = now
                    flooded.batches += 1
                    began.set()
                    if over.is_set():
                        break

    with meanwhile(read, over):
        assert began.wait(60), "the trainer got no batch"
        yield


def _rest() -> int:
    """Attack nobody, for comparison."""
    time.sleep(_REST_S)
    return 0


def _empty_frames(address: tuple[str, int], kind: str, count: int) -> int:
    """Send one message of so many empty frames; return the bytes that left before the victim hung up."""
    block = frame(b"", more=True) * 10_000
    sent = 0
    with connect(address, kind) as connection, suppress(OSError):
        for _ in range(count // 10_000):
            connection.sendall(block)
            sent += len(block)
        connection.sendall(frame(b"", more=False))
    return sent


def _headers(address: tuple[str, int], kind: str, belongs: Callable[..., messages.AnyMessage], amount: Amount) -> int:
    """Send messages with headers of that size, which are valid as far as the socket's kinds may be so large."""
    if belongs is messages.Progress:
        start, pairs = b'{"sequence":1,"needs":[{"stream":"train","missing":[', []
        size, number = amount.header_bytes - len(start) - 4, 10**7
        while size > 0:
            pairs.append(b"[%d,%d]" % (number, number + 1))
            size -= len(pairs[-1]) + 1
            number += 2
        header = start + b",".join(pairs) + b"]}]}"
    else:
        header = b"{" + b" " * amount.header_bytes + b"}"
    name = message(messages.Progress(sequence=1, needs=()))[0].replace(b"Progress", belongs.__name__.encode())
    whole = frame(name, more=True) + frame(header, more=False)
    sent = 0
    with connect(address, kind) as connection, suppress(OSError):
        for _ in range(amount.headers):
            connection.sendall(whole)
            sent += len(whole)
    return sent


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(HEADING + "\n")
        for flooded in flood_everything(Path(folder), Amount()):
            sys.stdout.write(f"{flooded}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
