"""Attacks that once ended, stopped or swelled the services, one for each kind: what they do now.

`python -m support.mutations.faults` (in tests/) prints a table: memory, the longest that others waited, and what came
of it. `flood.py` measures messages without end, and `attack.py` mutated ones.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import zmq
from support.cores.leases_harness import CoreHarness
from support.hostile import Attacker, message
from support.mutations.extremes import introduction
from support.mutations.fault_files import measure, write_files
from support.mutations.onlooker import asked
from support.plans import make_plan
from support.services.lying_worker import LyingWorker, forged
from support.services.peaks import begin_peak, peak_bytes
from support.services.running import PENSTOCK, refused, running
from support.streams import OPTIONS, digest, epochs, make_images, make_spec, make_stream, run_stack, told, until

import penstock
from penstock.launcher.stack import LocalStack
from penstock.protocol import messages

#: The real worker, which dies of one item.
_DYING = """
import os, signal, sys
from penstock.worker import service
from penstock.worker.imaging.pipeline import Pipeline

def make(self, task, loaded, room=None, make=Pipeline.make):
    if any(item.path == "dog/0017.jpg" for item in task.items):
        os.kill(os.getpid(), signal.SIGKILL)
    return make(self, task, loaded, room)

Pipeline.make = make
sys.exit(service.main(sys.argv[1:]))
"""
#: Subscriptions of one attacker.
_SUBSCRIPTIONS = 250


@dataclass(slots=True)
class Fault:
    """What one attack did."""

    number: int
    attack: str
    before: str
    #: Growth of the service that grew most (MB); longest that another peer waited for an answer (s).
    grew_mb: float
    waited_s: float
    now: str

    def __str__(self) -> str:
        """Return a line of a table."""
        grew, waited = f"{self.grew_mb:.0f} MB", f"{self.waited_s:.2f} s"
        return f"| {self.number} | {self.attack} | {self.before} | {grew} | {waited} | {self.now} |"


HEADING = "| | attack | before | memory grew by | longest wait | now |\n|---|---|---|---|---|---|"


class _Watched:
    """Measures ventilator and sink, which an onlooker asks, while an attack lasts."""

    def __init__(self, stack: LocalStack, asked_parts: tuple[str, ...] = ("ventilator", "sink")) -> None:
        self._pids = {part: stack.children[part].process.pid for part in ("ventilator", "sink")}
        self._asked = asked_parts
        self._stack, self._opened = stack, ExitStack()
        self.waited_s = self.grew_mb = 0.0

    def __enter__(self) -> Self:
        self._before = {part: begin_peak(pid) for part, pid in self._pids.items()}
        for part in self._asked:
            self._opened.enter_context(asked(self._stack, part, self._waited))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        self.grew_mb = max(peak_bytes(pid) - self._before[part] for part, pid in self._pids.items()) / 1e6

    def _waited(self, seconds: float) -> None:
        self.waited_s = max(self.waited_s, seconds)


def _restarts(stack: LocalStack) -> int:
    return sum(stack.children[part].restarts for part in ("ventilator", "sink"))


def killer_item(folder: Path) -> Fault:
    """One of 60 images kills its worker, with the default window."""
    spec = make_spec(make_images(folder / "small", each=30), train=make_stream(window_mb=256.0))
    with run_stack(spec, workers=0, run_dir=folder / "run", ventilator={"attempts": 3}) as stack:
        options = {"ventilator": stack.addresses.ventilator, "health": "", **OPTIONS["worker"]}
        flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        assert stack._supervisor
        for number in range(2):
            stack._supervisor.add(f"dying-{number}", [sys.executable, "-c", _DYING, *flags])
        # The sink answers with the next samples, which wait for the next worker.
        with _Watched(stack, ("ventilator",)) as watched, stack.feed() as feed:
            got = sum(len(batch["label"]) for batch in epochs(feed, 2))
        deaths = sum(child.restarts for name, child in stack.children.items() if name.startswith("dying"))
    lines = (folder / "run" / "quarantine.jsonl").read_text().splitlines()
    items = {json.loads(line)["item"] for line in lines}
    now = f"{deaths} workers died, {len(items)} item given up in all epochs, {got} samples of 2 epochs came"
    before = "38 restarts, 54 ledger lines, then the stack ended"
    attack = "an item of 60 kills its worker"
    return Fault(1, attack, before, watched.grew_mb, watched.waited_s, now)


def greedy_trainer(stack: LocalStack) -> Fault:
    """250 subscriptions for 65,536 ranks, of tasks of one item."""
    subscribe = messages.Subscribe(stream="train", world_size=65_536, limit=1, version=penstock.__version__)
    answers: Counter[str] = Counter()
    with _Watched(stack) as watched, ExitStack() as opened:
        greedy = [opened.enter_context(Attacker(zmq.DEALER, stack.addresses.trainers)) for _ in range(_SUBSCRIPTIONS)]
        for number, each in enumerate(greedy):
            each.send([message(subscribe.model_copy(update={"position": 1000 * number}))])
        for each in greedy:
            until(lambda each=each: each.socket.poll(0), "an answer")  # type: ignore[misc]
            answers[each.socket.recv_multipart()[0].rpartition(b" ")[2].decode()] += 1
    now = ", ".join(f"{count} × `{kind}`" for kind, count in answers.items())
    before = "ventilator 71 → 2,089 MB, all trainers stood still"
    attack = f"{_SUBSCRIPTIONS} subscriptions of 65,536 ranks, one item a task"
    return Fault(3, attack, before, watched.grew_mb, watched.waited_s, f"answered by {now}; the trainer goes on")


def liar(stack: LocalStack, token: str, read: Callable[[], str], reference: str) -> Fault:
    """Forged results, and a worker that says that every item fails fatally; `read` returns an epoch's digest."""
    with _Watched(stack) as watched:
        with Attacker(zmq.PUSH, stack.addresses.results) as results:
            results.send(forged(token, 10, fatal=True) + forged(token, 40))
            until(lambda: told(stack, "sink")["rejected"].get("lease", 0) >= 50, "the forged results to be dropped")
        with LyingWorker(stack.addresses.ventilator, stack.addresses.results, fatal=True) as lying:
            until(lambda: lying.joined, "the liar to be let in")
            assert reference == read()
    now = f"50 forged results dropped; {lying.lies} lies of a leased liar, and the same bytes"
    attack = "forged and lying failures, `fatal`"
    return Fault(4, attack, "one ended the stream for good", watched.grew_mb, watched.waited_s, now)


