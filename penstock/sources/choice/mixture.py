"""The kind "mixture": one stream of several sources below one root, each with a share of every epoch.

Items are numbered source after source. How a share is filled stands in `protocol/sampling/order.py`.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.records import Item
from penstock.protocol.sampling.groups import Groups, Phase, whole
from penstock.protocol.spec.model import Model, Name
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import AnySource, Source
from penstock.protocol.spec.transform import Transform
from penstock.protocol.storage.labels import GivenClasses, sorted_classes
from penstock.sources.base import Listing, Reader, Roots, SourceKind, count_classes, kind_of, list_source, root_of
from penstock.sources.choice.mixed_reader import MixedReader
from penstock.sources.choice.selected_listing import labels_of
from penstock.sources.choice.selection import select
from penstock.sources.containers.shards import ShardSource, check_copy, shard_room
from penstock.sources.file_reader import open_files

#: Kinds whose items are files, or parts of files, that any worker reads by their names.
_FILES = ("directory", "manifest", "coco", "voc", "yolo", "paired", "tar", "arrow", "tfrecord", "lmdb", "mds")
#: Those, and kinds with a reader of their own.
_MIXED = (*_FILES, "parquet")


class Part(Model):
    """A source of a mixture, and its share of an epoch."""

    source: AnySource
    """The source, of any kind but `arrays`, `hdf5` and `mixture`. Its root is that of the mixture."""
    weight: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Share of an epoch relative to the other parts, whatever their sizes. All parts have one, or none: then each has
    as many places as it has items, so that every item comes once."""
    transform: Transform | None = Field(default=None, exclude_if=lambda transform: transform is None)
    """What a worker makes of this part's items; default: the stream's transform, of which every part makes the same
    fields. Sizes, colours and element types of the result are those of the stream's transform, all else may differ."""


class Weights(Model):
    """The weights of a mixture's parts from one epoch on."""

    from_epoch: int = Field(ge=1, lt=2**53)
    """First epoch with these weights; the first epoch of a stream is 0."""
    weights: dict[Name, float]
    """Weight of each part, by its name; 0 leaves it out."""

    @field_validator("weights")
    @classmethod
    def _are_weights(cls, value: dict[str, float]) -> dict[str, float]:
        if not any(value.values()) or not all(math.isfinite(each) and each >= 0 for each in value.values()):
            raise ValueError("weights are numbers of 0 or more, and not all 0")
        return value


class MixtureSource(Source):
    """Several sources below one root as one stream. Samples have a field `source`: which part they come from."""

    kind: Literal["mixture"]
    """Says that this is a mixture."""
    parts: dict[Name, Part] = Field(min_length=1)
    """The sources by name. The field `source` of samples counts them from 0, in the order of the spec."""
    schedule: tuple[Weights, ...] = ()
    """Other weights from later epochs on, in ascending order: a curriculum."""

    @model_validator(mode="before")
    @classmethod
    def _parts_have_its_root(cls, data: Any) -> Any:  # noqa: ANN401 - not checked yet
        if not isinstance(data, Mapping) or not isinstance(data.get("parts"), Mapping):
            return data
        parts = {name: _with_root(part, data.get("root")) for name, part in data["parts"].items()}
        return {**data, "parts": parts}

    @model_validator(mode="after")
    def _parts_agree(self) -> "MixtureSource":
        if self.selects:
            raise ValueError("rename, other_classes and limit are of the parts: give them there")
        for name, part in self.parts.items():
            if part.source.kind_name not in _MIXED:
                raise ValueError(
                    f"parts.{name}: kind = {part.source.kind_name!r}: a part is one of {', '.join(_MIXED)}"
                )
            if part.source.root != self.root:
                raise ValueError(f"parts.{name}: root = {part.source.root!r}: the mixture's root is {self.root!r}")
            if part.source.allow_outside and not self.allow_outside:
                raise ValueError(f"parts.{name}: allow_outside is of the mixture: give it there")
        given = [part.weight is not None for part in self.parts.values()]
        if any(given) != all(given):
            raise ValueError("parts: give each of them a weight, or none of them")
        if all(given) and not any(part.weight for part in self.parts.values()):
            raise ValueError("parts: all weights are 0: give one of them a weight above 0")
        starts = [each.from_epoch for each in self.schedule]
        if starts != sorted(set(starts)):
            raise ValueError(f"schedule: from_epoch must ascend, and is {starts}")
        for each in self.schedule:
            if each.weights.keys() != self.parts.keys():
                known = ", ".join(self.parts)
                raise ValueError(f"schedule from epoch {each.from_epoch}: give a weight for each of {known}")
        return self

    @property
    def own_transforms(self) -> dict[str, Transform]:
        """The transforms of the parts that have one of their own, by the part's name."""
        return {name: part.transform for name, part in self.parts.items() if part.transform is not None}

    def with_transforms(self, transforms: Mapping[str, Transform]) -> "MixtureSource":
        """Return the source whose parts of these names have these transforms, and the others none."""
        parts = {name: part.model_copy(update={"transform": transforms.get(name)}) for name, part in self.parts.items()}
        return self.model_copy(update={"parts": parts})


def _with_root(part: object, root: object) -> object:
    """Return a part, not checked yet, whose source has this root unless it names one."""
    source = part.get("source") if isinstance(part, Mapping) else None
    return {**part, "source": {"root": root, **source}} if isinstance(source, Mapping) else part  # type: ignore[dict-item]


