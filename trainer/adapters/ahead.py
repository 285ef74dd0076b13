"""Prepares batches ahead of a training loop, on a thread, without losing the loop's own position.

A framework copies batches to its device while a step runs, so some are always fetched that were not trained on. The
state that `Ahead` returns is that after the last batch *yielded*: resuming from it neither skips nor repeats a batch,
however many were ahead.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from penstock.protocol.errors import AbandonedError, SpecError, StackError
from penstock.protocol.wire import Array
from penstock.trainer.adapters.batches import ResumableSource, WaitClock

Prepared = TypeVar("Prepared")

#: Seconds that a thread whose epoch was broken off may take to end: it waits for no batch then.
_END_S = 30.0


class Ahead(Generic[Prepared]):
    """A feed's batches, each prepared by a function on a thread, at most `depth` of them before they are asked for."""

    def __init__(self, feed: ResumableSource, prepare: Callable[[dict[str, Array]], Prepared], depth: int) -> None:
        """Take a feed; nothing is fetched before the first iteration. `prepare` is called in order, on one thread."""
        self._feed, self._prepare, self._depth = feed, prepare, depth
        #: A fork of this process has neither the thread nor the feed's connection.
        self._pid = os.getpid()
        self._run: _Run[Prepared] | None = None
        #: The thread of the last iteration; it may still prepare a batch that is not wanted any more.
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[Prepared]:
        """Yield the prepared batches up to the end of the epoch; after a break, go on with the batch after the last.

        Raises what the feed or `prepare` raised, once the batches before it were yielded; SpecError after a fork.
        """
        self._check_process()
        self.stop()
        if self._thread:
            self._join(self._thread)
        run = self._run = _Run(self._feed.state_dict())
        thread = threading.Thread(target=self._fill, args=(run,), name="penstock-ahead", daemon=True)
        self._thread = thread
        thread.start()
        try:
            while True:
                self._check_process()
                self._feed.stats.ask()
                ready = run.take()
                self._feed.stats.receive()
                if ready is None:
                    return
                run.yielded += 1
                yield ready.batch
        finally:
            if self._run is run:
                self.stop()

    def state_dict(self) -> dict[str, Any]:
        """Return the feed's state after the batch that was yielded last."""
        run = self._run
        if run is None:
            return self._feed.state_dict()
        return self._feed.state_dict(batches=run.yielded) if run.yielded else run.began

    def stop(self) -> None:
        """End the current iteration; the feed goes back to the batch after the one that was yielded last.

        Waits for nothing: the collector may find a dropped iteration on any thread, that which prepares included. In a
        fork, it leaves the parent's iteration alone.
        """
        run = self._run
        if run is None or self._pid != os.getpid():
            return
        state, whole = self.state_dict(), run.ended
        self._run = None
        run.stop()
        if not whole:
            self._feed.load_state_dict(state)  # ends the thread's wait for a batch, too

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            used = f"made in process {self._pid} and used in {os.getpid()}: connect after the fork"
            raise SpecError(f"the loader of {self._feed!r} was {used}")

    @staticmethod
    def _join(thread: threading.Thread) -> None:
        """Wait until a thread that was told to stop has ended: batches are prepared one at a time."""
        thread.join(_END_S)
        if thread.is_alive():
            raise StackError(f"the thread that prepares batches ahead did not end within {_END_S:.0f} s")

    def _fill(self, run: "_Run[Prepared]") -> None:
        try:
            for arrays in self._feed.next_epoch(timed=False):
                if not run.put(_Ready(self._prepare(arrays)), self._depth):
                    return
            run.put(None, self._depth + 1)
        except AbandonedError as error:
            if not run.stopped:
                run.fail(error)
        except BaseException as error:  # noqa: BLE001 - raised where the batches are taken
            run.fail(error)


def timed(prepare: Callable[[dict[str, Array]], Prepared], clock: WaitClock) -> Callable[[dict[str, Array]], Prepared]:
    """Return `prepare`, with the time that it takes counted as that of the copy to a device."""

    def prepare_timed(arrays: dict[str, Array]) -> Prepared:
        began = time.perf_counter()
        prepared = prepare(arrays)
        clock.copied(time.perf_counter() - began)
        return prepared

    return prepare_timed


@dataclass(frozen=True, slots=True)
class _Ready(Generic[Prepared]):
    """A prepared batch; a wrapper, so that None says that the epoch is over."""

    batch: Prepared


class _Run(Generic[Prepared]):
    """One iteration: what its thread has prepared, and how far the loop has come."""

    def __init__(self, began: dict[str, Any]) -> None:
        #: The feed's state at the iteration's beginning.
        self.began = began
        #: Batches that the loop got.
        self.yielded = 0
        #: Whether the loop got the epoch's end.
        self.ended = False
        self.stopped = False
        self._changed = threading.Condition()
        self._waiting: deque[_Ready[Prepared] | None] = deque()
        self._error: BaseException | None = None

    def put(self, ready: "_Ready[Prepared] | None", depth: int) -> bool:
        """Wait for room, and add a batch, or the end; return whether the loop still wants any."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or len(self._waiting) < depth)
            if not self.stopped:
                self._waiting.append(ready)
                self._changed.notify_all()
            return not self.stopped

    def take(self) -> "_Ready[Prepared] | None":
        """Return the next batch, or None at the epoch's end. The feed's own deadline ends every wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._error or self.stopped)
            if self._waiting:
                ready = self._waiting.popleft()
                self.ended = ready is None
                self._changed.notify_all()
                return ready
            if self._error:
                raise self._error
            raise AbandonedError("this iteration was left for a newer one; iterate a loader in one place at a time")

    def fail(self, error: BaseException) -> None:
        """Have the loop raise an error after the batches before it."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def stop(self) -> None:
        """Accept no more batches, and return none."""
        with self._changed:
            self.stopped = True
            self._waiting.clear()
            self._changed.notify_all()
