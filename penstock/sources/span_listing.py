"""The items of a source whose files hold many items each: every item is a part of a file, at an offset.

For kinds such as archives and record files. An item takes 24 bytes of memory, whatever its file is called.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.protocol.records import Item
from penstock.sources.base import Listing, count_classes


@dataclass(frozen=True, slots=True, eq=False)
class SpanListing(Listing):
    """Parts of files in the source's own order."""

    kind: str
    classes: tuple[str, ...]
    #: Path of each file below the root.
    files: tuple[str, ...]
    #: For each item: which of the files, where in it (offset and length in bytes), and its class index.
    of_file: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    digest: str
    copy_digest: str = ""
    weights: npt.NDArray[np.float64] | None = None
    #: What tells the content of each file from another one, below a URL; empty: nothing does.
    tags: tuple[str, ...] = ()
    #: What was found in the files and not listed: how many of each suffix.
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.labels)

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """How many items each file has; files without items are left out."""
        counts = np.bincount(self.of_file)
        return tuple(counts[counts > 0].tolist())

    @property
    def held_bytes(self) -> int:
        """Memory that the listing takes."""
        arrays = (self.of_file, self.offsets, self.lengths, self.labels, self.weights)
        return sum(array.nbytes for array in arrays if array is not None) + sum(map(len, self.files))

    def path(self, index: int) -> str:
        """Return how messages name an item: its file, its offset and its length."""
        return self.item(index).name

    def label(self, index: int) -> int:
        """Return an item's class index; -1 without labels."""
        return int(self.labels[index])

    def counts(self) -> dict[str, int]:
        """Return how many items each class has."""
        return count_classes(self.classes, self.labels)

    def item(self, index: int) -> Item:
        """Return an item as a task carries it: its file, and where it lies there."""
        file = self.of_file[index]
        return Item(
            item=index,
            path=self.files[file],
            content=self.tags[file] if self.tags else "",
            label=int(self.labels[index]),
            span=(int(self.offsets[index]), int(self.lengths[index])),
        )


class SpanListingBuilder:
    """Gathers items one by one, file after file."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._tags: list[str] = []
        self._of_file, self._offsets, self._lengths, self._labels = array("i"), array("q"), array("q"), array("i")
        self._weights = array("d")

    def __len__(self) -> int:
        """Return the number of items so far."""
        return len(self._labels)

    def begin_file(self, path: str, tag: str = "") -> None:
        """Say which file, as a path below the root, the items that follow lie in, and which content of it is meant."""
        self._files.append(path)
        self._tags.append(tag)

    def add(self, offset: int, length: int, label: int, weight: float | None = None) -> None:
        """Add an item; all have a weight, or none. Raises SourceError if it is empty or before the file's start."""
        if offset < 0 or length <= 0:
            raise SourceError(f"{self._files[-1]}: an item of {length} bytes at {offset}: the file's index is damaged")
        self._of_file.append(len(self._files) - 1)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._labels.append(label)
        if weight is not None:
            self._weights.append(weight)

    def build(
        self,
        kind: str,
        classes: Sequence[str],
        relabel: npt.NDArray[np.int32] | None = None,
        chosen: npt.NDArray[np.bool_] | None = None,
    ) -> SpanListing:
        """Return the listing: of the `chosen` items only, with `relabel[label]` for each label, if these are given.

        The builder must not be used after.
        """
        of_file, labels = np.frombuffer(self._of_file, np.int32), np.frombuffer(self._labels, np.int32)
        weights = np.frombuffer(self._weights, np.float64) if self._weights else None
        offsets, lengths = np.frombuffer(self._offsets, np.int64), np.frombuffer(self._lengths, np.int64)
        if relabel is not None:
            labels = relabel[labels]
        if chosen is not None:
            of_file, offsets, lengths, labels = of_file[chosen], offsets[chosen], lengths[chosen], labels[chosen]
            weights = None if weights is None else weights[chosen]
        header = json.dumps([1, kind, list(classes), self._files, len(labels)], separators=(",", ":"))
        digest = hashlib.sha256(header.encode())
        for numbers, dtype in ((of_file, "<i4"), (offsets, "<i8"), (lengths, "<i8"), (labels, "<i4")):
            digest.update(np.ascontiguousarray(numbers.astype(dtype, copy=False)).data)
        return SpanListing(
            kind=kind,
            classes=tuple(classes),
            files=tuple(self._files),
            of_file=of_file,
            offsets=offsets,
            lengths=lengths,
            labels=labels,
            digest=digest.hexdigest(),
            weights=weights,
            tags=tuple(self._tags) if any(self._tags) else (),
        )