class MixtureListing(Listing):
    """The items of several listings, one after the other, with one list of classes."""

    def __init__(self, parts: Mapping[str, Listing], classes: Sequence[str] | None) -> None:
        """Take the listings by name. Raises SourceError for a class that is not among `classes`, if they are given."""
        self._parts = list(parts.values())
        self.sizes = tuple(map(len, self._parts))
        self._starts = list(accumulate(self.sizes, initial=0))
        found = dict.fromkeys(name for listing in self._parts for name in listing.classes)
        self.classes = tuple(sorted_classes(found)) if classes is None else tuple(classes)
        given = GivenClasses(self.classes)
        labels = []
        for part, listing in parts.items():
            numbers = [given.number(name, f"part {part!r}: class") for name in listing.classes]
            # The last number is that of label -1.
            labels.append(np.array([*numbers, -1], np.int32)[labels_of(listing)])
        self.labels = np.concatenate(labels)
        digests = [[name, listing.digest] for name, listing in parts.items()]
        header = json.dumps([1, "mixture", list(self.classes), digests], separators=(",", ":"))
        self.digest = hashlib.sha256(header.encode()).hexdigest()
        self.copy_digest = json.dumps([listing.copy_digest for listing in self._parts])

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.labels)

    @property
    def held_bytes(self) -> int:
        """Memory that all listings take."""
        return self.labels.nbytes + sum(listing.held_bytes for listing in self._parts)

    @property
    def longest_row(self) -> int:
        """Bytes of the longest row of the columns that targets are made of."""
        return max(listing.longest_row for listing in self._parts)

    def path(self, index: int) -> str:
        """Return how messages name an item."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[part].path(index - self._starts[part])

    def label(self, index: int) -> int:
        """Return an item's class index; -1 without labels."""
        return int(self.labels[index])

    def counts(self) -> dict[str, int]:
        """Return how many items each class has."""
        return count_classes(self.classes, self.labels[self.labels >= 0])

    def item(self, index: int) -> Item:
        """Return an item as a task carries it."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        found = self._parts[part].item(index - self._starts[part])
        return found.replaced(item=index, label=int(self.labels[index]))


def groups_of(source: MixtureSource, sizes: Sequence[int], shard: tuple[int, int]) -> Groups:
    """Return the parts as groups that share an epoch by weight; `shard` is a job's, (index, count)."""
    weights = [part.weight for part in source.parts.values()]
    members = Groups(sizes=tuple(sizes), phases=(Phase(weights=tuple(sizes)),)).members(shard)
    first = tuple(members) if None in weights else whole([weight or 0.0 for weight in weights])
    later = (
        Phase(from_epoch=each.from_epoch, weights=whole([each.weights[name] for name in source.parts]))
        for each in source.schedule
    )
    return Groups(sizes=tuple(sizes), phases=(Phase(weights=first), *later))


def list_mixture(source: MixtureSource, roots: Roots, columns: Sequence[str] = ()) -> MixtureListing:
    """Return the items of all parts, with the columns that targets are made of. Raises SourceError, with the part."""
    listings = {}
    for name, part in source.parts.items():
        try:
            one = part.source.model_copy(update={"allow_outside": source.allow_outside})
            listings[name] = select(one, list_source(one, roots, columns))
        except SourceError as error:
            raise SourceError(f"part {name!r}: {error}") from error
    return MixtureListing(listings, source.classes)


@dataclass(frozen=True, slots=True)
class Way:
    """Parts of a mixture whose items are read and transformed alike."""

    #: Their numbers.
    parts: tuple[int, ...]
    transform: Transform


def ways_of(plan: StreamPlan, *, transforms: bool = True) -> list[Way]:
    """Return the parts of a plan's mixture by how their items are read and, with `transforms`, transformed."""
    source, ways = plan.settings.source, list[tuple[object, Way]]()
    for number, part in enumerate(source.parts.values() if isinstance(source, MixtureSource) else ()):
        transform = (part.transform if transforms else None) or plan.settings.transform
        key = (transform, number if part.source.kind_name not in _FILES else -1)
        for place, (known, way) in enumerate(ways):
            if known == key:
                ways[place] = (key, Way((*way.parts, number), transform))
                break
        else:
            ways.append((key, Way((number,), transform)))
    return [way for _, way in ways]


def way_of_part(ways: Sequence[Way]) -> Int64s:
    """Return the number of each part's way."""
    found = np.empty(sum(len(way.parts) for way in ways), np.int64)
    for number, way in enumerate(ways):
        found[list(way.parts)] = number
    return found


def open_way(plan: StreamPlan, way: Way, roots: Roots) -> Reader:
    """Return the reader of some parts of a plan's mixture. Raises SourceError if other shards were listed."""
    source = plan.settings.source
    assert isinstance(source, MixtureSource)  # noqa: S101 - it has ways
    root, parts = root_of(source.root, roots), list(source.parts.values())
    digests = json.loads(plan.copy_digest) if plan.copy_digest else [""] * len(parts)
    chosen = []
    for number in way.parts:
        one = parts[number].source.model_copy(update={"allow_outside": source.allow_outside})
        mine = plan.model_copy(update={"copy_digest": digests[number]})
        if one.kind_name not in _FILES:
            return kind_of(one).open_reader(one.unselected, mine, roots)
        if isinstance(one, ShardSource) and not is_url(root):
            check_copy(one, mine, root)
        chosen.append(one)
    return open_files(source, plan, roots, shard_room(*chosen))


def open_mixture(source: MixtureSource, plan: StreamPlan, roots: Roots) -> Reader:
    """Return the reader of all parts' items. Raises SourceError if this host has other shards than were listed."""
    del source
    ways = ways_of(plan, transforms=False)
    readers = [open_way(plan, way, roots) for way in ways]
    if len(readers) == 1 or plan.groups is None:
        return readers[0]
    return MixedReader(readers, way_of_part(ways), np.cumsum(plan.groups.sizes))


KIND = SourceKind(MixtureSource, list_mixture, open_mixture, list_columns=list_mixture, follows_links=True)
