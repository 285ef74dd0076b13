"""Workers that hang, crash on one item or leave: the stream goes on, and what kills workers is named.

Production code has no hook for misbehaviour, so the bad worker is a process of the test's own: the real service,
started by a few lines that replace `Pipeline.make` in that process only.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.streams import (
    OPTIONS,
    Batch,
    digest,
    epochs,
    joined,
    make_images,
    make_spec,
    make_stream,
    run_stack,
    take,
    until,
)

from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

#: A worker that does `{deed}` whenever a task holds the item `{path}`; then it is the real one.
BAD_WORKER = """
import os, signal, sys, time
from penstock.worker import service
from penstock.worker.imaging.pipeline import Pipeline

def make(self, task, loaded, room=None, make=Pipeline.make):
    if any(item.path == {path!r} for item in task.items):
        print("now it happens", file=sys.stderr, flush=True)
        {deed}
    return make(self, task, loaded, room)

Pipeline.make = make
sys.exit(service.main(sys.argv[1:]))
"""
HANG, DIE = "time.sleep(3600)", "os.kill(os.getpid(), signal.SIGKILL)"
#: What misbehaviour is about: some item, and the one that comes first without shuffling.
BAD, FIRST = "dog/0017.jpg", "cat/0000.jpg"
#: The number of the first one.
BAD_ITEM = 60 + 17


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 2 × 60 JPEG files."""
    return make_images(tmp_path_factory.mktemp("photos"), each=60)


@pytest.fixture(scope="module")
def reference(photos: Path) -> list[Batch]:
    """Return two epochs that nothing disturbed."""
    with run_stack(make_spec(photos), workers=2) as stack:
        return epochs(stack.feed(), 2)


def bad_worker(stack: LocalStack, deed: str, path: str = BAD) -> list[str]:
    """Return the command of a worker that misbehaves on one item."""
    options = {"ventilator": stack.addresses.ventilator, "health": "", **OPTIONS["worker"]}
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-c", BAD_WORKER.format(path=path, deed=deed), *flags]


def start(stack: LocalStack, command: list[str]) -> tuple["subprocess.Popen[bytes]", Path]:
    """Start a worker that misbehaves, outside the supervisor; return it and its log."""
    log = stack.run_dir / "bad-worker.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return process, log


def untroubled(reference: list[Batch]) -> int:
    """Return how many batches do not need the task with the bad item; it is leased once they are taken."""
    return next(number for number, batch in enumerate(reference) if BAD_ITEM in batch["item"]) - 2


def test_a_stopped_worker_is_hedged_and_its_late_results_are_dropped(
    photos: Path, reference: list[Batch], tmp_path: Path
) -> None:
    """SIGSTOP for longer than a task takes, well within the silence that counts as loss; then it goes on."""
    patient = {"silence_s": 60.0, "confirm_s": 60.0}
    with run_stack(make_spec(photos), workers=2, run_dir=tmp_path / "run", ventilator=patient) as stack:
        joined(stack, 2)
        feed = stack.feed(prefetch=2)  # a feed that has more already needs nothing that the stopped worker gets
        got = take(feed, 4)
        worker = stack.children["worker-0"].process
        worker.send_signal(signal.SIGSTOP)
        got += take(feed, 20)
        assert "hedged" in (tmp_path / "run" / "ventilator.log").read_text()
        worker.send_signal(signal.SIGCONT)
        late = until(
            lambda: (
                (results := stack.status()["sink"].get("results", {})).get("duplicate", 0) + results.get("unwanted", 0)
            ),
            "the late result",
        )
        got += take(feed, len(reference) - 24)
    assert late >= 1
    assert digest(reference) == digest(got)


def test_a_worker_that_hangs_in_a_decode_is_hedged(photos: Path, reference: list[Batch]) -> None:
    """Its heartbeats go on, so that only the stream's stalled head tells; another worker makes the task."""
    with run_stack(make_spec(photos), workers=0) as stack:
        process, log = start(stack, bad_worker(stack, HANG))
        try:
            joined(stack, 1)
            feed = stack.feed()
            first = take(feed, untroubled(reference))  # made by the bad worker, which is the only one
            until(lambda: "now it happens" in log.read_text(), "the bad worker to meet the bad item")
            before = time.monotonic()
            stack.scale(1)
            got = first + take(feed, len(reference) - len(first))
            assert digest(reference) == digest(got)
            assert process.poll() is None
            assert time.monotonic() - before < 60
        finally:
            process.kill()
            process.wait()


