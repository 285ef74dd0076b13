"""Sends mutated messages to every socket of running services, and measures what comes of it.

A stack is attacked at its three bound sockets while a trainer reads. A worker, a sink and a trainer, whose sockets only
connect, are attacked by a false server. `python -m support.mutations.attack 1000000` (in tests/) prints a table.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import psutil
import zmq
from support.hostile import Attacker, Frames, message
from support.mutations.false_server import FalseServer
from support.mutations.mutate import mutated, still_valid, valid_messages
from support.mutations.onlooker import asked
from support.mutations.report import HEADING, Report
from support.plans import LEASE_KEY, make_plan
from support.streams import (
    DEADLINE_S,
    INTERVALS,
    digest,
    epochs,
    is_alive,
    make_images,
    make_spec,
    run_stack,
    told,
    until,
)

from penstock.launcher.stack import LocalStack
from penstock.protocol import messages
from penstock.protocol.runtime.health import query

#: Messages between two measurements.
_BLOCK = 100
#: Looks at a count that must all be the same before nothing more is expected.
_LOOKS = 5
#: Share of the attacks that begin as a message of a kind that belongs on the socket.
_BELONGING = 0.85
_INTERVALS = messages.Intervals(heartbeat_s=INTERVALS["heartbeat_s"], silence_s=DEADLINE_S)
_Kinds = tuple[type[messages.AnyMessage], ...]
#: By socket: kinds that it accepts; and of those, what it has to obey if it is valid, so that it is not sent.
_KINDS: dict[str, tuple[_Kinds, _Kinds]] = {
    "ventilator": (
        (
            messages.Finished,
            messages.Heartbeat,
            messages.Goodbye,
            messages.Progress,
            messages.ListPaths,
            messages.Story,
        ),
        (messages.Hello, messages.SinkHello),
    ),
    "sink: results": ((messages.Result,), ()),
    "sink: trainers": (
        (
            messages.Subscribe,
            messages.Credit,
            messages.Heartbeat,
            messages.Goodbye,
            messages.Story,
            messages.SampleRequest,
        ),
        (),
    ),
    "worker": (
        (messages.Tasks, messages.Heartbeat),
        (messages.WorkerWelcome, messages.Drain, messages.Reset),
    ),
    "sink: ventilator": (
        (messages.Quarantined, messages.Paths, messages.Heartbeat),
        (messages.SinkWelcome, messages.Drain, messages.Reset),
    ),
    "trainer": (
        (messages.Batch, messages.EpochEnd, messages.Heartbeat),
        (messages.TrainerWelcome, messages.Refused, messages.Reset),
    ),
}


def attack_everything(count: int, seed: int, folder: Path, examples: int) -> Generator[Report]:
    """Send about `count` mutated messages in all; AssertionError if a service ends or delivers other bytes."""
    valid = valid_messages(examples)
    rng = random.Random(seed)
    yield from attack_stack(3 * (count // 6), rng, valid, folder)
    for peer in (_worker, _sink, _trainer):
        yield peer(count - 5 * (count // 6) if peer is _trainer else count // 6, rng, valid, folder)


def attack_stack(count: int, rng: random.Random, valid: list[Frames], folder: Path) -> Generator[Report]:
    """Attack the bound sockets while a trainer reads; its bytes must be the same as without."""
    spec = make_spec(make_images(folder / "photos", each=20))
    with run_stack(spec, workers=1) as stack:
        reference = digest(epochs(stack.feed(), 1))
        addresses = stack.addresses
        for name, kind, address in (
            ("ventilator", zmq.DEALER, addresses.ventilator),
            ("sink: results", zmq.PUSH, addresses.results),
            ("sink: trainers", zmq.DEALER, addresses.trainers),
        ):
            yield _attack_bound(stack, Report(name), kind, address, _sample(rng, valid, count // 3, name))
        feed = stack.feed()
        assert reference == digest(epochs(feed, 1))
        restarted = {name: child.restarts for name, child in stack.children.items() if child.restarts}
        assert {} == restarted


def _sample(rng: random.Random, valid: list[Frames], count: int, target: str) -> Generator[Frames]:
    """Yield mutated messages, most of them of the kinds that belong there; none that the target has to obey."""
    accepted, obeyed = _KINDS[target]
    names = {kind.__name__.encode() for kind in (*accepted, *obeyed)}
    belonging = [frames for frames in valid if frames[0].rpartition(b" ")[2] in names]
    for _ in range(count):
        while still_valid(frames := mutated(rng, belonging if rng.random() < _BELONGING else valid), obeyed):
            pass
        yield frames


def _attack_bound(stack: LocalStack, report: Report, kind: int, address: str, attacks: Generator[Frames]) -> Report:
    part = report.target.partition(":")[0]
    process = psutil.Process(stack.children[part].process.pid)
    before = Counter(told(stack, part)["rejected"])
    with Attacker(kind, address) as attacker, asked(stack, part, report.waited):
        _send(attacks, report, process, attacker.socket.send_multipart)
        # Meanwhile it stays connected: what it has sent would be lost with a connection on which an answer fails.
        report.rejected = _settled(lambda: Counter(told(stack, part)["rejected"]))
    report.rejected.subtract(before)
    return report


def _settled(count: Callable[[], Counter[str]]) -> Counter[str]:
    """Return the count once it has not changed for a while, in which a service gets its turn on any busy machine."""
    found = [count()]

    def stands_still() -> bool:
        time.sleep(0.2)  # between two counts
        found.append(count())
        return len(found) > _LOOKS and all(each == found[-1] for each in found[-_LOOKS:])

    until(stands_still, "the count to settle")
    return found[-1]


def _send(
    attacks: Generator[Frames], report: Report, process: psutil.Process, send: Callable[[Frames], object]
) -> None:
    """Send in blocks; the socket's high-water mark holds the sender back."""
    used = cpu_s(process)
    for frames in attacks:
        send(frames)
        report.sent += 1
        if report.sent % _BLOCK == 0:
            now_used = cpu_s(process)
            report.block_cpu_s = max(report.block_cpu_s, now_used - used)
            used = now_used
    assert is_alive(process), report


