"""Reads the files of a task, or parts of files, below a root of this host or below a URL."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import final, overload

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.records import Item, Task
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source
from penstock.protocol.storage.urls import Remote
from penstock.sources.base import Known, Loaded, Reader, Roots
from penstock.sources.fetchers import REQUESTS, fetchers
from penstock.sources.files import FileIdentity, find_or_read, read_file
from penstock.sources.local_files.parts import PartReader
from penstock.sources.url_files.apart import read_together
from penstock.sources.url_files.groups import InPlace, by_file, together
from penstock.sources.url_files.keeping import ShardKeeping, ShardRoom


@final
class FileReader:
    """Files below a root of this host."""

    def __init__(self, root: Path, *, allow_outside: bool, limit_bytes: int) -> None:
        """Take the folder that is this host's root, and the limits of `read_file`."""
        self._root, self._allow_outside, self._limit_bytes = root, allow_outside, limit_bytes
        self._parts = PartReader(root, limit_bytes, allow_outside=allow_outside)

    def read(self, task: Task) -> Loaded:
        """Return each item's bytes; parts of one file are read together."""
        if alike := _spans_of_one_file(task.items):
            return loaded(task, self._read_parts(task.items[0].path, alike))
        found: list[bytes | ItemError] = [b""] * len(task.items)
        for group in by_file(task.items):
            for place, content in zip(group, self._contents([task.items[place] for place in group]), strict=True):
                found[place] = content
        return loaded(task, found)

    def _contents(self, items: Sequence[Item]) -> list[bytes | ItemError]:
        """Return the contents of a whole file, or of parts of one file."""
        spans = [item.span for item in items if item.span is not None]
        return self._read_parts(items[0].path, spans) if spans else [self.content(items[0])]

    def _read_parts(self, path: str, spans: Sequence[tuple[int, int]]) -> list[bytes | ItemError]:
        try:
            return self._parts.read(path, spans)
        except ItemError as error:
            return [error] * len(spans)

    def find_or_read(
        self, task: Task, find: Callable[[str, FileIdentity], object], digest: Callable[[bytes], bytes]
    ) -> Loaded:
        """Return each item's image if `find` has it for the item's name and its file's identity, else its bytes.

        `digest` is asked for the digest of what is read; it may be empty.
        """
        found = [self._find_or_read(item, find, digest) for item in task.items]
        return replace(loaded(task, [content for content, _ in found]), known=[known for _, known in found])

    def _find_or_read(
        self, item: Item, find: Callable[[str, FileIdentity], object], digest: Callable[[bytes], bytes]
    ) -> tuple[bytes | ItemError, Known]:
        asked_at = time.time()
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
            content, identity = found
            return content, Known(identity=identity, asked_at=asked_at, digest=digest(content))
        return b"", Known(image=found)

    def content(self, item: Item) -> bytes | ItemError:
        """Return one item's bytes."""
        try:
            return read_file(
                self._root, item.path, self._limit_bytes, allow_outside=self._allow_outside, span=item.span
            )
        except ItemError as error:
            return error


class UrlReader(ShardKeeping):
    """Files below a URL, many at once, so that a server's latency costs little.

    Threads fetch the files of all tasks that a worker reads ahead. A task counts as read when its files are asked for;
    taking one of its contents waits for that one only, and `Loaded.waited_s` says how long. Parts of one file that lie
    together are one request. With room for whole shards, these are fetched and kept on this host's disk.
    """

    def __init__(
        self,
        url: str,
        *,
        allow_outside: bool,
        limit_bytes: int,
        requests: int = REQUESTS,
        room: ShardRoom | None = None,
    ) -> None:
        """Open no connection yet; `requests` are made at once at most, and whole shards kept if there is `room`.

        Raises SourceError if a package is missing.
        """
        super().__init__(Remote(url, allow_outside=allow_outside), room)
        self._limit_bytes = limit_bytes
        self._fetchers = fetchers(requests)

    def read(self, task: Task) -> Loaded:
        """Ask for each item; its bytes may still be on their way."""
        groups = together(task.items) if self._shards is None else by_file(task.items)
        items = [[task.items[place] for place in group] for group in groups]
        return loaded(task, InPlace(self._fetchers.map(self._read, items), groups))

    def _read(self, items: Sequence[Item]) -> list[bytes | ItemError]:
        """Return the contents of a whole file, or of parts of one file."""
        path, spans = items[0].path, [item.span for item in items if item.span is not None]
        if not spans:
            try:
                return [self._remote.read(path, self._limit_bytes)]
            except ItemError as error:
                return [error]
        if self._shards is None:
            return read_together(self._remote, path, self._limit_bytes, spans, items[0].content)
        kept = self._shards.read(path, self._limit_bytes, spans, items[0].content)
        if kept is not None:
            return kept
        found = self._read_apart(items)
        size = sum(len(each) for each in found if isinstance(each, bytes))
        self._shards.counts.read(len(found), size, kept=False)
        return found

    def _read_apart(self, items: Sequence[Item]) -> list[bytes | ItemError]:
        """Request parts of a shard that is not kept, as few requests as can be."""
        found: list[bytes | ItemError] = [b""] * len(items)
        for group in together(items):
            spans = [items[place].span or (0, 0) for place in group]
            contents = read_together(self._remote, items[0].path, self._limit_bytes, spans, items[0].content)
            for place, content in zip(group, contents, strict=True):
                found[place] = content
        return found


def loaded(task: Task, contents: Sequence[bytes | ItemError]) -> Loaded:
    """Return a task whose items came with it, with their contents."""
    return Loaded(
        items=np.array([item.item for item in task.items], np.int64),
        labels=np.array([item.label for item in task.items], np.int32),
        paths=_Names(task.items),
        contents=contents,
    )


def _spans_of_one_file(items: Sequence[Item]) -> list[tuple[int, int]]:
    """Return where items lie that are all parts of one file; none if they are not."""
    path = items[0].path if items else ""
    spans = [item.span for item in items if item.span is not None and item.path == path]
    return spans if len(spans) == len(items) else []


class _Names(Sequence[str]):
    """The names of items, each made when it is asked for: few are."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [item.name for item in self._items[place]]
        return self._items[place].name


def open_files(source: Source, plan: StreamPlan, roots: Roots, room: ShardRoom | None = None) -> Reader:
    """Return the reader of a stream whose items are files, or parts of files. Raises SourceError."""
    root, limit_bytes = str(roots[source.root]), int(plan.settings.transform.max_file_mb * 1e6)
    if is_url(root):
        return UrlReader(root, allow_outside=source.allow_outside, limit_bytes=limit_bytes, room=room)
    return FileReader(Path(root), allow_outside=source.allow_outside, limit_bytes=limit_bytes)
