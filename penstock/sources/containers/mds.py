"""The kind "mds": shards of MosaicML Streaming, whose images are read where they lie.

A shard is the number of samples and where each begins (4 bytes each, little-endian), its configuration in JSON, and the
samples. A sample is the lengths of its columns of no fixed size, then the columns. `index.json` is not needed.
"""

import json
import os
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from pydantic import Field

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.labels import class_name
from penstock.sources.base import Roots, SourceKind
from penstock.sources.containers.columns import check_column
from penstock.sources.containers.shard_index import MAGIC_BYTES, ShardIndex, refuse_compressed
from penstock.sources.containers.shards import ShardSource, list_shards, open_shards
from penstock.sources.span_listing import SpanListing

#: Encodings of a column of images whose bytes are those of an image file.
_IMAGES = ("bytes", "jpeg", "png")
#: Encodings of a column of labels: how numpy calls a number, or text.
_NUMBERS = {
    "int": "<i8",
    **{f"{kind}{bits}": f"<{kind[0]}{bits // 8}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
_TEXTS = ("str", "str_int", "str_float", "str_decimal")
#: Most bytes of a shard's configuration, and of a label.
_MOST_BYTES = 1_048_576
#: Bytes of each number at a shard's start.
_WIDTH = 4


class MdsSource(ShardSource):
    """Shards of MosaicML Streaming (`MDSWriter`), not compressed."""

    kind: Literal["mds"]
    """Says that these are MDS shards."""
    image: Annotated[str, Field(min_length=1)] = "image"
    """Column with the bytes of image files, of encoding `bytes`, `jpeg` or `png`."""
    label: str = "label"
    """Column with the class name or number: text or a number of any encoding. Empty: no labels."""


class _Shard:
    """An open shard."""

    def __init__(self, opened: BinaryIO, name: str) -> None:
        """Read its head. Raises SourceError."""
        self._opened, self._name = opened, name
        size = os.fstat(opened.fileno()).st_size
        start = opened.read(MAGIC_BYTES)
        count = int.from_bytes(start[:_WIDTH], "little")
        begin = (count + 2) * _WIDTH
        if len(start) < MAGIC_BYTES or begin > size:
            raise self._damaged(start, f"{size} bytes cannot hold where its {count} samples begin")
        #: Where each sample begins, and where the last one ends.
        self.bounds = np.frombuffer(self._read(_WIDTH, begin), "<u4").astype(np.int64)
        first = int(self.bounds[0])
        if not begin < first <= begin + _MOST_BYTES or first > size or (np.diff(self.bounds) < 0).any():
            raise self._damaged(start, "where its samples begin cannot be")
        try:
            facts: dict[str, Any] = json.loads(self._read(begin, first))
            self.names: list[str] = [str(each) for each in facts["column_names"]]
            self.encodings: list[str] = [str(each).partition(":")[0] for each in facts["column_encodings"]]
            self.sizes: list[int | None] = [None if each is None else int(each) for each in facts["column_sizes"]]
        except (ValueError, LookupError, TypeError) as error:
            raise self._damaged(start, f"its configuration cannot be read: {error}") from error
        if not len(self.names) == len(self.encodings) == len(self.sizes):
            raise self._damaged(start, "its configuration has lists of several lengths")
        if self.bounds[-1] > size:
            raise SourceError(f"{name}: cut short: its samples end at byte {self.bounds[-1]}, the file at {size}")

    def _damaged(self, start: bytes, reason: str) -> SourceError:
        refuse_compressed(start, self._name, "a plain .mds file")
        return SourceError(f"{self._name}: not a whole MDS shard: {reason}; copy or write it anew")

    def _read(self, begin: int, end: int) -> bytes:
        self._opened.seek(begin)
        return self._opened.read(end - begin)

    def column(self, wanted: str, setting: str, encodings: tuple[str, ...]) -> int:
        """Return the number of a column. Raises SourceError unless it is there, in one of these encodings."""
        check_column(self._name, self.names, wanted, setting)
        number = self.names.index(wanted)
        if self.encodings[number] not in encodings:
            raise SourceError(
                f"{self._name}: column {wanted!r} (source.{setting}) is encoded as {self.encodings[number]!r}; it must "
                f"be one of {', '.join(encodings)}"
            )
        return number

    def places(self, sample: int) -> list[tuple[int, int]]:
        """Return where each column of a sample begins and ends. Raises SourceError."""
        begin, end = int(self.bounds[sample]), int(self.bounds[sample + 1])
        head = self.sizes.count(None) * _WIDTH
        lengths = iter(
            np.frombuffer(self._read(begin, min(end, begin + head)), "<u4").tolist() if head <= end - begin else []
        )
        place, found = begin + head, list[tuple[int, int]]()
        for size in self.sizes:
            length = next(lengths, -1) if size is None else size
            if length < 0 or place + length > end:
                raise SourceError(f"{self._name}: sample {sample}: damaged: its columns need more bytes than it has")
            found.append((place, place + length))
            place += length
        return found

    def label(self, column: int, place: tuple[int, int], where: str) -> str:
        """Return the class that a column names. Raises SourceError."""
        begin, end = place
        if end - begin > _MOST_BYTES:
            raise SourceError(f"{where} has {end - begin} bytes: a label has {_MOST_BYTES} at most")
        content, encoding = self._read(begin, end), self.encodings[column]
        try:
            if encoding in _NUMBERS:
                return class_name(np.frombuffer(content, _NUMBERS[encoding], 1)[0], where)
            return class_name(content.decode(), where)
        except ValueError as error:
            raise SourceError(f"{where}: not of encoding {encoding!r}: {error}") from error


def read_mds(opened: BinaryIO, name: str, source: MdsSource) -> ShardIndex:
    """Return the items of a shard. Raises SourceError."""
    shard, index = _Shard(opened, name), ShardIndex()
    image = shard.column(source.image, "image", _IMAGES)
    label = shard.column(source.label, "label", (*_NUMBERS, *_TEXTS)) if source.label else 0
    for sample in range(len(shard.bounds) - 1):
        places = shard.places(sample)
        begin, end = places[image]
        if begin == end:
            raise SourceError(f"{name}: sample {sample}: {source.image} is empty: leave out what has no image")
        index.offsets.append(begin)
        index.lengths.append(end - begin)
        if source.label:
            where = f"{name}: sample {sample}: {source.label}"
            index.labels.append(shard.label(label, places[label], where))
    return index


def list_mds(source: MdsSource, roots: Roots) -> SpanListing:
    """Return the items of all shards. Raises SourceError."""
    return list_shards(source, roots, lambda opened, name: read_mds(opened, name, source))


KIND = SourceKind(MdsSource, list_mds, open_shards, splits=True, follows_links=True)
