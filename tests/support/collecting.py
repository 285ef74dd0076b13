"""Programs that drop feeds, stacks and iterators for the collector to find on an awkward thread.

`python collecting.py SCENARIO FOLDER`: what is dropped is part of a cycle, so that only the collector frees it, and the
collector is run by a thread that belongs to what is dropped. Each scenario says "fine" in the end.
"""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import penstock
from penstock.trainer.adapters.ahead import Ahead

#: Longest that the collector may take to find what was dropped, and threads to end (s).
DEADLINE_S = 60.0


class Cycle:
    """What refers to itself: freed by the collector alone."""

    def __init__(self, held: object) -> None:
        """Hold something."""
        self.held, self.itself = held, self


class Collector:
    """Runs the collector on the threads of one name, at each call of a Python function there, once it is told to."""

    def __init__(self, thread: str, function: str = "") -> None:
        """Watch threads that start from now on; with `function`, only calls inside a function of that name."""
        self._thread, self._function, self.go = thread, function, threading.Event()
        #: Set once and for all when the collector may run.
        self.begun = threading.Event()
        #: Threads that ran the collector.
        self.ran: set[str] = set()
        threading.setprofile(self.at_call)

    def at_call(self, frame: FrameType, event: str, argument: object) -> None:
        """Run the collector, if this is a call that is waited for: a profile function of `sys`."""
        del argument
        if event != "call" or not self.go.is_set() or not threading.current_thread().name.startswith(self._thread):
            return
        caller = frame
        while self._function and caller.f_code.co_name != self._function:
            if caller.f_back is None:
                return
            caller = caller.f_back
        self.ran.add(threading.current_thread().name)
        gc.collect()

    def drop(self, make: Callable[[], object]) -> None:
        """Make something and drop it; return when the collector has found it and its threads have ended."""
        gc.disable()
        thing = make()
        found = weakref.ref(thing)
        Cycle(thing)
        del thing
        self.go.set()
        self.begun.set()
        until(lambda: found() is None)
        self.go.clear()
        until(lambda: not [each for each in threading.enumerate() if each.name.startswith("penstock")])
        assert self.ran, "the collector ran elsewhere"


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; AssertionError after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, [each.name for each in threading.enumerate()]
        time.sleep(0.01)


def feed(folder: Path) -> None:
    """A feed is found by the thread of its own link."""
    collector = Collector("penstock train")
    with penstock.local(folder / "spec.json", workers=1, run_dir=folder / "run") as stack:

        def make() -> penstock.Feed:
            feed = penstock.connect(stack.address)
            next(iter(feed))
            return feed

        # The stack's own thread is left out: it goes on.
        stack._supervisor._thread.name = "supervisor"  # type: ignore[union-attr]
        collector.drop(make)


def file(folder: Path) -> None:
    """A file's feed is found by the thread that reads it."""

    def make() -> penstock.Hdf5Feed:
        feed = penstock.Hdf5Feed(folder / "rows.h5", batch_size=2, window_mb=0.0001, run_mb=0.0001)
        next(iter(feed))
        return feed

    Collector("penstock hdf5").drop(make)


def ahead(folder: Path) -> None:
    """A loader's iteration is found by the thread that prepares its batches, between two of them."""
    _drop_iteration(folder, Collector("penstock-ahead"))


def pulling(folder: Path) -> None:
    """A loader's iteration is found by the thread that prepares its batches while that takes one from the feed."""
    _drop_iteration(folder, Collector("penstock-ahead", "take"))


def peeking(folder: Path) -> None:
    """A loader's iteration is found by the program's own thread while that looks at the feed's next batch."""
    collector = Collector("MainThread", "take")
    feed = penstock.Hdf5Feed(folder / "rows.h5", batch_size=2, window_mb=0.0001, run_mb=0.0001)
    first = feed.peek()["label"].tolist()

    def make() -> object:
        batches = iter(Ahead(feed, lambda batch: batch, depth=2))
        next(batches)
        return batches

    gc.disable()
    Cycle(make())
    collector.go.set()
    sys.setprofile(collector.at_call)
    second = feed.peek()["label"].tolist()
    sys.setprofile(None)
    collector.go.clear()
    assert collector.ran, "the collector ran elsewhere"
    assert second == next(iter(feed))["label"].tolist() != first, "the feed is not at the batch after the yielded one"


def _drop_iteration(folder: Path, collector: "Collector") -> None:
    prepared = list[object]()

    def prepare(batch: object) -> object:
        if prepared:  # the first batch is for `make`
            collector.begun.wait(DEADLINE_S)
        prepared.append(batch)
        return batch

    def make() -> object:
        feed = penstock.Hdf5Feed(folder / "rows.h5", batch_size=2, window_mb=0.0001, run_mb=0.0001)
        batches = iter(Ahead(feed, prepare, depth=64))
        next(batches)
        return batches

    collector.drop(make)


def iterator(folder: Path) -> None:
    """An image iterator is found by the thread that watches its workers, or by that of its feed."""
    del folder
    images = np.arange(8 * 4 * 4 * 3, dtype=np.uint8).reshape(8, 4, 4, 3)
    for thread in ("penstock supervisor", "penstock train"):
        stacks: list[Any] = []

        def make(stacks: list[Any] = stacks) -> object:
            batches = penstock.ImageDataGenerator(horizontal_flip=True).flow(images, batch_size=4, workers=1, seed=1)
            next(batches)
            stacks.append({name: child.process for name, child in _stack(batches).children.items()})
            stacks.append(_stack(batches).run_dir)
            return batches

        Collector(thread).drop(make)
        processes, run_dir = stacks
        assert 3 == len(processes)
        until(lambda processes=processes: all(each.poll() is not None for each in processes.values()))  # type: ignore[misc]
        until(lambda run_dir=run_dir: not run_dir.exists())  # type: ignore[misc]


def _stack(batches: Any) -> penstock.LocalStack:
    stop = batches._parts.feeder._stop
    found: penstock.LocalStack = stop.peek()[1].__self__
    return found


if __name__ == "__main__":
    SCENARIOS = {scenario.__name__: scenario for scenario in (feed, file, ahead, pulling, peeking, iterator)}
    SCENARIOS[sys.argv[1]](Path(sys.argv[2]))
    print("fine")  # noqa: T201 - what the test waits for
