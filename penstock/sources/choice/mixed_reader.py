"""Reads a task whose items come from several parts of a mixture, each part by the reader of its kind."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.order import Int64s
from penstock.protocol.records import Task
from penstock.protocol.wire import Array
from penstock.sources.base import KeepsShards, Loaded, Reader
from penstock.sources.file_reader import loaded
from penstock.sources.url_files.shard_counts import ShardCounts


@dataclass(frozen=True, slots=True)
class TaskPart:
    """Those of a task's items that go one way."""

    #: Number of the way.
    way: int
    #: Place of each item in the task.
    places: tuple[int, ...]
    #: A task of these items alone.
    task: Task


def divided(task: Task, ways: Int64s) -> list[TaskPart]:
    """Return a task's items by the number of their way; a task whose items all go one way stays as it is."""
    found = np.unique(ways).tolist()
    if len(found) == 1:
        return [TaskPart(found[0], tuple(range(len(task.items))), task)]
    parts = []
    for way in found:
        places = tuple(np.flatnonzero(ways == way).tolist())
        offsets = tuple(task.key.offset_of(place) for place in places)
        key = task.key.replaced(item_offset=None, offsets=offsets)
        items = tuple(task.items[place] for place in places)
        parts.append(TaskPart(way, places, task.replaced(key=key, items=items)))
    return parts


class MixedReader:
    """Reads the items of all parts of a mixture."""

    def __init__(self, readers: Sequence[Reader], ways: Int64s, ends: Int64s) -> None:
        """Take the readers; the reader's number of each part; and the number of the first item behind each part."""
        self._readers, self._ways, self._ends = readers, ways, ends

    def read(self, task: Task) -> Loaded:
        """Return each item's content."""
        items = np.array([item.item for item in task.items], np.int64)
        parts = divided(task, self._ways[np.searchsorted(self._ends, items, side="right")])
        contents: list[Sequence[object] | Array] = [self._readers[part.way].read(part.task).contents for part in parts]
        return loaded(task, _InOrder(contents, [part.places for part in parts]))

    def keep_shards(self, folder: str, most_gb: float | None) -> None:
        """Keep whole shards in a folder, where parts give room for them. Raises CacheError."""
        for reader in self._readers:
            if isinstance(reader, KeepsShards):
                reader.keep_shards(folder, most_gb)

    @property
    def counts(self) -> Sequence[ShardCounts]:
        """What each store of kept shards does."""
        return [counts for reader in self._readers if isinstance(reader, KeepsShards) for counts in reader.counts]

    @property
    def notes(self) -> deque[str]:
        """What the log should say of kept shards, each once."""
        notes = deque[str]()
        for reader in self._readers:
            while isinstance(reader, KeepsShards) and reader.notes:
                notes.append(reader.notes.popleft())
        return notes


class _InOrder(Sequence[bytes | ItemError]):
    """The contents of several readers, which may be on their way, in the order of the task."""

    def __init__(self, contents: Sequence[Sequence[object] | Array], places: Sequence[Sequence[int]]) -> None:
        self._contents = contents
        self._found = {place: (part, within) for part, mine in enumerate(places) for within, place in enumerate(mine)}

    @property
    def waited_s(self) -> float:
        """Seconds that were spent on waiting for contents."""
        return sum(getattr(each, "waited_s", 0.0) for each in self._contents)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, place: int) -> bytes | ItemError: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes | ItemError]: ...
    def __getitem__(self, place: int | slice) -> bytes | ItemError | list[bytes | ItemError]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        try:
            part, within = self._found[place + len(self) if place < 0 else place]
        except KeyError:
            raise IndexError(place) from None
        content = self._contents[part][within]
        assert isinstance(content, bytes | ItemError)  # noqa: S101 - no part holds pixels
        return content
