"""Shared memory in running stacks: the same bytes with and without it, through deaths and pauses, and nothing left."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.streams import (
    Batch,
    digest,
    epochs,
    make_images,
    make_spec,
    make_stream,
    run_stack,
    shared_segments,
    take,
    until,
)

from penstock.launcher.stack import LocalStack

pytestmark = pytest.mark.integration

OFF: Mapping[str, Any] = {"shared_memory": False}
#: Batches whose images lie in the workers' memory: in runs, not mixed.
STREAM = make_stream(
    transform={"resize": {"height": 96, "width": 96}, "augment": {"horizontal_flip": True}},
    patches=1,
    mix=1,
    task_items=8,
    batch_size=20,
    window_mb=4.0,
)
#: Prints the digest of so many batches.
TRAINER = """
import sys
import penstock
from support.streams import digest, take
print(digest(take(penstock.connect(sys.argv[1]), int(sys.argv[2]))))
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return a spec over 2 × 100 JPEG files."""
    return make_spec(make_images(tmp_path_factory.mktemp("photos"), each=100, size=96), train=STREAM)


@pytest.fixture(scope="module")
def reference(spec: dict[str, object]) -> list[Batch]:
    """Return two epochs that went through sockets alone."""
    with run_stack(spec, workers=1, sink=OFF, worker=OFF) as stack:
        return epochs(stack.feed(), 2)


def sharing(stack: LocalStack) -> dict[str, int]:
    """Return what the sink says of shared memory; nothing while it starts."""
    found: dict[str, int] = stack.status()["sink"].get("sharing", {})
    return found


def test_workers_and_trainers_of_one_host_share_memory(spec: dict[str, object], reference: list[Batch]) -> None:
    """It is used without being asked for, and changes no byte; what a trainer gets is its own to write to."""
    others = shared_segments([os.getpid()])  # of feeds of other tests, in tracebacks that are not collected yet
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed()
        got = epochs(feed, 2)
        until(lambda: sharing(stack).get("trainers") == 1, "the sink to share memory with the trainer")
        until(lambda: sharing(stack).get("segments"), "the sink to see the workers' memory")
        assert all(batch["image"].flags.writeable for batch in got)
        got[0]["image"][:] += 0
    assert digest(reference) == digest(got)
    assert shared_segments([os.getpid()]).keys() <= others.keys()


@pytest.mark.parametrize("part", ["sink", "worker"])
def test_either_side_may_do_without(part: str, spec: dict[str, object], reference: list[Batch]) -> None:
    """A worker or a sink that does not share gets and gives the same bytes through sockets."""
    off: dict[str, Any] = {part: OFF}
    with run_stack(spec, workers=2, **off) as stack:
        got = epochs(stack.feed(), 2)
        assert 0 == until(lambda: sharing(stack), "the sink to answer")["segments"]
    assert digest(reference) == digest(got)


@pytest.mark.chaos
@pytest.mark.parametrize("part", ["ventilator", "sink", "worker-0"])
def test_killing_a_part_that_shares_memory_changes_no_byte(
    part: str, spec: dict[str, object], reference: list[Batch]
) -> None:
    """What a killed worker wrote stays readable, what a killed sink held is made again; the successor shares too."""
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed()
        got = take(feed, 6)
        stack.children[part].process.kill()
        got += take(feed, 6)
        until(lambda: stack.children[part].restarts, f"{part} to run again")
        got += take(feed, len(reference) - len(got))
        until(lambda: sharing(stack).get("segments"), "the sink to see segments")
    assert digest(reference) == digest(got)


@pytest.mark.slow
@pytest.mark.chaos
def test_a_trainer_that_was_given_up_while_stopped_reads_no_overwritten_memory(
    spec: dict[str, object], root: Path
) -> None:
    """Stopped for longer than the silence allowed: the sink forgets it, another feed has the memory written anew."""
    batches = 300
    with run_stack(spec, workers=2, sink=OFF) as stack:
        expected = digest(take(stack.feed(), batches))
    with run_stack(spec, workers=2) as stack:
        environment = os.environ | {"PYTHONPATH": str(root / "tests")}
        command = [sys.executable, "-c", TRAINER, stack.address, str(batches)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as trainer:
            until(lambda: sharing(stack).get("trainers") == 1, "the trainer to share memory")
            trainer.send_signal(signal.SIGSTOP)
            try:
                until(lambda: sharing(stack).get("trainers") == 0, "the sink to give the stopped trainer up")
                with stack.feed() as other:
                    epochs(other, 2)
            finally:
                trainer.send_signal(signal.SIGCONT)
            got, _ = trainer.communicate(timeout=300)
        assert 0 == trainer.returncode
    assert expected == got.strip()


def test_a_stack_leaves_no_memory_behind_even_if_all_of_it_is_killed(spec: dict[str, object]) -> None:
    """Segments have no name: with the last process that has one open, the kernel frees it."""
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed()
        take(feed, 8)
        pids = [child.process.pid for child in stack.children.values()]
        inodes = set(shared_segments(pids))
        assert inodes
        for child in stack.children.values():
            child.process.kill()
    until(lambda: not inodes & _anywhere(), "the kernel to free it")


def _anywhere() -> set[int]:
    """Return the segments of all processes of this host."""
    found: set[int] = set()
    for pid in [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]:
        try:
            found |= shared_segments([pid]).keys()
        except OSError:  # ended meanwhile, or not ours
            continue
    return found