def test_a_worker_stuck_in_one_task_ends_itself(photos: Path, reference: list[Batch]) -> None:
    """After `task_timeout_s`, so that the task counts an attempt and the worker's place can be taken."""
    with run_stack(make_spec(photos), workers=0, ventilator={"task_timeout_s": 4.0}) as stack:
        process, log = start(stack, bad_worker(stack, HANG))
        try:
            joined(stack, 1)
            feed = stack.feed()
            first = take(feed, untroubled(reference))
            until(lambda: "now it happens" in log.read_text(), "the bad worker to meet the bad item")
            stack.scale(1)
            got = first + take(feed, len(reference) - len(first))
            assert 70 == process.wait(60)
            assert "stuck in a task: leaving" in log.read_text()
            assert digest(reference) == digest(got)
        finally:
            process.kill()
            process.wait()


def test_a_second_sigterm_leaves_at_once(photos: Path) -> None:
    """A worker that drains waits for what runs; who cannot wait says so twice."""
    spec = make_spec(photos, train=make_stream(shuffle=False))
    with run_stack(spec, workers=0) as stack, stack.feed() as feed:
        process, log = start(stack, bad_worker(stack, HANG, path=FIRST))
        try:
            assert 120 == feed.plan.items
            until(lambda: "now it happens" in log.read_text(), "the worker to hang")
            process.send_signal(signal.SIGTERM)
            until(lambda: '"draining"' in log.read_text(), "the drain")
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert 128 + signal.SIGTERM == process.wait(60)
        finally:
            process.kill()
            process.wait()


def test_a_drain_that_takes_too_long_ends(photos: Path) -> None:
    """After `drain_s` what runs is given back, and a thread that hangs does not keep the worker from leaving."""
    spec = make_spec(photos, train=make_stream(shuffle=False))
    with run_stack(spec, workers=0) as stack, stack.feed() as feed:
        process, log = start(stack, [*bad_worker(stack, HANG, path=FIRST), "--drain-s", "0.5"])
        try:
            assert 120 == feed.plan.items
            until(lambda: "now it happens" in log.read_text(), "the worker to hang")
            process.send_signal(signal.SIGTERM)
            assert 70 == process.wait(60)
            assert "drain took too long" in log.read_text()
            joined(stack, 0)
        finally:
            process.kill()
            process.wait()


def test_an_item_that_kills_its_worker_is_quarantined_alone(
    photos: Path, reference: list[Batch], tmp_path: Path
) -> None:
    """Three counted deaths, the last two while it runs alone; its neighbours in the task survive."""
    run_dir = tmp_path / "run"
    unhedged = {"attempts": 3, "hedge_s": 60.0}  # else more workers may die of it before the first death is noticed
    with run_stack(make_spec(photos), workers=0, run_dir=run_dir, ventilator=unhedged) as stack:
        assert stack._supervisor
        for number in range(2):
            stack._supervisor.add(f"bad-{number}", bad_worker(stack, DIE))
        feed = stack.feed(prefetch=2)  # else they go on dying of the item in later epochs, which come ahead
        got = epochs(feed, 2)
        deaths = sum(child.restarts for child in stack.children.values())
        accounts = feed.epochs
    ledger = [json.loads(line) for line in (run_dir / "quarantine.jsonl").read_text().splitlines()]
    found = [(line["path"], line["epoch"], line["attempts"]) for line in ledger if line["epoch"] < 2]
    assert [(BAD, 0, 3), (BAD, 1, 3)] == found
    assert all("its worker died 3 times" in line["reason"] and line["worker"] for line in ledger)
    # A worker that dies just after another task takes its last `Finished` along: that death is not counted to the item.
    assert 3 <= deaths <= 9
    assert [(360, 357, 3)] * 2 == [(end.expected, end.delivered, end.quarantined) for end in accounts]
    bad = ledger[0]["item"]
    assert _counted(reference, without=bad) == _counted(got)


def _counted(batches: list[Batch], without: int = -1) -> Counter[tuple[int, int, bytes]]:
    """Return every sample but those of one item, and how often it came."""
    return Counter(
        (int(item), int(patch), image.tobytes())
        for batch in batches
        for item, patch, image in zip(batch["item"], batch["patch"], batch["image"], strict=True)
        if item != without
    )
