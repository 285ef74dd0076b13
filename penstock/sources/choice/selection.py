"""Applies a source's `rename`, `other_classes` and `limit` to the items that were listed without them."""

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import Source
from penstock.protocol.storage.labels import GivenClasses, some, sorted_classes
from penstock.sources.base import Listing
from penstock.sources.choice.selected_listing import SelectedListing, labels_of


def select(source: Source, listing: Listing) -> Listing:
    """Return the items that a source takes of what `list_source` found. Raises SourceError."""
    if not source.selects:
        return listing
    where = f"root {source.root!r}"
    labels, classes = labels_of(listing), listing.classes
    chosen = np.arange(len(listing), dtype=np.int64)
    if source.rename or source.other_classes == "leave_out":
        classes, numbers = _numbers(source, listing, where)
        relabelled = numbers[labels] if len(numbers) else labels
        chosen = np.flatnonzero(relabelled >= 0)
        labels = relabelled[chosen]
    if source.limit is not None and source.limit < len(chosen):
        kept = np.arange(source.limit, dtype=np.int64) * len(chosen) // source.limit
        chosen, labels = chosen[kept], labels[kept]
    if not len(chosen):
        raise SourceError(
            f"{where}: none of {len(listing)} items is of the classes {some(source.classes or ())}: the source has "
            f"{some(listing.classes)}"
        )
    if len(chosen) == len(listing) and classes == listing.classes and (labels == labels_of(listing)).all():
        return listing
    return SelectedListing(listing, chosen, labels, classes)


def _numbers(source: Source, listing: Listing, where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes, and the new number of each class that was found; -1 for one that is left out."""
    if not listing.classes:
        raise SourceError(f"{where}: rename and other_classes need labels, and the source has none")
    if unknown := sorted(source.rename.keys() - set(listing.classes)):
        raise SourceError(f"{where}: rename: no class is called {unknown[0]!r}; found: {some(listing.classes)}")
    names = [source.rename.get(name, name) for name in listing.classes]
    if source.classes is None:
        classes = tuple(sorted_classes(dict.fromkeys(names)))
        return classes, np.array([classes.index(name) for name in names], np.int32)
    given = GivenClasses(source.classes)
    if source.other_classes == "leave_out":
        known = [given.find(name, where) for name in names]
        return source.classes, np.array([-1 if number is None else number for number in known], np.int32)
    return source.classes, np.array([given.number(name, f"{where}: class") for name in names], np.int32)
