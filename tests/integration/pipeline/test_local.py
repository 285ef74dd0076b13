"""`penstock.local` and `import penstock`, as a Python program uses them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.streams import (
    DEADLINE_S,
    digest,
    epochs,
    gone,
    make_images,
    make_spec,
    make_stream,
    run_stack,
    services,
    take,
    until,
)

import penstock
from penstock.protocol.errors import PenstockError, SpecError, StackError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 2 × 20 JPEG files."""
    return make_images(tmp_path_factory.mktemp("photos"), each=20)


def test_importing_penstock_is_light() -> None:
    """It imports nothing that costs: a training script pays when it connects."""
    program = "import sys, penstock; penstock.connect, penstock.local; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "penstock" in modules
    heavy = {"numpy", "zmq", "pydantic", "PIL", "cv2", "tensorflow", "keras", "structlog", "rich"}
    assert set() == heavy & set(modules)


def test_connecting_imports_no_decoder_and_no_tensorflow() -> None:
    """A trainer needs neither; a spec is not read where none is given."""
    program = "import sys, penstock; penstock.connect('tcp://127.0.0.1:9').close(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "penstock.trainer.client.feed" in modules
    assert set() == {"PIL", "cv2", "simplejpeg", "tensorflow", "keras", "torch"} & set(modules)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"roots": {"photos": "/nowhere/at/all"}}, "/nowhere/at/all"),
        ({"roots": {"pictures": "/nowhere"}}, "no such root"),
        ({"streams": {}}, "streams"),
        ({"seed": -1}, "seed"),
        ({"sead": 1}, "did you mean 'seed'"),
    ],
)
def test_what_is_wrong_is_raised_where_the_stack_is_entered(change: dict[str, Any], words: str, photos: Path) -> None:
    """In words, by our own error, within seconds, and nothing is left running."""
    began, before = time.monotonic(), services()
    with pytest.raises(PenstockError, match=words), penstock.local({**make_spec(photos), **change}, workers=1):
        pytest.fail("the stack must not start")
    assert time.monotonic() - began < DEADLINE_S  # and not as long as sources may take to be listed
    until(lambda: set(services()) <= set(before), "what was started to be gone")


def test_a_program_ends_its_stack(photos: Path) -> None:
    """No process and no folder is left; a feed that is still held says so in words."""
    with penstock.local(make_spec(photos), workers=2) as stack:
        feed = stack.feed()
        take(feed, 2)
        folder = stack.run_dir
        processes = [psutil.Process(child.process.pid) for child in stack.children.values()]
        assert "train with 2 workers" in repr(stack)
    assert [] == psutil.wait_procs(processes, 0)[1]
    assert not folder.exists()
    with pytest.raises(PenstockError, match="closed"):
        take(feed, 1)


def test_a_run_folder_that_was_given_keeps_logs_and_ledger(photos: Path, tmp_path: Path) -> None:
    """And no socket. While it runs and afterwards, only their owner may use its files and sockets."""
    with penstock.local(make_spec(photos), workers=1, run_dir=tmp_path / "run") as stack:
        epochs(stack.feed(), 1)
        own = [tmp_path / "run", *(tmp_path / "run").iterdir()]
        assert {".sock", ".health", ".log", ".json", ".jsonl"} <= {path.suffix for path in own}
        assert [] == [path for path in own if path.stat().st_mode & 0o077]
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"ventilator.log", "sink.log", "worker-0.log", "quarantine.jsonl", "spec.json"} == left


def test_a_run_folder_with_too_long_a_path_is_refused(photos: Path, tmp_path: Path) -> None:
    """A Unix socket's path is short; the error says how short, and what to do."""
    with (
        pytest.raises(SpecError, match="use a shorter folder"),
        penstock.local(make_spec(photos), workers=1, run_dir=tmp_path / ("x" * 100)),
    ):
        pytest.fail("the stack must not start")


def test_two_stacks_live_side_by_side(photos: Path) -> None:
    """In one program, with other seeds."""
    with (
        penstock.local(make_spec(photos, seed=1), workers=1) as one,
        penstock.local(make_spec(photos, seed=2), workers=1) as other,
    ):
        assert digest(epochs(one.feed(), 1)) != digest(epochs(other.feed(), 1))


