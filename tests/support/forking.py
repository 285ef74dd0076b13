"""Programs that fork while they hold stacks, feeds and iterators: `python forking.py SCENARIO FOLDER`.

A child leaves as a program does, by SystemExit: through its `with` blocks and its exit handlers. Each scenario ends
with an AssertionError or a line that says "fine".
"""

import gc
import os
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock
from penstock.protocol.runtime.health import fetch


def fork(child: Callable[[], object] = lambda: None) -> None:
    """Run `child` in a forked process, to the end of that; AssertionError if it fails or leaves output."""
    pid = os.fork()
    if pid == 0:
        child()
        gc.collect()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def stack(folder: Path) -> None:
    """A stack goes on, whatever a child does with it; the child's own feed is one more trainer."""
    with penstock.local(folder / "spec.json", workers=1) as running:
        feed = running.feed()
        first = next(iter(feed))
        before = {name: child.process.pid for name, child in running.children.items()}

        def child() -> None:
            own = running.feed()
            assert np.array_equal(first["item"], next(iter(own))["item"])
            own.close()
            with pytest.raises(penstock.StackError, match="forked from it: scale it there"):
                running.scale(3)
            running.stop()
            feed.close()

        fork(child)
        fork()
        assert running.run_dir.is_dir()
        assert (running.run_dir / "trainers.sock").exists()
        assert 1 < len([*feed, *feed])
        with running.feed() as later:
            assert np.array_equal(first["item"], next(iter(later))["item"])
        assert before == {name: child.process.pid for name, child in running.children.items()}
        assert [0, 0, 0] == [child.restarts for child in running.children.values()]
        running.scale(2)
    assert not running.run_dir.exists()


def forgotten(folder: Path) -> None:
    """A child forgets what its parent holds: the collector closes nothing there."""
    held: list[Any] = []
    with penstock.local(folder / "spec.json", workers=1) as running:
        held.append(running.feed())
        held.append(iter(held[0]))
        first = next(held[1])
        fork(held.clear)
        assert not np.array_equal(first["item"], next(held[1])["item"])


def iterator(folder: Path) -> None:
    """An image iterator's workers stay the parent's."""
    del folder
    images = np.arange(8 * 4 * 4 * 3, dtype=np.uint8).reshape(8, 4, 4, 3)
    batches = penstock.ImageDataGenerator(horizontal_flip=True).flow(images, batch_size=4, workers=1, seed=1)
    held = [batches]
    first = next(batches)
    fork(batches.close)
    fork(held.clear)
    assert len(first) == len(next(batches))
    batches.close()


def metrics(folder: Path) -> None:
    """A page of metrics is served on."""
    path = str(folder / "metrics.sock")
    feed = penstock.Feed("ipc:///nowhere")
    served = [penstock.serve_metrics(path, feed), penstock.serve_metrics("127.0.0.1:0", feed)]

    def close() -> None:
        for each in served:
            each.close()

    fork(close)
    assert b"penstock_feed_position" in fetch(path, "/metrics")[1]
    with urllib.request.urlopen(served[1].url.replace("healthz", "metrics"), timeout=60) as page:  # noqa: S310 - ours
        assert b"penstock_feed_position" in page.read()
    for each in served:
        each.close()
    assert not Path(path).exists()


def file(folder: Path) -> None:
    """A file's feed reads on."""
    with penstock.Hdf5Feed(folder / "rows.h5", batch_size=4, shuffle=False) as feed:
        unread = penstock.Hdf5Feed(folder / "rows.h5", batch_size=4)
        batches = iter(feed)
        assert [0, 1, 2, 3] == next(batches)["label"].tolist()
        fork(feed.close)
        fork()
        assert [4, 5, 6, 7] == next(batches)["label"].tolist()
        assert 4 == len(next(iter(unread))["label"])
        unread.close()


def locked(folder: Path) -> None:
    """A fork while another thread holds the locks: the child's copies are never released, so it must not wait."""
    feed, file_feed = penstock.Feed("ipc:///nowhere"), penstock.Hdf5Feed(folder / "rows.h5", batch_size=4)
    next(iter(file_feed))
    locks: list[Any] = [feed._cursor._guard, file_feed._cursor._guard, file_feed._supply._changed]
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        taken.set()
        done.wait()
        for lock in locks:
            lock.release()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    fork()

    def close() -> None:
        feed.close()
        file_feed.close()

    fork(close)
    done.set()
    holder.join()
    close()


if __name__ == "__main__":
    SCENARIOS = {scenario.__name__: scenario for scenario in (stack, forgotten, iterator, metrics, file, locked)}
    SCENARIOS[sys.argv[1]](Path(sys.argv[2]))
    print("fine")  # noqa: T201 - what the test waits for
