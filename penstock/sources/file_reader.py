"""Reads the files of a task, or parts of files, below a root of this host or below a URL."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import final

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.records import Item, Task
from penstock.protocol.spec.operation import Pixels
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source
from penstock.protocol.storage.urls import Remote
from penstock.sources.base import Known, Loaded, Reader, Roots
from penstock.sources.fetchers import REQUESTS, fetchers
from penstock.sources.files import FileIdentity, find_or_read, read_file


@final
class FileReader:
    """Files below a root of this host."""

    def __init__(self, root: Path, *, allow_outside: bool, limit_bytes: int) -> None:
        """Take the folder that is this host's root, and the limits of `read_file`."""
        self._root, self._allow_outside, self._limit_bytes = root, allow_outside, limit_bytes

    def read(self, task: Task) -> Loaded:
        """Return each item's bytes."""
        return loaded(task, [self.content(item) for item in task.items])

    def find_or_read(self, task: Task, find: Callable[[str, FileIdentity], Pixels | None]) -> Loaded:
        """Return each item's image if `find` has it for the item's name and its file's identity, else its bytes."""
        found = [self._find_or_read(item, find) for item in task.items]
        return replace(loaded(task, [content for content, _ in found]), known=[known for _, known in found])

    def _find_or_read(
        self, item: Item, find: Callable[[str, FileIdentity], Pixels | None]
    ) -> tuple[bytes | ItemError, Known]:
        try:
            found = find_or_read(
                self._root,
                item.path,
                self._limit_bytes,
                allow_outside=self._allow_outside,
                span=item.span,
                find=partial(find, item.name),
            )
        except ItemError as error:
            return error, Known()
        if isinstance(found, tuple):
            return found[0], Known(identity=found[1])
        return b"", Known(pixels=found)

    def content(self, item: Item) -> bytes | ItemError:
        """Return one item's bytes."""
        try:
            return read_file(
                self._root, item.path, self._limit_bytes, allow_outside=self._allow_outside, span=item.span
            )
        except ItemError as error:
            return error


class UrlReader:
    """Files below a URL, many at once, so that a server's latency costs little.

    Threads fetch the files of all tasks that a worker reads ahead. A task counts as read when its files are asked for;
    taking one of its contents waits for that one only, and `Loaded.waited_s` says how long.
    """

    def __init__(self, url: str, *, allow_outside: bool, limit_bytes: int, requests: int = REQUESTS) -> None:
        """Open no connection yet; `requests` are made at once at most. Raises SourceError if a package is missing."""
        self._remote = Remote(url, allow_outside=allow_outside)
        self._limit_bytes = limit_bytes
        self._fetchers = fetchers(requests)

    def read(self, task: Task) -> Loaded:
        """Ask for each item; its bytes may still be on their way."""
        return loaded(task, self._fetchers.map(self._read, task.items))

    def _read(self, item: Item) -> bytes | ItemError:
        try:
            return self._remote.read(item.path, self._limit_bytes, item.span)
        except ItemError as error:
            return error


def loaded(task: Task, contents: Sequence[bytes | ItemError]) -> Loaded:
    """Return a task whose items came with it, with their contents."""
    return Loaded(
        items=np.array([item.item for item in task.items], np.int64),
        labels=np.array([item.label for item in task.items], np.int32),
        paths=[item.name for item in task.items],
        contents=contents,
    )


def open_files(source: Source, plan: StreamPlan, roots: Roots) -> Reader:
    """Return the reader of a stream whose items are files, or parts of files. Raises SourceError."""
    root, limit_bytes = str(roots[source.root]), int(plan.settings.transform.max_file_mb * 1e6)
    if is_url(root):
        return UrlReader(root, allow_outside=source.allow_outside, limit_bytes=limit_bytes)
    return FileReader(Path(root), allow_outside=source.allow_outside, limit_bytes=limit_bytes)
