"""Reads one tar shard, named as WebDataset names its members: where each item's image lies, and its label.

Members that differ only behind the first dot of their file names are one item: `000123.jpg`, `000123.cls`.
"""

import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.labels import class_name
from penstock.sources.containers.shard_index import MAGIC_BYTES, ShardIndex, refuse_compressed
from penstock.sources.suffixes import is_image, suffix_of

#: WebDataset's members about the shard itself.
_META = re.compile(r"(^|/)__[^/]*__($|/)")
#: Most bytes of a label's member; a longer one is something else.
_LABEL_BYTES = 1_048_576
#: Where an image lies: offset and length in bytes.
_Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Members:
    """Which members of an item to use, each named by what follows the first dot of its file name."""

    #: The image; empty: the one whose suffix is that of an image.
    image: str
    #: The label; empty: none.
    label: str
    #: The label's name in a JSON object; empty: the member is the label.
    label_field: str


def read_shard(opened: BinaryIO, name: str, wanted: Members) -> ShardIndex:
    """Return the items of a shard, which messages call `name`. Raises SourceError."""
    reader = _ShardReader(opened, name, wanted)
    key, group = "", dict[str, _Place]()
    for member in _members(opened, name):
        found = _split(member, name)
        if found is None:
            continue
        if found[0] != key:
            reader.add(key, group)
            key, group = found[0], {}
        if found[1] in group:
            raise SourceError(f"{name}: item {key!r} has two members .{found[1]}")
        group[found[1]] = (member.offset_data, member.size)
    reader.add(key, group)
    return reader.index


class _ShardReader:
    """Gathers a shard's items, each given as the places of its members."""

    def __init__(self, opened: BinaryIO, name: str, wanted: Members) -> None:
        self._descriptor, self._name, self._wanted = opened.fileno(), name, wanted
        self._seen: set[str] = set()
        self.index = ShardIndex()

    def add(self, key: str, group: dict[str, _Place]) -> None:
        """Add an item. Raises SourceError if its key came before, or if it has no image or no label."""
        if not group:
            return
        image, label = self._image(key, group), group.get(self._wanted.label)
        if image is None and label is None:
            self.index.passed_over.update(suffix_of(f".{extension}".encode()) for extension in group)
            return
        where, has = f"{self._name}: item {key!r}", ", ".join(f".{extension}" for extension in sorted(group))
        if key in self._seen:
            raise SourceError(f"{where} comes twice: an item's members must follow each other, under a key of its own")
        self._seen.add(key)
        if image is None:
            named = f"member .{self._wanted.image} (source.image)" if self._wanted.image else "image"
            raise SourceError(f"{where} has no {named}; it has {has}")
        if label is None and self._wanted.label:
            raise SourceError(
                f"{where} has no member .{self._wanted.label} (source.label); it has {has}; label = '' reads no labels"
            )
        if not image[1]:
            raise SourceError(f"{where}: its image has no bytes: write the shard anew")
        self.index.keys.append(key)
        self.index.offsets.append(image[0])
        self.index.lengths.append(image[1])
        if label is not None:
            self.index.labels.append(self._class(label, where))

    def _image(self, key: str, group: dict[str, _Place]) -> _Place | None:
        if self._wanted.image:
            return group.get(self._wanted.image)
        images = [extension for extension in group if "." not in extension and is_image(f".{extension}".encode())]
        if len(images) > 1:
            raise SourceError(
                f"{self._name}: item {key!r} has several images, .{' and .'.join(images)}: say which one, as in "
                f"image = {images[0]!r}"
            )
        return group[images[0]] if images else None

    def _class(self, place: _Place, where: str) -> str:
        where = f"{where}: .{self._wanted.label}"
        if place[1] > _LABEL_BYTES:
            raise SourceError(f"{where} has {place[1]} bytes: a label has {_LABEL_BYTES} at most")
        raw = os.pread(self._descriptor, place[1], place[0])
        try:
            text = raw.decode()
            if not self._wanted.label.endswith("json"):
                return class_name(text.strip(), where)
            value = json.loads(text)
        except ValueError as error:
            raise SourceError(f"{where}: neither text in UTF-8 nor JSON as its name says: {error}") from error
        if self._wanted.label_field:
            if not isinstance(value, dict) or self._wanted.label_field not in value:
                raise SourceError(f"{where} has no field {self._wanted.label_field!r} (source.label_field)")
            value, where = value[self._wanted.label_field], f"{where}, {self._wanted.label_field}"
        return class_name(value, where)


def _members(opened: BinaryIO, name: str) -> Iterator[tarfile.TarInfo]:
    """Yield a shard's members. Raises SourceError unless it is a plain tar file with all its bytes."""
    start, size = opened.read(MAGIC_BYTES), os.fstat(opened.fileno()).st_size
    refuse_compressed(start, name, "a plain tar file")
    opened.seek(0)
    before = -1
    try:
        with tarfile.open(fileobj=opened, mode="r:") as tar:
            while (member := tar.next()) is not None:
                if member.offset <= before or member.size < 0:
                    raise SourceError(f"{name}: damaged: a header after byte {before} leads back to {member.offset}")
                before = member.offset
                if member.offset_data + member.size > size:
                    raise SourceError(f"{name}: cut short: {member.name!r} ends behind the file's {size} bytes")
                yield member
            _check_end(opened, tar.offset, name)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise SourceError(f"{name}: not a whole tar file: {error}; copy or write it anew") from error


def _check_end(opened: BinaryIO, offset: int, name: str) -> None:
    """Raise SourceError unless the mark of an archive's end is at `offset`, where `tarfile` stopped without a word."""
    opened.seek(offset)
    block = opened.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise SourceError(f"{name}: cut short: the mark of its end is missing at byte {offset}; copy or write it anew")
    if any(block):
        raise SourceError(f"{name}: damaged: no header of a tar file at byte {offset}; copy or write it anew")


def _split(member: tarfile.TarInfo, name: str) -> tuple[str, str] | None:
    """Return a member's key and what follows the first dot; None for what is no part of an item. Raises SourceError."""
    path = member.name.removeprefix("./")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise SourceError(f"{name}: {path!r}: the name is not valid UTF-8, so no message can carry it") from None
    folder, slash, file = path.rpartition("/")
    stem, dot, extension = file.partition(".")
    if not stem or not dot or _META.search(path):
        return None
    if member.issym() or member.islnk():
        raise SourceError(
            f"{name}: {path!r} is a link to {member.linkname!r}: write the shard anew with files "
            "(tar --dereference --hard-dereference)"
        )
    if member.issparse():
        raise SourceError(f"{name}: {path!r} is sparse: write the shard anew without --sparse")
    return (folder + slash + stem, extension.lower()) if member.isreg() else None