def cut_line() -> Fault:
    """Only the line fails: a task of one item is hedged to three workers that cannot be heard."""
    harness = CoreHarness(make_plan(items=12, task_items=1))
    harness.sink()
    for name in (b"a", b"b", b"c"):
        harness.join(name, slots=1)
    harness.miss((0, 12))
    longest = 0.0
    for _ in range(60):
        harness.deal()
        began = time.perf_counter()
        harness.wait(0.25)
        longest = max(longest, time.perf_counter() - began)
    charged = max(harness.deaths().values(), default=0)
    given_up = len(harness.leases.queues["train"].deaths.poison)
    now = f"one outage: at most {charged} death is charged, {given_up} items quarantined"
    return Fault(6, "a line fails, nobody dies (core alone)", "the item was quarantined", 0.0, longest, now)


def admitted_peers(stack: LocalStack) -> Fault:
    """A ledger line with the last number, malformed addresses, and tasks beyond any epoch, from an admitted sink."""
    line = '{"sink_stats":{"ledger":[{"number":%d,"stream":"train","epoch":0,"item":1,"path":"a","reason":"b",'
    line += '"attempts":1,"worker":"w","kind":"read"}]}}'
    beat = [message(messages.Heartbeat())[0], (line % (2**62 - 1)).encode()]
    hello = messages.SinkHello(incarnation="i", results="tcp://[bad:5", version=penstock.__version__)
    far = messages.StreamNeed(stream="train", missing=((2**62 - 3, 2**62 - 1),))
    before = Counter(told(stack, "ventilator")["rejected"])
    with _Watched(stack) as watched, Attacker(zmq.DEALER, stack.addresses.ventilator) as attacker:
        for frames in (beat, message(hello), message(messages.Progress(sequence=1, needs=(far,)))):
            attacker.send([*introduction("ventilator, as a sink", stack.addresses), frames])
        counted = until(lambda: dict(Counter(told(stack, "ventilator")["rejected"]) - before), "them to be counted")
    reasons = ", ".join(f"`{reason}`" for reason in sorted(counted))
    now = f"rejected as {reasons}; {_restarts(stack)} restarts, the same bytes"
    was = "the ventilator ended; workers exited for good"
    return Fault(8, "last numbers, malformed addresses, far tasks", was, watched.grew_mb, watched.waited_s, now)


