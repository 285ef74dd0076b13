"""Reads images from the rows of Parquet files, a row group at a time; the groups that were used last are kept."""

# ruff: noqa: ANN401 - pyarrow has no types

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.records import Item, Task
from penstock.sources.base import Loaded
from penstock.sources.containers.columns import import_pyarrow
from penstock.sources.containers.parquet_files import LocalFile, LocalFiles, RemoteFile, RemoteFiles, TooLargeError
from penstock.sources.fetchers import fetchers
from penstock.sources.file_reader import loaded
from penstock.sources.url_files.shard_counts import ShardCounts

#: Bytes of unpacked row groups that a reader keeps; a larger group is kept alone.
CACHE_BYTES = 256_000_000
#: Most bytes that a row group may unpack to, and those that are read at once may together.
MOST_BYTES = 2_000_000_000
#: Files of a task that are opened together, and bytes of the footers that a reader keeps.
_TOGETHER, _FOOTER_BYTES = 16, 64_000_000
#: A row group: its file's path, and its number.
_Key = tuple[str, int]
_Opened = LocalFile | RemoteFile

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class ParquetReader:
    """Images in the rows of Parquet files below a root."""

    def __init__(
        self,
        files: LocalFiles | RemoteFiles,
        *,
        limit_bytes: int,
        cache_bytes: int = CACHE_BYTES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Open no file yet. Raises SourceError if pyarrow is missing."""
        self._arrow = import_pyarrow("images")
        self._source = files
        self._limit_bytes, self._cache_bytes, self._most_bytes = limit_bytes, cache_bytes, most_bytes
        self._files: OrderedDict[str, _Opened] = OrderedDict()
        self._groups: OrderedDict[_Key, Any] = OrderedDict()

    @property
    def cached_bytes(self) -> int:
        """Bytes of the row groups that are kept."""
        return sum(group.nbytes for group in self._groups.values())

    def keep_shards(self, folder: str, most_gb: float | None) -> None:
        """Keep whole files in a folder, if the source is a URL and gives room for them. Raises CacheError."""
        if isinstance(self._source, RemoteFiles):
            self._source.keep_shards(folder, most_gb)

    @property
    def counts(self) -> Sequence[ShardCounts]:
        """What the store of kept files does."""
        return self._source.counts if isinstance(self._source, RemoteFiles) else ()

    @property
    def notes(self) -> deque[str]:
        """What the log should say of kept files."""
        return self._source.notes if isinstance(self._source, RemoteFiles) else deque()

    def read(self, task: Task) -> Loaded:
        """Return the image of each item's row; the rows of one row group are read together."""
        contents: list[bytes | ItemError] = [b""] * len(task.items)
        places: dict[str, list[int]] = {}
        for place in sorted(
            range(len(task.items)), key=lambda at: (task.items[at].path, task.items[at].span or (0, 0))
        ):
            places.setdefault(task.items[place].path, []).append(place)
        paths = list(places)
        for first in range(0, len(paths), _TOGETHER):
            self._read(task, [place for path in paths[first : first + _TOGETHER] for place in places[path]], contents)
        return loaded(task, contents)

    def _read(self, task: Task, places: Sequence[int], contents: list[bytes | ItemError]) -> None:
        """Read the items at these places of a task, which lie in few files."""
        files = self._open({task.items[place].path: task.items[place].content for place in places})
        wanted: OrderedDict[_Key, list[tuple[int, int]]] = OrderedDict()
        for place in places:
            item = task.items[place]
            try:
                key, row = self._find(item, files[item.path])
                wanted.setdefault(key, []).append((place, row))
            except ItemError as error:
                contents[place] = error
        keys = list(wanted)
        for first in range(0, len(keys), self._source.AT_ONCE):
            some = keys[first : first + self._source.AT_ONCE]
            for key, group in zip(some, self._load(some, files), strict=True):
                for place, row in wanted[key]:
                    contents[place] = group if isinstance(group, ItemError) else self._content(group, row)
                self._count([contents[place] for place, _ in wanted[key]], files[key[0]])

    def _count(self, found: Sequence[bytes | ItemError], file: _Opened | ItemError) -> None:
        size = sum(len(each) for each in found if isinstance(each, bytes))
        for counts in self.counts:
            counts.read(len(found), size, kept=isinstance(file, RemoteFile) and file.kept)

    @staticmethod
    def _find(item: Item, file: _Opened | ItemError) -> tuple[_Key, int]:
        """Return the row group of an item, and its row there. Raises ItemError."""
        if item.span is None:
            raise ItemError("a row of a Parquet file was expected, and not a whole file")
        if isinstance(file, ItemError):
            raise file
        file.check(item.content)
        row = item.span[0]
        number = int(np.searchsorted(file.ends, row, side="right"))
        if number == len(file.ends):
            raise ItemError(f"the file has {file.ends[-1] if number else 0} rows, and the item is row {row}")
        return (item.path, number), row - (int(file.ends[number - 1]) if number else 0)

    def _content(self, group: Any, row: int) -> bytes | ItemError:
        content = group[row].as_py() if row < len(group) else b""
        if not content:
            return ItemError("the row holds no image: it is null" if content is None else "the item is empty")
        if len(content) > self._limit_bytes:
            return ItemError(
                f"{len(content)} bytes is over the limit of {self._limit_bytes} bytes (transform.max_file_mb)"
            )
        return bytes(content)

    def _open(self, tags: Mapping[str, str]) -> dict[str, _Opened | ItemError]:
        """Return the file at each path, or why it cannot be opened; those that are not open are opened at once."""
        source = self._source
        missing = [path for path in tags if path not in self._files]

        def opened(path: str) -> _Opened | ItemError:
            return self._or_error(
                lambda: source.open(path, tags[path]) if isinstance(source, RemoteFiles) else source.open(path)
            )

        fresh = dict(zip(missing, self._at_once(opened, missing), strict=True))
        files: dict[str, _Opened | ItemError] = {}
        for path in tags:
            files[path] = found = fresh[path] if path in fresh else self._files[path]
            if not isinstance(found, ItemError):
                self._files[path] = found
                self._files.move_to_end(path)
        footers = sum(file.footer_bytes for file in self._files.values())
        while self._files and (len(self._files) > source.MOST_OPEN or footers > _FOOTER_BYTES):
            footers -= self._files.popitem(last=False)[1].footer_bytes
        return files

    def _load(self, keys: Sequence[_Key], files: Mapping[str, _Opened | ItemError]) -> list[Any]:
        """Return the images of row groups, or why they cannot be had; those that are not kept are read at once.

        One that is too large to be read at the same time as others is read alone.
        """
        missing = [key for key in keys if key not in self._groups]
        share = self._most_bytes // max(1, len(missing))
        found = dict(zip(missing, self._at_once(lambda key: self._group(key, files, share), missing), strict=True))
        for key in missing if len(missing) > 1 else ():
            if isinstance(found[key], TooLargeError):
                found[key] = self._group(key, files, self._most_bytes)
        groups = [found[key] if key in found else self._groups[key] for key in keys]
        for key, group in zip(keys, groups, strict=True):
            if not isinstance(group, ItemError):
                self._keep(key, group)
        return groups

    def _group(self, key: _Key, files: Mapping[str, _Opened | ItemError], most_bytes: int) -> Any:
        """Return the images of a row group, or why they cannot be had."""
        file = files[key[0]]
        return self._or_error(lambda: file if isinstance(file, ItemError) else file.group(key[1], most_bytes))

    def _or_error(self, call: Callable[[], _Result]) -> _Result | ItemError:
        """Return what a call returns, or why it failed, which is the fault of the items alone."""
        try:
            return call()
        except SourceError as error:
            return ItemError(str(error))
        except ItemError as error:
            return error
        except (self._arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            return ItemError(f"cannot read the row's group: {error}")

    def _at_once(self, call: Callable[[_Argument], _Result], arguments: Sequence[_Argument]) -> Iterable[_Result]:
        most = self._source.AT_ONCE
        return map(call, arguments) if len(arguments) < 2 or most == 1 else fetchers(most).map(call, arguments)  # noqa: PLR2004 - a single one

    def _keep(self, key: _Key, group: Any) -> None:
        if key not in self._groups:
            while self._groups and self.cached_bytes + group.nbytes > self._cache_bytes:
                self._groups.popitem(last=False)
            self._groups[key] = group
        self._groups.move_to_end(key)
