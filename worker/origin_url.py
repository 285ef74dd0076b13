"""Image files below a URL: owns reading many of them at once, so that latency hides.

The files of a task are fetched by a few threads, while the tasks before it are decoded. Refuses to know protocols
(`protocol.urls`) and what the bytes mean.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.messages import Task
from penstock.protocol.urls import Remote
from penstock.worker.origin import Loaded

#: Files that a worker asks for at once: at 50 ms each this is 640 files/s.
REQUESTS = 32

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class Fetchers:
    """A few threads that end with the process, even if a server never answers them."""

    def __init__(self, threads: int) -> None:
        """Start the threads."""
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[Any], Any], Any]] = SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._run, name=f"fetcher-{number}", daemon=True).start()

    def map(self, call: Callable[[_Argument], _Result], arguments: Sequence[_Argument]) -> list[_Result]:
        """Return what `call` returns for each argument, in their order; raise what the first one raised."""
        futures: list[Future[_Result]] = [Future() for _ in arguments]
        for future, argument in zip(futures, arguments, strict=True):
            self._jobs.put((future, call, argument))
        return [future.result() for future in futures]

    def _run(self) -> None:
        while True:
            future, call, argument = self._jobs.get()
            try:
                future.set_result(call(argument))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)


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
        """Return each file's bytes."""
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
