"""The parts of a kind of source: its model, its listing and its reader.

`protocol.spec.source` has the table of kinds. The ventilator calls `list_source`, workers call `open_reader`.
"""

import os
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError, SourceError, SpecError
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.records import Item, Task
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source, check_kind, load_kind
from penstock.sources.files import FileIdentity
from penstock.sources.paths import is_folder
from penstock.sources.url_files.shard_counts import ShardCounts

#: Labels that are counted at once.
_COUNTED = 1_000_000

#: Where each root of the spec lies for this host: a folder, or a URL.
Roots = Mapping[str, str | Path]


@dataclass(frozen=True, slots=True)
class ImageSize:
    """The size of every image of a source whose images are all alike."""

    #: Bytes of an image as it is stored.
    bytes: int
    pixels: int
    #: Bytes that each worker takes to read any of them, such as for unpacked chunks.
    working_bytes: int = 0


class Listing(ABC):
    """The items of a source in its own order, as the ventilator holds them: item 0, 1, 2 and so on."""

    #: Class names in label order; empty without labels.
    classes: tuple[str, ...]
    #: Digest of the items (at least their names, order, labels and classes): equal digests, equal listings. It enters
    #: the stream's fingerprint.
    digest: str
    #: Digest that a worker compares with its own copy of the data before it reads; empty: it compares nothing.
    copy_digest: str = ""
    #: Whether a task carries its items. False: workers find them by number (`StreamPlan.indices`); messages are small.
    carries_items: bool = True
    #: The size of an image if all are alike. None: `penstock check` reads some items to estimate it.
    image_size: ImageSize | None = None

    #: Weight of each item, where the source gives them.
    weights: npt.NDArray[np.float64] | None = None
    #: Files that were found and not listed, for the log and `penstock check`: how many of each suffix.
    passed_over: Mapping[str, int] = MappingProxyType({})

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """How many items each shard has, in the source's order; empty for a source without shards."""
        return ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @abstractmethod
    def path(self, index: int) -> str:
        """Return how messages and the quarantine ledger name an item."""

    @abstractmethod
    def label(self, index: int) -> int:
        """Return an item's class index; -1 without labels."""

    def items(self, indices: Sequence[int]) -> "list[Item]":
        """Return several items as tasks carry them."""
        return list(map(self.item, indices))

    @property
    @abstractmethod
    def held_bytes(self) -> int:
        """Memory that the listing takes."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return how many items each class has."""

    @property
    def longest_row(self) -> int:
        """Bytes of the longest row of the columns that targets are made of; 0 without such columns."""
        return 0

    def item(self, index: int) -> Item:
        """Return an item as a task carries it."""
        return Item(item=index, path=self.path(index), label=self.label(index))


