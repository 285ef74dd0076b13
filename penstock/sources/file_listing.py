"""The items of a source of image files, compactly: paths, labels, classes and their digest.

A hundred million items must fit in memory, so there is no Python object an item: paths stand one after the other in one
buffer, with numpy arrays for where each starts and for the labels (about 12 bytes an item in addition to its path).
"""

import hashlib
import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Protocol

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.protocol.records import Item
from penstock.protocol.spec.source import Source
from penstock.sources.base import Listing, count_classes
from penstock.sources.split import held_out
from penstock.sources.tables.cells import Cells, CellsBuilder
from penstock.sources.tables.mapped_pages import MappedPages

#: Longest path below the root (bytes): PATH_MAX of Linux, and what a message may carry.
MAX_PATH_BYTES = 4096


def prefix_of(folder: str) -> bytes:
    """Return what stands before the paths of items in `folder` (a spec's relative path, however it is written)."""
    parts = PurePosixPath(folder).parts
    return "".join(f"{part}/" for part in parts).encode()


@dataclass(frozen=True, slots=True, eq=False)
class FileListing(Listing):
    """Image files in the source's own order."""

    kind: str
    classes: tuple[str, ...]
    #: All paths, UTF-8, one after the other.
    paths: bytes | bytearray | memoryview
    #: Where each path starts in `paths`, and where the last one ends.
    starts: npt.NDArray[np.int64]
    #: Class index of each item.
    labels: npt.NDArray[np.int32]
    digest: str
    weights: npt.NDArray[np.float64] | None = None
    #: Files that were found and not listed: how many of each suffix.
    passed_over: Mapping[str, int] = field(default_factory=dict)
    #: Columns of targets; None without targets.
    cells: Cells | None = None
    #: Where the listing lies in a mapped file; None: in memory of its own.
    pages: MappedPages | None = None

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.labels)

    @property
    def held_bytes(self) -> int:
        """Memory that the listing takes."""
        if self.pages is not None:
            return 0
        held = self.cells.held_bytes if self.cells is not None else 0
        weights = 0 if self.weights is None else self.weights.nbytes
        return len(self.paths) + self.starts.nbytes + self.labels.nbytes + held + weights

    @property
    def longest_row(self) -> int:
        """Bytes of the longest row of the columns that targets are made of; 0 without such columns."""
        return self.cells.longest if self.cells is not None else 0

    def path(self, index: int) -> str:
        """Return an item's path below the root, with `/` between parts, as it is on disk."""
        return self._raw(index).decode()

    def label(self, index: int) -> int:
        """Return an item's class index."""
        if self.pages is not None:
            self.pages.check(index)
        return int(self.labels[index])

    def item(self, index: int) -> Item:
        """Return an item as a task carries it."""
        row, cells = self.cells.of(index) if self.cells is not None else (None, ())
        if self.pages is not None:
            self.pages.used()
        return Item(item=index, path=self.path(index), label=self.label(index), row=row, cells=cells)

    def items(self, indices: Sequence[int]) -> list[Item]:
        """Return several items, which is cheaper than one after the other."""
        if self.cells is not None:
            return list(map(self.item, indices))
        wanted = np.asarray(indices, np.int64)
        rows = zip(wanted.tolist(), *self._rows(wanted), strict=True)
        return [Item(index, path.decode(), label) for index, path, label in rows]

    def _rows(self, indices: npt.NDArray[np.int64]) -> tuple[list[bytes], list[int]]:
        """Return the paths and the labels of these items."""
        if self.pages is not None:
            if (read := self.pages.read(indices)) is not None:
                return read
            self.pages.check_items(indices)
        begins, ends, paths = self.starts[indices], self.starts[indices + 1], self.paths
        if self.pages is not None:
            self.pages.check_paths(begins, ends)
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        return [bytes(paths[begin:end]) for begin, end in spans], self.labels[indices].tolist()

    def counts(self) -> dict[str, int]:
        """Return how many items each class has."""
        if self.pages is not None:
            self.pages.check_labels(len(self))
        found = count_classes(self.classes, self.labels)
        if self.pages is not None:
            self.pages.give_back()
        return found

    def split(
        self, fraction: float, *, validation: bool, begin: "Callable[[], Builder] | None" = None
    ) -> "FileListing":
        """Return one side of a split of each class; the order stays, and indices count within the side."""
        chosen = held_out(map(self._raw, range(len(self))), self.labels, fraction)
        builder = (begin or ListingBuilder)()
        for index in np.flatnonzero(chosen == validation).tolist():
            weight = None if self.weights is None else float(self.weights[index])
            builder.add(self._raw(index), int(self.labels[index]), weight)
            if self.cells is not None:
                builder.add_cells(*self.cells.of(index))
        return replace(builder.build(self.kind, self.classes), passed_over=self.passed_over)

    def _raw(self, index: int) -> bytes:
        if self.pages is not None:
            self.pages.check(index)
            self.pages.check_path(int(self.starts[index]), int(self.starts[index + 1]))
        return bytes(self.paths[self.starts[index] : self.starts[index + 1]])


#: Items: their paths one after the other; of each the length of its path, its label, and its weight if they have any.
Gathered = tuple[memoryview, npt.NDArray[np.uint16], npt.NDArray[np.int32], npt.NDArray[np.float64] | None]


