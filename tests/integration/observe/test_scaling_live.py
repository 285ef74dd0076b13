"""Workers that come and go by themselves: real stacks that scale up from nothing, down to what is needed, and drain."""

import json
import shlex
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.services.running import FAST, PENSTOCK, running
from support.streams import OPTIONS, digest, make_spec, make_stream, run_stack, take, until
from support.transforms import unpack

import penstock
from penstock.launcher.stack import LocalStack
from penstock.observe.status_client import Onlooker
from penstock.protocol.errors import StackError
from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.snapshot import Snapshot

pytestmark = pytest.mark.integration

#: A small engine: keeps as many `penstock worker` processes as it is told, by their process IDs in a folder.
ENGINE = """
import os, signal, subprocess, sys
from pathlib import Path

folder, wanted, *command = Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
running = sorted(folder.glob("*.pid"))
for file in running[wanted:]:
    os.kill(int(file.name.removesuffix(".pid")), signal.SIGTERM)
    file.unlink()
for _ in range(len(running), wanted):
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (folder / f"{process.pid}.pid").touch()
"""


@pytest.fixture
def engine(tmp_path: Path) -> Generator[Path]:
    """Return the engine's program, which keeps process IDs in its folder; no worker is left behind."""
    program = tmp_path / "engine.py"
    program.write_text(ENGINE)
    yield program
    for file in tmp_path.glob("*.pid"):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(file.name.removesuffix(".pid"))).kill()


def test_autoscale_brings_the_first_worker_by_the_engines_command(photos: Path, engine: Path) -> None:
    """A stack without workers gets one within seconds of its first trainer, by a command that starts workers.

    A second one may not follow, however slow the first one is.
    """
    with run_stack(make_spec(photos), workers=0, ventilator={"workers_up_s": 3600.0}) as stack:
        worker = [PENSTOCK, "worker", "--ventilator", stack.addresses.ventilator, *FAST]
        start = [sys.executable, str(engine), str(engine.parent), "{workers}", *worker]
        command = [PENSTOCK, "autoscale", stack.addresses.ventilator, "--apply", shlex.join(start), "--most", "2"]
        with running(command), stack.feed() as feed:
            assert 3 == len(take(feed, 3))
            assert 1 == len(list(engine.parent.glob("*.pid")))


@pytest.mark.slow
def test_a_local_stack_lets_workers_go_that_a_slow_trainer_does_not_need(photos: Path) -> None:
    """From two workers to one, with the reason; the trainer gets the same bytes as with two throughout."""
    with run_stack(make_spec(photos), workers=2) as stack, stack.feed() as feed:
        expected = digest(take(feed, 200))
    patience = {**OPTIONS, "ventilator": {**OPTIONS["ventilator"], "workers_up_s": 3600.0, "workers_down_s": 5.0}}
    with LocalStack(make_spec(photos), workers=(1, 2), options=patience) as stack, stack.feed() as feed:
        with pytest.raises(StackError, match="scales by itself"):
            stack.scale(1)
        batches = take(feed, 5)
        until(lambda: stack.workers == 1, "one worker only")
        until(lambda: len(stack.snapshot().workers) == 1, "the other one's leave")
        scaling = stack.snapshot().scaling
        batches += take(feed, 195)
        # A worker that is silent for a while, or leaves and comes again during the start, is counted too, for ever.
        assert stack.snapshot().lost.get("worker left", 0) >= 1, "it said goodbye"
        assert expected == digest(batches)
    assert (1, 1, 2) == (scaling.wanted, scaling.least, scaling.most)
    assert "1 instead of 2: 2 workers worked" in scaling.sentence


@pytest.mark.slow
def test_up_follows_the_need_down_and_up(
    photos: Path, slow_probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`penstock up --workers auto` lets workers go while a trainer pauses, and starts one again when the trainer waits.

    A worker that leaves is drained, and the bytes are those of any other number. On a machine with one core, "auto"
    is always one worker.
    """
    monkeypatch.setenv("PYTHONPATH", str(slow_probe))
    transform = {"patch": {"kind": "random", "height": 32, "width": 40}, "custom": [{"name": "slow"}]}
    spec = make_spec(photos, train=make_stream(transform=transform))
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec))
    most = len(usable_cores())
    flags = [f"--{name}=ipc://{tmp_path}/{name}.sock" for name in ("ventilator", "results", "trainers")]
    flags += ["--run-dir", str(tmp_path / "run")]  # with the logs: nobody reads them here, and a full pipe stops `up`
    command = [PENSTOCK, "up", str(file), "--dashboard", "", "--workers", "auto" if most > 1 else "1-2", *flags]
    patience = {"PENSTOCK_WORKERS_UP_S": "1", "PENSTOCK_WORKERS_DOWN_S": "5", "PROBE_SLEEP_S": "0.02"}
    batches = []
    with (
        running(command, env=patience),
        penstock.connect(f"ipc://{tmp_path}/trainers.sock") as feed,
        Onlooker(f"ipc://{tmp_path}/ventilator.sock") as onlooker,
    ):
        batches += take(feed, 2)
        until(lambda: 1 == len(onlooker.look(0).workers), "one worker only", 180.0)

        def rises() -> Snapshot | None:
            """Return what is seen at the moment at which a second worker is there for the trainer's sake."""
            batches.extend(take(feed, 2))
            seen = onlooker.look(0)
            waited = "instead of 1: the trainer waited" in seen.scaling.sentence
            return seen if waited and len(seen.workers) > 1 else None

        seen = until(rises, "a second worker, because the trainer waited", 180.0)
        assert seen
        batches += take(feed, 10)
    assert seen.lost.get("worker left", 0) >= 1
    with run_stack(spec, workers=1) as stack, stack.feed() as feed:
        assert digest(take(feed, len(batches))) == digest(batches)


@pytest.fixture
def slow_probe(tmp_path: Path) -> Path:
    """Return a folder with custom transforms installed, of which one takes its time."""
    return unpack(tmp_path / "probe")
