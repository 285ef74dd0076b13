"""A listing that holds some items of another one, in an order of its own, with other labels perhaps."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from penstock.protocol.order import Int64s
from penstock.protocol.records import Item
from penstock.protocol.storage.array_types import Int32s
from penstock.sources.base import ImageSize, Listing, count_classes
from penstock.sources.file_listing import FileListing


class SelectedListing(Listing):
    """Items of a listing. Tasks carry them, since workers know only the listing below."""

    carries_items = True

    def __init__(self, below: Listing, chosen: Int64s, labels: Int32s, classes: Sequence[str]) -> None:
        """Take the items `chosen` of the listing `below`, each with its new label."""
        self._below, self._chosen, self.labels = below, chosen, labels
        self.classes = tuple(classes)
        self.copy_digest = below.copy_digest
        self.image_size: ImageSize | None = below.image_size
        self.passed_over: Mapping[str, int] = below.passed_over
        weights = weights_of(below)
        self.weights = None if weights is None else weights[chosen]
        self.digest = self._digest()

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._chosen)

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """How many of the items each shard of the listing below has, where they stand in its order."""
        if not self._below.shard_sizes or (np.diff(self._chosen) < 0).any():
            return ()
        ends = np.cumsum(self._below.shard_sizes)
        counts = np.bincount(np.searchsorted(ends, self._chosen, side="right"))
        return tuple(counts[counts > 0].tolist())

    @property
    def held_bytes(self) -> int:
        """Memory that both listings take."""
        own = self._chosen.nbytes + self.labels.nbytes + (0 if self.weights is None else self.weights.nbytes)
        return self._below.held_bytes + own

    @property
    def longest_row(self) -> int:
        """Bytes of the longest row of the columns that targets are made of."""
        return self._below.longest_row

    def path(self, index: int) -> str:
        """Return how messages name an item."""
        return self._below.path(int(self._chosen[index]))

    def label(self, index: int) -> int:
        """Return an item's class index; -1 without labels."""
        return int(self.labels[index])

    def counts(self) -> dict[str, int]:
        """Return how many items each class has."""
        return count_classes(self.classes, self.labels)

    def item(self, index: int) -> Item:
        """Return an item as a task carries it. Where workers would find it by number, `row` says which one it is."""
        number = int(self._chosen[index])
        found = {"item": index, "label": int(self.labels[index])}
        if not self._below.carries_items:
            found["row"] = number
        return self._below.item(number).replaced(**found)

    def _digest(self) -> str:
        header = json.dumps([1, "selected", self._below.digest, list(self.classes)], separators=(",", ":"))
        digest = hashlib.sha256(header.encode())
        for numbers, dtype in ((self._chosen, "<i8"), (self.labels, "<i4")):
            digest.update(np.ascontiguousarray(numbers.astype(dtype, copy=False)).data)
        return digest.hexdigest()


def labels_of(listing: Listing) -> Int32s:
    """Return the label of every item."""
    if isinstance(listing, FileListing) and listing.pages is not None:
        listing.pages.check_labels(len(listing))
    found = getattr(listing, "labels", None)
    if isinstance(found, np.ndarray):
        return found
    return np.fromiter(map(listing.label, range(len(listing))), np.int32, len(listing))


def weights_of(listing: Listing) -> npt.NDArray[np.float64] | None:
    """Return the weight of every item, if they have weights."""
    if isinstance(listing, FileListing) and listing.pages is not None and listing.weights is not None:
        listing.pages.check_weights(len(listing))
    return listing.weights
