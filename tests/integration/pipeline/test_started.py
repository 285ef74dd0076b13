"""Stacks as a notebook uses them: `start` and `stop`, cells that run twice, and what is left behind."""

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from support.streams import digest, epochs, make_images, make_spec, make_stream, take

import penstock
from penstock.launcher.stack import Addresses, LocalStack
from penstock.protocol.errors import PenstockError, SpecError, StackError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 2 × 8 JPEG files, those of one class behind a link."""
    folder = make_images(tmp_path_factory.mktemp("photos"), each=8)
    (folder / "dog").rename(folder.parent / "elsewhere")
    (folder / "dog").symlink_to(folder.parent / "elsewhere")
    return folder


def test_a_cell_that_runs_twice_replaces_the_stack(photos: Path) -> None:
    """The representation says whether a stack runs; a stopped one can be started again, with the same bytes.

    Links that lead out of the root are followed, since no other host can join.
    """
    spec = make_spec(photos)
    stack = penstock.local(spec, workers=1)
    assert repr(stack).endswith("train with 1 worker: not started>")
    with pytest.raises(StackError, match=r"not started.*stack\.start\(\)"):
        stack.feed()
    assert stack is stack.start() is stack.start()
    assert f"running in {stack.run_dir}" in repr(stack)
    first, folder = stack.feed(), stack.run_dir
    expected = digest(epochs(first, 1))
    again = penstock.local(spec, workers=1).start()
    assert repr(stack).endswith(": stopped>")
    assert not folder.exists()
    with pytest.raises(PenstockError, match="closed"):
        take(first, 1)
    assert expected == digest(epochs(again.feed(), 1))
    again.stop()
    again.stop()
    with pytest.raises(StackError, match="stopped"):
        again.feed()
    with again:
        assert expected == digest(epochs(again.feed(), 1))


def test_a_stack_ends_when_nothing_refers_to_it_or_its_feeds(photos: Path) -> None:
    """A feed keeps its stack; without both, no process and no folder is left."""
    stack: LocalStack | None = penstock.local(make_spec(photos), workers=1).start()
    assert stack
    folder = stack.run_dir
    processes = [psutil.Process(child.process.pid) for child in stack.children.values()]
    feed: penstock.Feed | None = stack.feed()
    assert feed
    stack = None
    gc.collect()
    take(feed, 1)
    feed = None
    gc.collect()
    assert [] == psutil.wait_procs(processes, 20)[1]
    assert not folder.exists()


def test_a_program_that_stops_nothing_leaves_nothing(photos: Path) -> None:
    """At the interpreter's exit, as when a notebook's kernel ends."""
    program = (
        f"import penstock; stack = penstock.local({make_spec(photos)!r}, workers=1).start(); "
        "print(*(child.process.pid for child in stack.children.values())); feed = stack.feed(); next(iter(feed))"
    )
    folder = Path(tempfile.mkdtemp(prefix="penstock-"))  # sockets need a short path
    environment = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert 3 == len(done.stdout.split())
    assert not any(psutil.pid_exists(int(pid)) for pid in done.stdout.split())
    assert [] == list(folder.iterdir())
    folder.rmdir()


def test_a_network_refuses_links_that_lead_out_of_a_root(photos: Path, tmp_path: Path) -> None:
    """Where other hosts can join, the spec must permit them."""
    names = [f"ipc://{tmp_path}/{name}.sock" for name in ("results", "trainers")]
    stack = LocalStack(make_spec(photos), workers=0, addresses=Addresses("tcp://127.0.0.1:0", *names))
    with pytest.raises(StackError, match="leads outside its root"):
        stack.start()
    assert repr(stack).endswith(": stopped>")


def test_class_lists_that_differ_are_a_warning_where_the_stack_is_started(photos: Path) -> None:
    """In the user's own process, at the user's own line."""
    source = {"kind": "directory", "root": "photos", "allow_outside": True}
    streams = {
        "train": make_stream(source=source | {"classes": ["cat", "dog"]}),
        "validation": make_stream(source=source | {"classes": ["dog", "cat"]}),
    }
    stack = penstock.local(make_spec(photos) | {"streams": streams}, workers=0)
    with pytest.warns(UserWarning, match="'cat' is 0 and 1") as caught:
        stack.start()
    stack.stop()
    assert __file__ == caught[0].filename


def test_a_folder_is_streamed_in_one_line(photos: Path) -> None:
    """Both streams together hold each image once; the feeds alone keep the workers running."""
    train, validation = penstock.images(photos, size=(40, 48), validation_split=0.25, batch_size=5, workers=1)
    counts = [sum(len(batch["label"]) for batch in feed) for feed in (train, validation)]
    assert [12, 4] == counts
    assert ("cat", "dog") == train.classes == validation.classes
    with penstock.images(photos, size=32, workers=0) as data:
        assert "<Images train with 0 workers: running" in repr(data)
        with pytest.raises(SpecError, match=r"give penstock\.images"):
            list(data)
    assert repr(data).endswith(": stopped>")
    assert train.owner is not data.stack
