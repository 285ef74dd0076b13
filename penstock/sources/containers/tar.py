"""The kind "tar": shards as WebDataset writes them, plain tar files whose members are read where they lie.

The ventilator walks each shard once, and a task says at which offset an image lies. The order is that of the shards as
`path` names them, and in a shard that of its members.
"""

import hashlib
import json
import os
import time
from array import array
from collections import Counter
from dataclasses import replace
from typing import Literal, Self

import numpy as np
from pydantic import field_validator, model_validator

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source, confined
from penstock.protocol.storage.confined_files import Watch, open_below
from penstock.protocol.storage.labels import GivenClasses, sorted_classes
from penstock.sources.base import Reader, Roots, SourceKind, root_of
from penstock.sources.containers.index_cache import cached
from penstock.sources.containers.shard_names import expand, find_shards
from penstock.sources.containers.tar_shard import Members, ShardIndex, read_shard
from penstock.sources.file_reader import open_files
from penstock.sources.remote import brought
from penstock.sources.span_listing import SpanListing, SpanListingBuilder
from penstock.sources.split import held_out


class TarSource(Source):
    """Tar shards with WebDataset's names: `000123.jpg` and `000123.cls` are the image and the label of one item."""

    kind: Literal["tar"]
    """Says that these are tar shards."""
    path: str
    """Shards below the root, as in `train-{000000..000009}.tar` or `train/*.tar`: braces hold a range or names with
    commas, and files that wildcards match are sorted."""
    image: str = ""
    """Which member of an item is the image, by what follows the first dot of its name, as in `left.png`; default: the
    only one with the suffix of an image, such as `jpg`."""
    label: str = "cls"
    """Which member is the label, named in the same way: text, or JSON if the name ends in `json`. Empty: no labels."""
    label_field: str = ""
    """Field of a JSON label that holds the class name or number; default: the whole member is the label."""

    _paths_stay_inside = field_validator("path")(confined)

    @field_validator("path")
    @classmethod
    def _expands(cls, value: str) -> str:
        expand(value)
        return value

    @field_validator("image", "label")
    @classmethod
    def _plain(cls, value: str) -> str:
        return value.removeprefix(".").lower()

    @model_validator(mode="after")
    def _labels_agree(self) -> Self:
        if self.label_field and not self.label.endswith("json"):
            raise ValueError(f"label_field = {self.label_field!r} needs a JSON label, such as label = 'json'")
        if self.classes is not None and not self.label:
            raise ValueError("classes with label = '': name the member that holds the label, or leave classes out")
        return self

    @property
    def members(self) -> Members:
        """Which members of an item to use."""
        return Members(self.image, self.label, self.label_field)


def list_tar(source: TarSource, roots: Roots) -> SpanListing:
    """Return the items of all shards. Raises SourceError."""
    root = root_of(source.root, roots)
    gathered = _Gathered(source)
    for path in find_shards(source.path, root, allow_outside=source.allow_outside):
        if is_url(root):
            with brought(root, path, allow_outside=source.allow_outside) as (place, name), open(place, "rb") as opened:  # noqa: PTH123 - bytes
                gathered.add(path, os.fstat(opened.fileno()).st_size, read_shard(opened, name, source.members), name)
        else:
            gathered.add(path, *_read_local(source, root, path), f"{root}/{path}")
    return gathered.listing()


def _read_local(source: TarSource, root: str, path: str) -> tuple[int, ShardIndex]:
    """Return a shard's size and index."""
    name = f"{root}/{path}"
    shard = Watch(open_below(root, path, allow_outside=source.allow_outside), name)

    def make() -> ShardIndex:
        with open(shard.descriptor, "rb", closefd=False) as opened:
            index = read_shard(opened, name, source.members)
        shard.check()
        return index

    try:
        return shard.size, cached(name, source.members, shard, make, time.time())
    except ItemError as error:
        raise SourceError(str(error)) from error
    finally:
        shard.close()


class _Gathered:
    """The items of the shards so far."""

    def __init__(self, source: TarSource) -> None:
        self._source = source
        self._builder = SpanListingBuilder()
        self._given = None if source.classes is None else GivenClasses(source.classes)
        #: Classes that were found, by the number that they have until all are known.
        self._names: dict[str, int] = {}
        #: What the split hashes, if there is one.
        self._split_names: list[bytes] = []
        self._labels = array("i")
        self._sizes: list[tuple[str, int]] = []
        self._passed_over: Counter[str] = Counter()

    def add(self, path: str, size: int, index: ShardIndex, name: str) -> None:
        """Add a shard's items. Raises SourceError if a label is not among the classes that were given."""
        self._sizes.append((path, size))
        self._passed_over.update(index.passed_over)
        self._builder.begin_file(path)
        for number, key in enumerate(index.keys):
            label = self._number(index.labels[number], f"{name}: item {key!r}: label") if index.labels else -1
            self._builder.add(index.offsets[number], index.lengths[number], label)
            if self._source.subset != "all":
                self._labels.append(label)
                self._split_names.append(f"{path}/{key}".encode())

    def _number(self, label: str, where: str) -> int:
        if self._given:
            return self._given.number(label, where)
        return self._names.setdefault(label, len(self._names))

    def listing(self) -> SpanListing:
        """Return the listing, of the subset that the source selects. Raises SourceError if it is empty."""
        source = self._source
        where = f"root {source.root!r}, {source.path!r}"
        if not len(self._builder):
            raise SourceError(f"{where}: {len(self._sizes)} shards, and no item with an image in them")
        classes, relabel = source.classes, None
        if classes is None:
            classes = tuple(sorted_classes(self._names))
            ranks = {name: rank for rank, name in enumerate(classes)}
            relabel = np.array([ranks[name] for name in self._names], np.int32) if ranks else None
        chosen = None
        if source.subset != "all":
            labels = np.frombuffer(self._labels, np.int32)
            chosen = held_out(self._split_names, labels, source.validation_split) == (source.subset == "validation")
            if not chosen.any():
                raise SourceError(
                    f"{where}: subset {source.subset!r} of {len(chosen)} items is empty at "
                    f"validation_split = {source.validation_split}: choose another fraction"
                )
        listing = self._builder.build(source.kind, classes, relabel, chosen)
        return replace(listing, copy_digest=_digest(self._sizes), passed_over=dict(self._passed_over))


def _digest(sizes: list[tuple[str, int]]) -> str:
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()


def open_tar(source: TarSource, plan: StreamPlan, roots: Roots) -> Reader:
    """Return the reader of a stream's shards. Raises SourceError if this host's shards have other names or sizes."""
    root = root_of(source.root, roots)
    if not is_url(root):
        sizes = []
        for path in find_shards(source.path, root, allow_outside=source.allow_outside):
            try:
                sizes.append((path, os.stat(f"{root}/{path}").st_size))  # noqa: PTH116 - text
            except (OSError, ValueError) as error:
                raise SourceError(f"{root}/{path}: cannot find the shard: {error}") from error
        if plan.copy_digest and _digest(sizes) != plan.copy_digest:
            raise SourceError(
                f"{root}: the shards {source.path!r} have other names or sizes than those that the ventilator listed: "
                "copy the same shards to every host, or start again if they were written anew"
            )
    return open_files(source, plan, roots)


KIND = SourceKind(TarSource, list_tar, open_tar, splits=True, follows_links=True)
