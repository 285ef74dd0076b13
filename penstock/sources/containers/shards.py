"""The parts that all kinds of container share: fields of the spec, the listing of all files, the worker's comparison.

A kind adds the function that finds the items of one file. `index_cache.py` keeps what that function found.
"""

import hashlib
import json
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from pydantic import Field, field_validator, model_validator

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source, confined
from penstock.protocol.storage.confined_files import Watch, open_below
from penstock.protocol.storage.labels import GivenClasses, some, sorted_classes
from penstock.protocol.storage.urls import Remote
from penstock.sources.base import Reader, Roots, root_of
from penstock.sources.containers.index_cache import cached, local_identity
from penstock.sources.containers.remote_shards import Bring, list_remote, whole
from penstock.sources.containers.shard_index import ShardIndex
from penstock.sources.containers.shard_names import expand, find_shards
from penstock.sources.file_reader import open_files
from penstock.sources.span_listing import SpanListing, SpanListingBuilder
from penstock.sources.split import held_out
from penstock.sources.tables.progress import told
from penstock.sources.url_files.keeping import ShardRoom

#: Finds the items of an open file, which messages call by the name. Raises SourceError.
ReadShard = Callable[[BinaryIO, str], ShardIndex]


class ShardSource(Source):
    """The fields of every kind of source whose files hold many images each."""

    path: str
    """Files below the root, as in `train-{000000..000009}.tar` or `train/*.tar`: braces hold a range or names with
    commas, and files that wildcards match are sorted."""
    label: str = ""
    """Where an item's label stands; empty: no labels."""
    cache_gb: float = Field(default=0.0, ge=0.0)
    """Below a URL: room (GB) on each worker's host for whole shards, which its workers share; those that were used
    longest ago are removed first. 0: workers request the bytes of each image."""

    _paths_stay_inside = field_validator("path")(confined)

    @field_validator("path")
    @classmethod
    def _expands(cls, value: str) -> str:
        expand(value)
        return value

    @model_validator(mode="after")
    def _classes_need_labels(self) -> "ShardSource":
        if self.classes is not None and not self.label:
            raise ValueError("classes with label = '': say where the label stands, or leave classes out")
        return self

    def index_fields(self) -> dict[str, Any]:
        """Return the fields on which the index of a file depends."""
        return self.model_dump(mode="json", exclude={"path", "cache_gb", *Source.model_fields})


def list_shards(source: ShardSource, roots: Roots, read: ReadShard, bring: Bring = whole) -> SpanListing:
    """Return the items of all files; `bring` opens as much of one below a URL as `read` needs. Raises SourceError."""
    root = root_of(source.root, roots)
    gathered = _Gathered(source)
    paths = find_shards(source.path, root, allow_outside=source.allow_outside)
    if is_url(root):
        remote = Remote(root, allow_outside=source.allow_outside)
        shards = list_remote(remote, paths, source.index_fields(), read, bring)
        for number, shard in enumerate(shards):
            told(f"{number} of {len(paths)} shards")
            gathered.add(shard.path, shard.identity.size, shard.index, shard.name, shard.identity.tag)
    else:
        for number, path in enumerate(paths):
            told(f"{number} of {len(paths)} shards")
            gathered.add(path, *_read_local(source, root, path, read), f"{root}/{path}")
    return gathered.listing()


def _read_local(source: ShardSource, root: str, path: str, read: ReadShard) -> tuple[int, ShardIndex]:
    """Return a file's size and index."""
    name = f"{root}/{path}"
    shard = Watch(open_below(root, path, allow_outside=source.allow_outside), name)

    def make() -> ShardIndex:
        with open(shard.descriptor, "rb", closefd=False) as opened:
            index = read(opened, name)
        shard.check()
        return index

    try:
        return shard.size, cached(name, source.index_fields(), local_identity(shard, time.time()), make)
    except ItemError as error:
        raise SourceError(str(error)) from error
    finally:
        shard.close()


class _Gathered:
    """The items of the files so far."""

    def __init__(self, source: ShardSource) -> None:
        self._source = source
        self._builder = SpanListingBuilder()
        self._classes = source.classes
        self._given = None if source.classes is None else GivenClasses(source.classes)
        #: The first file that names the classes itself; empty: none did.
        self._named_by = ""
        #: Classes that were found, by the number that they have until all are known.
        self._names: dict[str, int] = {}
        #: What the split hashes, if there is one.
        self._split_names: list[bytes] = []
        self._labels = array("i")
        self._sizes: list[tuple[str, int]] = []
        self._passed_over: Counter[str] = Counter()

    def add(self, path: str, size: int, index: ShardIndex, name: str, tag: str = "") -> None:
        """Add the items of a file, whose content has this tag at its server.

        Raises SourceError if a label is not among the classes that were given.
        """
        if self._source.classes is None and index.labels:
            self._take_classes(tuple(index.classes), name)
        self._sizes.append((path, size))
        self._passed_over.update(index.passed_over)
        self._builder.begin_file(path, tag)
        for number, (offset, length) in enumerate(zip(index.offsets, index.lengths, strict=True)):
            label = -1
            if index.labels:
                label = self._number(index.labels[number], f"{name}: item {index.key(number)!r}: label")
            self._builder.add(offset, length, label, index.weights[number] if index.weights else None)
            if self._source.subset != "all":
                self._labels.append(label)
                self._split_names.append(f"{path}/{index.key(number)}".encode())

    def _take_classes(self, classes: tuple[str, ...], name: str) -> None:
        """Use the class names that files hold. Raises SourceError unless all files hold the same."""
        if self._given is None and classes and not self._names:
            self._classes, self._given, self._named_by = classes, GivenClasses(classes), name
        elif classes != (self._classes or ()):
            raise SourceError(
                f"{name}: names the classes {some(classes)}, and {self._named_by or 'a file before it'} names "
                f"{some(self._classes or ())}: write them anew with the same names, or give source.classes"
            )

    def _number(self, label: str, where: str) -> int:
        if self._given:
            return self._given.number(label, where)
        return self._names.setdefault(label, len(self._names))

    def listing(self) -> SpanListing:
        """Return the listing, of the subset that the source selects. Raises SourceError if it is empty."""
        source = self._source
        where = f"root {source.root!r}, {source.path!r}"
        if not len(self._builder):
            by_rows = bool(getattr(source, "where", ()))
            problem = "no row of them matches source.where" if by_rows else "no item with an image in them"
            raise SourceError(f"{where}: {len(self._sizes)} shards, and {problem}")
        classes, relabel = self._classes, None
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
        listing = self._builder.build(source.kind_name, classes, relabel, chosen)
        return replace(listing, copy_digest=_digest(self._sizes), passed_over=dict(self._passed_over))


def _digest(sizes: list[tuple[str, int]]) -> str:
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()


def check_copy(source: ShardSource, plan: StreamPlan, root: str) -> None:
    """Raise SourceError if the files below a folder of this host have other names or sizes than those listed."""
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


def open_shards(source: ShardSource, plan: StreamPlan, roots: Roots) -> Reader:
    """Return the reader of a stream whose items are parts of files. Raises SourceError if this host has other files."""
    root = root_of(source.root, roots)
    if not is_url(root):
        check_copy(source, plan, root)
    return open_files(source, plan, roots, shard_room(source))


def shard_room(*sources: Source) -> ShardRoom | None:
    """Return the room that sources below one root give to whole shards together; None without."""
    given = [source for source in sources if isinstance(source, ShardSource) and source.cache_gb]
    return (
        ShardRoom(" ".join(source.path for source in given), sum(source.cache_gb for source in given))
        if given
        else None
    )