def test_a_service_that_cannot_live_ends_the_feeds_in_words(tmp_path: Path) -> None:
    """A root that vanishes while a worker starts anew: the trainer is told, it does not wait for its deadline."""
    moved = make_images(tmp_path / "photos", each=20)
    spec = make_spec(moved, train=make_stream(failure_budget=1.0))
    with run_stack(spec, workers=1) as stack:
        feed = stack.feed()
        take(feed, 1)
        stack.children["worker-0"].process.send_signal(signal.SIGSTOP)
        moved.rename(tmp_path / "elsewhere")
        stack.children["worker-0"].process.kill()
        with pytest.raises(StackError, match=r"worker-0 cannot run: .*photos"):
            epochs(feed, 50)
        assert stack.error


def test_a_worker_that_still_drains_does_not_keep_its_successor_from_starting(photos: Path) -> None:
    """A long task may take a drained worker half a minute: who is given its name meanwhile works, and is asked."""
    with run_stack(make_spec(photos), workers=2) as stack:
        until(lambda: stack.status()["worker-1"].get("ready"), "the worker to join")
        first = stack.children["worker-1"].process
        first.send_signal(signal.SIGSTOP)  # it serves its health, and does not get to leave
        stack.scale(1)
        stack.scale(2)
        until(lambda: stack.status()["worker-1"].get("ready"), "its successor to join")
        assert first.poll() is None
        first.send_signal(signal.SIGCONT)
        assert 0 == first.wait(60)
        until(lambda: stack.status()["worker-1"].get("ready"), "its successor to be there still")
        assert stack.error is None


def test_scaling_down_and_up_again_leaves_no_process_behind(photos: Path) -> None:
    """A worker that still drains is not forgotten when its name is given to a new one."""
    with run_stack(make_spec(photos), workers=3) as stack:
        feed = stack.feed()
        take(feed, 2)
        for workers in (1, 3, 0, 2):
            stack.scale(workers)
        until(lambda: stack.status()["ventilator"].get("workers") == 2, "two workers")
        epochs(feed, 1)
        assert 40 * 3 == sum(len(batch["label"]) for batch in epochs(feed, 1))
        started = services()
    gone(started)


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    """Those of roots, given as text or as a path, and the run folder: nothing splits them."""
    photos = make_images(tmp_path / "a,b=c {d} 'e' [f]", each=4)
    spec = make_spec(photos, train=make_stream(patches=1, mix=1, batch_size=4))
    expected = None
    given: list[str | Path] = [str(photos), photos]
    for number, root in enumerate(given):
        run_dir = tmp_path / f"-run,={number} {{x}} #%s"
        with penstock.local(spec, workers=1, roots={"photos": root}, run_dir=run_dir) as stack, stack.feed() as feed:
            found = digest(epochs(feed, 1))
        expected = expected or found
        assert expected == found
        assert (run_dir / "worker-0.log").exists()


def test_a_root_that_no_stream_has_is_refused_before_anything_starts(photos: Path) -> None:
    """With the names that there are."""
    spec = make_spec(photos, train=make_stream())
    said = r"root 'fotos' = '/x': no stream has a root of that name; the spec's roots: photos"
    with pytest.raises(SpecError, match=said):
        penstock.local(spec, roots={"fotos": "/x"})


def test_nothing_of_the_working_folder_is_imported(photos: Path, tmp_path: Path) -> None:
    """A program may keep a random.py there; in a shared folder it would even be another user's."""
    for name in ("random.py", "json.py", "struct.py", "penstock.py"):
        (tmp_path / name).write_text(f"from pathlib import Path\nPath({str(tmp_path)!r}, '{name}.ran').touch()\n")
    spec = json.dumps(make_spec(photos, train=make_stream()))
    program = (
        "import sys; sys.path.remove('')\nimport json, penstock\n"
        f"with penstock.local(json.loads({spec!r}), workers=1) as stack:\n"
        "    with stack.feed() as feed:\n        print(len(next(iter(feed))['image']))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert [] == list(tmp_path.glob("*.ran"))


def test_a_service_that_starts_again_finds_its_files_from_another_working_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roots and run folder were given relative to the one of the beginning."""
    monkeypatch.chdir(photos.parent)
    spec = make_spec(photos, train=make_stream(patches=1, mix=1, batch_size=4))
    with penstock.local(spec, workers=1, roots={"photos": photos.name}, run_dir="run") as stack, stack.feed() as feed:
        take(feed, 1)
        monkeypatch.chdir(tmp_path)
        ventilator = stack.children["ventilator"]
        ventilator.process.send_signal(signal.SIGKILL)
        until(lambda: ventilator.restarts > 0 and stack.status()["ventilator"].get("ready"), "the ventilator is back")
        take(feed, 20)
        assert stack.error is None