def count_classes(classes: Sequence[str], labels: npt.NDArray[np.int32]) -> dict[str, int]:
    """Return how many of the labels each class has."""
    if not classes:
        return {}
    found = np.zeros(len(classes), np.int64)
    for first in range(0, len(labels), _COUNTED):  # numpy takes 8 bytes for each label that it counts
        found += np.bincount(labels[first : first + _COUNTED], minlength=len(classes))
    return dict(zip(classes, found.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Known:
    """What the cache of decoded images knows of an item, or needs to know."""

    #: The image as the cache has it; the item's content was not read then, and is empty.
    image: object = None
    #: Identity of the file that the content was read from; None: it must not be kept.
    identity: FileIdentity | None = None
    #: When it had that identity, before it was read (seconds since 1970, by this host's clock).
    asked_at: float = 0.0
    #: Digest of the content, if it was taken when it was read.
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A task's items, read: sequences of one length, in the task's order."""

    #: Index of each item in the whole source.
    items: Int64s
    #: Class index of each item; -1 without one.
    labels: npt.NDArray[np.int32]
    #: How the ledger and messages name each item.
    paths: Sequence[str]
    #: Bytes of an image file, pixels (height, width, channels), or why there is neither; one array of pixels (items,
    #: height, width, channels) if the source holds arrays and no item failed. Taking one may wait for it.
    contents: Sequence[bytes | npt.NDArray[np.uint8] | ItemError] | npt.NDArray[np.uint8]
    #: By the name of a target: the content of each item's file, or why it cannot be had.
    files: Mapping[str, Sequence[bytes | ItemError]] = field(default_factory=dict)
    #: Of each item, what the cache of decoded images knows, if the reader was asked for that; else empty.
    known: Sequence["Known"] = ()

    @property
    def waited_s(self) -> float:
        """Seconds spent so far on waiting for contents that arrive while they are taken."""
        return getattr(self.contents, "waited_s", 0.0)


class Reader(Protocol):
    """Reads the items of a stream's tasks on a worker; one object serves one thread at a time."""

    def read(self, task: Task) -> Loaded:
        """Return the contents of the task's items. An item that cannot be read has an ItemError in its place."""
        ...


@runtime_checkable
class KeepsShards(Protocol):
    """A reader that can keep whole shards of a URL on this host's disk."""

    @property
    def notes(self) -> deque[str]:
        """What the log should say of them, each once."""
        ...

    @property
    def counts(self) -> Sequence[ShardCounts]:
        """What each store of them does; none before `keep_shards`, or without room for them."""
        ...

    def keep_shards(self, folder: str, most_gb: float | None) -> None:
        """Keep them in a folder (empty: this user's cache folder), in no more than `most_gb`. Raises CacheError."""
        ...


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of source. Its functions run in other processes: the listing in the ventilator, the reader in workers."""

    #: The kind's fields in the spec: a subclass of `Source` with `kind: Literal["…"]`.
    model: type[Source]
    #: Lists the items. Raises SourceError.
    list_items: Callable[[Any, Roots], Listing]
    #: Opens the reader of a stream; raises SourceError. The source's root is among the roots.
    open_reader: Callable[[Any, StreamPlan, Roots], Reader]
    #: Lists the items with the named columns of a manifest, for the stream's targets; None: the kind has no columns.
    list_columns: Callable[[Any, Roots, Sequence[str]], Listing] | None = None
    #: Whether `list_items` supports `validation_split` and `subset`; otherwise a spec with them is refused.
    splits: bool = False
    #: Whether `allow_outside` is only about symbolic links. Then `penstock up` and `penstock.local` follow them where
    #: the spec does not say. A kind whose files can name other files leaves that to the spec.
    follows_links: bool = False


def kind_of(source: Source) -> SourceKind:
    """Return a source's kind. Raises SpecError if it is not installed here."""
    check_kind(source)
    return cast("SourceKind", load_kind(source.kind_name))


def list_source(source: Source, roots: Roots, columns: Sequence[str] = ()) -> Listing:
    """Return the items of a source, with the named columns of its manifest, if any.

    `rename`, `other_classes` and `limit` do not apply yet: `choice/selection.py` does that.

    With a `subset`, the listing holds that subset only, and indices count within it. Raises SourceError and SpecError.
    """
    kind, source = kind_of(source), source.unselected
    if source.classes is not None:
        _check_classes(source.classes)
    if source.subset != "all" and not kind.splits:
        raise SourceError(
            f"subset = {source.subset!r}: a source of kind {source.kind_name!r} cannot be split; leave subset and "
            "validation_split out"
        )
    if not columns:
        return kind.list_items(source, roots)
    if kind.list_columns is None:
        raise SourceError(
            f"targets read column {columns[0]!r}, and a source of kind {source.kind_name!r} has no columns: list the "
            "items in a manifest, or leave the targets out"
        )
    return kind.list_columns(source, roots, columns)


def open_reader(plan: StreamPlan, roots: Roots) -> Reader:
    """Return the reader of a stream's items on this host.

    Raises SpecError if the root has no entry or the kind is not installed, SourceError if the source cannot be opened.
    """
    source = plan.settings.source
    if source.root not in roots:
        known = ", ".join(sorted(roots)) or "none"
        raise SpecError(
            f"stream {plan.name!r} reads root {source.root!r}, which has no folder here (mapped: {known}): "
            f"give --root {source.root}=/path"
        )
    return kind_of(source).open_reader(source.unselected, plan, roots)


def root_of(name: str, roots: Roots) -> str:
    """Return a root that exists: a folder of this host, or a URL. Raises SourceError."""
    if name not in roots:
        known = ", ".join(sorted(roots)) or "none"
        raise SourceError(
            f"no folder is mapped to root {name!r} (mapped: {known}): give --root {name}=/path, "
            "or name it in the spec's [roots]"
        )
    root = str(roots[name])
    if not is_url(root) and not is_folder(os.fsencode(root)):
        raise SourceError(f"root {name!r}: no folder {root}: mount it, or give --root {name}=/path")
    return root


def _check_classes(classes: Sequence[str]) -> None:
    if not classes:
        raise SourceError("classes = []: name at least one class, or leave the field out to take all that are found")
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise SourceError(f"classes: {twice[0]!r} is given twice")