def written_budget(folder: Path) -> Fault:
    """A fifth of the files is broken, the budget is 8 %, and the same `penstock write` is run four times."""
    photos = make_images(folder / "fifth", each=200)
    for number in range(0, 200, 5):
        for name in ("cat", "dog"):
            (photos / name / f"{number:04}.jpg").write_bytes(b"no image")
    stream = make_stream(failure_budget=0.08)
    (folder / "spec.json").write_text(json.dumps(make_spec(photos, train=stream)))
    command = [PENSTOCK, "write", str(folder / "spec.json"), "--output", str(folder / "out.h5")]
    runs = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(4)]
    said = [re.search(r"(\d+) of 400 items failed", run.stdout + run.stderr) for run in runs if run.returncode]
    counts = ", ".join(found[1] for found in said if found)
    now = f"{len(said)} of 4 runs stop, after {counts} failures in all"
    return Fault(5, "20 % broken files, budget 8 %, `write` again", "80 failures where 32 are allowed", 0.0, 0.0, now)


def false_ventilator(folder: Path) -> Fault:
    """A ventilator names a root of its own to a worker that was given another one."""
    secrets, own, address = folder / "secrets", folder / "own", f"ipc://{folder}/false.sock"
    (secrets / "class").mkdir(parents=True)
    (secrets / "class" / "passwords.jpg").write_bytes(b"root:secret")
    own.mkdir()
    spec = make_spec(secrets, train=make_stream(patches=1, transform={"resize": {"height": 8, "width": 8}}))
    (folder / "false.json").write_text(json.dumps(spec))
    with running([PENSTOCK, "ventilator", "--spec", str(folder / "false.json"), "--bind", address]):
        words = refused(PENSTOCK, "worker", "--ventilator", address, "--root", f"mine={own}")
    shown = re.search(r"root 'photos'[^:]*", words)
    assert shown, words
    assert "root:secret" not in words
    now = f"the worker ends: {shown[0]}"
    return Fault(7, "a false ventilator names a root", "it read any file, and quoted 16 bytes of it", 0.0, 0.0, now)


def every_fault(folder: Path) -> Generator[Fault]:
    """Yield what comes of each attack; AssertionError if a service restarts or a trainer gets other bytes."""
    yield killer_item(folder)
    with run_stack(
        make_spec(make_images(folder / "photos"), train=make_stream(task_items=1, mix=1)), workers=1
    ) as stack:
        feed = stack.feed()
        reference = digest(epochs(feed, 1))
        yield greedy_trainer(stack)
        yield liar(stack, feed.plan.token, lambda: digest(epochs(stack.feed(), 1)), reference)
        yield admitted_peers(stack)
        assert reference == digest(epochs(stack.feed(), 1))
        assert 0 == _restarts(stack)
    yield written_budget(folder)
    yield cut_line()
    yield false_ventilator(folder)
    for name, what, before in write_files(folder):
        grew, waited, found = measure(folder, name)
        yield Fault(9, f"{what}, {(folder / name).stat().st_size:,} bytes", before, grew, waited, found[:160])


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(HEADING + "\n")
        for fault in every_fault(Path(folder)):
            sys.stdout.write(f"{fault}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
