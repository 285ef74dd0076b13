"""Image files below a URL: owns reading many of them at once, so that latency hides.

Threads fetch the files of all tasks that a worker has read ahead. A task counts as read when its files are asked for,
and whoever decodes one waits for that one only; `waited_s` says how long. Refuses to know protocols (`protocol.urls`)
and what the bytes mean.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeVar, overload

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.messages import Task
from penstock.protocol.storage.urls import Remote
from penstock.worker.imaging.readers.reader import Loaded

#: Files that a worker asks for at once: at 50 ms each this is 1,900 files/s, more than a core decodes.
REQUESTS = 96

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class Fetchers:
    """Threads that end with the process, even if a server never answers them."""

    def __init__(self, threads: int) -> None:
        """Start the threads."""
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[Any], Any], Any]] = SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._run, name=f"fetcher-{number}", daemon=True).start()

    def map(self, call: Callable[[_Argument], _Result], arguments: Sequence[_Argument]) -> "Coming[_Result]":
        """Return what `call` will have returned for each argument; first come, first served."""
        futures: list[Future[_Result]] = [Future() for _ in arguments]
        for future, argument in zip(futures, arguments, strict=True):
            self._jobs.put((future, call, argument))
        return Coming(futures)

    def _run(self) -> None:
        while True:
            future, call, argument = self._jobs.get()
            try:
                future.set_result(call(argument))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)


class Coming(Sequence[_Result]):
    """Results on their way: reading one waits for it, and raises what its call raised."""

    def __init__(self, futures: Sequence[Future[_Result]]) -> None:
        """Take what will hold the results."""
        self._futures = futures
        #: Seconds that whoever read a result had to wait for it.
        self.waited_s = 0.0

    def __len__(self) -> int:
        """Return how many there are, without waiting."""
        return len(self._futures)

    @overload
    def __getitem__(self, place: int) -> _Result: ...
    @overload
    def __getitem__(self, place: slice) -> list[_Result]: ...
    def __getitem__(self, place: int | slice) -> _Result | list[_Result]:
        """Return one result, or some, as soon as they are there."""
        if isinstance(place, slice):
            return [self._await(future) for future in self._futures[place]]
        return self._await(self._futures[place])

    def _await(self, future: Future[_Result]) -> _Result:
        if future.done():
            return future.result()
        began = time.perf_counter()
        try:
            return future.result()
        finally:
            self.waited_s += time.perf_counter() - began


@cache
def _fetchers(threads: int) -> Fetchers:
    return Fetchers(threads)


class UrlFiles:
    """Image files below a URL."""

    def __init__(self, url: str, *, allow_outside: bool, limit_bytes: int, requests: int = REQUESTS) -> None:
        """Open no connection yet; `requests` are at most made at once. Raises SourceError if a package is missing."""
        self._remote = Remote(url, allow_outside=allow_outside)
        self._limit_bytes = limit_bytes
        self._fetchers = _fetchers(requests)

    def read(self, task: Task) -> Loaded:
        """Ask for each file; its bytes may still be on their way."""
        paths = [item.path for item in task.items]
        return Loaded(
            items=np.array([item.item for item in task.items], np.int64),
            labels=np.array([item.label for item in task.items], np.int32),
            paths=paths,
            contents=self._fetchers.map(self._read, paths),
        )

    def _read(self, path: str) -> bytes | ItemError:
        try:
            return self._remote.read(path, self._limit_bytes)
        except ItemError as error:
            return error