def cpu_s(process: psutil.Process) -> float:
    """Return the processor time (s) that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _worker(count: int, rng: random.Random, valid: list[Frames], folder: Path) -> Report:
    welcome = messages.WorkerWelcome(streams=(), roots={}, intervals=_INTERVALS)
    command = ["-m", "penstock.worker", *_flags(), "--drain-s=1", "--ventilator={address}", "--health={health}"]
    return _attack_peer("worker", command, welcome, folder, _sample(rng, valid, count, "worker"))


def _sink(count: int, rng: random.Random, valid: list[Frames], folder: Path) -> Report:
    welcome = messages.SinkWelcome(streams=(make_plan(),), intervals=_INTERVALS, leases=LEASE_KEY)
    command = ["-m", "penstock.sink", *_flags(), "--ventilator={address}", "--health={health}"]
    command += [f"--results=ipc://{folder}/r", f"--bind=ipc://{folder}/t"]
    name = "sink: ventilator"
    return _attack_peer(name, command, welcome, folder, _sample(rng, valid, count, name))


def _trainer(count: int, rng: random.Random, valid: list[Frames], folder: Path) -> Report:
    welcome = messages.TrainerWelcome(plan=make_plan(), position=0, intervals=_INTERVALS)
    command = [str(Path(__file__).with_name("trainer.py")), "{address}"]
    return _attack_peer("trainer", command, welcome, folder, _sample(rng, valid, count, "trainer"), health=False)


def _flags() -> list[str]:
    return [f"--heartbeat-s={INTERVALS['heartbeat_s']}", f"--silence-s={DEADLINE_S}"]


def _attack_peer(
    name: str,
    command: list[str],
    welcome: messages.AnyMessage,
    folder: Path,
    attacks: Generator[Frames],
    *,
    health: bool = True,
) -> Report:
    """Start a process that connects to us, pose as its server and attack it."""
    report, place = Report(name), folder / name.replace(": ", "-")
    address, asked = f"ipc://{place}.sock", f"{place}.health"
    arguments = [part.format(address=address, health=asked) for part in command]
    with ExitStack() as opened, Path(f"{place}.log").open("wb") as log:
        server = opened.enter_context(FalseServer(address, message(welcome), report))
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
        opened.callback(process.wait)
        opened.callback(process.kill)
        server.send([b"?"])  # waits until it is here
        _send(attacks, report, psutil.Process(process.pid), server.send)
        server.rest()
        if health:
            report.rejected = _settled(lambda: Counter(query(asked).get("rejected", {})))
        process.terminate()
        output, _ = process.communicate(timeout=DEADLINE_S)
        assert 0 == process.returncode, Path(f"{place}.log").read_text()[-2000:]
        if not health:
            report.rejected = Counter(json.loads(output))
    return report


def main(count: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(HEADING + "\n")
        for report in attack_everything(count, 1, Path(folder), 60):
            sys.stdout.write(f"{report}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