class Builder(Protocol):
    """What gathers the items of a listing: in memory, or in a file."""

    def __len__(self) -> int:
        """Return the number of items so far."""
        ...

    @property
    def listed_bytes(self) -> int:
        """Bytes that the items take so far, wherever they are."""
        ...

    def add(self, path: bytes, label: int, weight: float | None = None) -> None:
        """Add an item; `path` is UTF-8 and shorter than 65,536 bytes. All items have a weight, or none."""
        ...

    def add_cells(self, row: int | None, cells: Sequence[str]) -> None:
        """Add the row of the item that was added last, maybe with its number in the manifest; of all items or none."""
        ...

    def extend(
        self,
        paths: memoryview,
        lengths: npt.NDArray[np.uint16],
        labels: npt.NDArray[np.int32],
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Add items: their paths one after the other, and the length and the label of each."""
        ...

    def build(self, kind: str, classes: Sequence[str], relabel: npt.NDArray[np.int32] | None = None) -> FileListing:
        """Return the listing, `relabel[label]` for each label if given. The builder must not be used after."""
        ...


class ListingBuilder:
    """Gathers items in memory, as compactly as the listing that it builds."""

    def __init__(self) -> None:
        self._paths = bytearray()
        self._lengths = array("H")
        self._labels = array("i")
        self._cells: CellsBuilder | None = None
        self._weights = array("d")

    def __len__(self) -> int:
        """Return the number of items so far."""
        return len(self._labels)

    @property
    def listed_bytes(self) -> int:
        """Memory that the items take so far."""
        return len(self._paths) + 12 * len(self._labels) + (self._cells.held_bytes if self._cells else 0)

    def add(self, path: bytes, label: int, weight: float | None = None) -> None:
        """Add an item; `path` is UTF-8 and shorter than 65,536 bytes. All items have a weight, or none."""
        self._paths += path
        self._lengths.append(len(path))
        self._labels.append(label)
        if weight is not None:
            self._weights.append(weight)

    def add_cells(self, row: int | None, cells: Sequence[str]) -> None:
        """Add the row of the item that was added last, maybe with its number in the manifest; of all items or none."""
        self._cells = self._cells or CellsBuilder(len(cells))
        self._cells.add(row, cells)

    def extend(
        self,
        paths: memoryview,
        lengths: npt.NDArray[np.uint16],
        labels: npt.NDArray[np.int32],
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Add items: their paths one after the other, and the length and the label of each."""
        self._paths += paths
        for gathered, numbers in ((self._lengths, lengths), (self._labels, labels)):
            gathered.frombytes(numbers.data.cast("B"))
        if weights is not None:
            self._weights.frombytes(weights.data.cast("B"))

    def gathered(self) -> "Gathered":
        """Return the items so far, as `extend` takes them; the builder must not be used after."""
        lengths, labels = np.frombuffer(self._lengths, np.uint16), np.frombuffer(self._labels, np.int32)
        weights = np.frombuffer(self._weights, np.float64) if self._weights else None
        return memoryview(self._paths), lengths, labels, weights

    def build(self, kind: str, classes: Sequence[str], relabel: npt.NDArray[np.int32] | None = None) -> FileListing:
        """Return the listing, `relabel[label]` for each label if given. The builder must not be used after."""
        starts = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.frombuffer(self._lengths, np.uint16), dtype=np.int64, out=starts[1:])
        labels = np.frombuffer(self._labels, np.int32)
        if relabel is not None:
            labels = relabel[labels]
        digest = _digest(kind, classes, self._paths, starts, labels)
        weights = np.frombuffer(self._weights, np.float64) if self._weights else None
        cells = self._cells.build() if self._cells is not None else None
        if cells is not None:
            digest = hashlib.sha256(f"{digest} {cells.digest}".encode()).hexdigest()
        return FileListing(kind, tuple(classes), self._paths, starts, labels, digest, weights, cells=cells)


def _digest(
    kind: str, classes: Sequence[str], paths: bytearray, starts: npt.NDArray[np.int64], labels: npt.NDArray[np.int32]
) -> str:
    result = hashlib.sha256(digest_header(kind, classes, len(labels)))
    result.update(paths)
    for numbers in (starts.astype("<i8", copy=False), labels.astype("<i4", copy=False)):
        result.update(np.ascontiguousarray(numbers).data)
    return result.hexdigest()


def digest_header(kind: str, classes: Sequence[str], items: int) -> bytes:
    """Return what a listing's digest begins with; all paths follow, then where each starts, then all labels."""
    return json.dumps([1, kind, list(classes), items], separators=(",", ":")).encode()


def subset_of(
    source: Source, listing: FileListing, where: str, begin: Callable[[], Builder] = ListingBuilder
) -> FileListing:
    """Return the subset of a listing that the source selects; `where` begins the message of the SourceError.

    Its items are gathered in what `begin` returns.
    """
    if source.subset == "all":
        return listing
    part = listing.split(source.validation_split, validation=source.subset == "validation", begin=begin)
    if not len(part):
        raise SourceError(
            f"{where}: subset {source.subset!r} of {len(listing)} items is empty at "
            f"validation_split = {source.validation_split}: choose another fraction"
        )
    return part
