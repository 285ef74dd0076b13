"""The kind "tfrecord": records of `tf.train.Example`, whose images are read where they lie. TensorFlow is not needed.

A record is its length (8 bytes, little-endian), the length's checksum, the data, and the data's checksum. The
ventilator walks the records once and checks the lengths; `example.py` finds the features inside.
"""

import os
import struct
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Literal

import numpy as np
from pydantic import Field

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.labels import class_name, some
from penstock.sources.base import Roots, SourceKind
from penstock.sources.containers.example import Feature, find_features
from penstock.sources.containers.shard_index import MAGIC_BYTES, ShardIndex, refuse_compressed
from penstock.sources.containers.shards import ShardSource, list_shards, open_shards
from penstock.sources.span_listing import SpanListing

_HEADER = struct.Struct("<QI")
#: Bytes of the data's checksum.
_FOOTER_BYTES = 4
#: The polynomial of CRC-32C (Castagnoli) with its bits reversed, and what TFRecord adds to a rotated checksum.
_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8


class TfRecordSource(ShardSource):
    """TFRecord files of `tf.train.Example`, not compressed."""

    kind: Literal["tfrecord"]
    """Says that these are TFRecord files."""
    image: Annotated[str, Field(min_length=1)] = "image/encoded"
    """Feature with the bytes of an image file."""
    label: str = "image/class/label"
    """Feature with the class name or number. Empty: no labels."""


def _remainders() -> list[int]:
    table = list[int]()
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)  # noqa: PLW2901 - bit by bit
        table.append(value)
    return table


_TABLE = _remainders()


def masked_crc(content: bytes) -> int:
    """Return the checksum of some bytes as TFRecord stores it: CRC-32C, rotated, with a constant added."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def records(opened: BinaryIO, name: str) -> Iterator[tuple[int, int]]:
    """Yield where the data of each record begins and ends. Raises SourceError."""
    offset, size = 0, os.fstat(opened.fileno()).st_size
    while offset < size:
        opened.seek(offset)
        header = opened.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise SourceError(f"{name}: cut short: a record's header at byte {offset} is not whole; copy it anew")
        length, checksum = _HEADER.unpack(header)
        if masked_crc(header[:8]) != checksum:
            if not offset:  # a length can begin like any magic number, so that its checksum comes first
                refuse_compressed(header[:MAGIC_BYTES], name, "a TFRecord file without compression")
            raise SourceError(
                f"{name}: no record at byte {offset}: the checksum of its length is wrong; the file is damaged, or not "
                "a TFRecord file"
            )
        begin = offset + _HEADER.size
        offset = begin + length + _FOOTER_BYTES
        if offset > size:
            raise SourceError(f"{name}: cut short: a record ends at byte {offset}, the file at {size}; copy it anew")
        yield begin, begin + length


def read_tfrecord(opened: BinaryIO, name: str, source: TfRecordSource) -> ShardIndex:
    """Return the items of a file. Raises SourceError."""
    index = ShardIndex()
    for number, (begin, end) in enumerate(records(opened, name)):
        where = f"{name}: record {number}"
        found = find_features(opened, begin, end, where)
        image = _feature(found, source.image, "image", where)
        spans = image.byte_spans(f"{where}: {source.image}")
        if len(spans) != 1 or not spans[0][1]:
            raise SourceError(
                f"{where}: {source.image} must hold the bytes of one image file, not {len(spans)} of them"
            )
        index.offsets.append(spans[0][0])
        index.lengths.append(spans[0][1])
        if source.label:
            feature, place = _feature(found, source.label, "label", where), f"{where}: {source.label}"
            index.labels.append(_class(feature, place))
    return index


def _feature(found: dict[str, Feature], wanted: str, setting: str, where: str) -> Feature:
    if wanted not in found:
        hint = "; label = '' reads no labels" if setting == "label" else ""
        raise SourceError(f"{where} has no feature {wanted!r} (source.{setting}); it has {some(sorted(found))}{hint}")
    return found[wanted]


def _class(feature: Feature, where: str) -> str:
    values = feature.values(where)
    if len(values) != 1:
        raise SourceError(f"{where} holds {len(values)} values: a label is one; label = '' reads no labels")
    [value] = values
    if not isinstance(value, bytes):
        return class_name(np.float32(value) if isinstance(value, float) else value, where)
    try:
        return class_name(value.decode(), where)
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: not text in UTF-8: {error}") from error


def list_tfrecord(source: TfRecordSource, roots: Roots) -> SpanListing:
    """Return the items of all files. Raises SourceError."""
    return list_shards(source, roots, lambda opened, name: read_tfrecord(opened, name, source))


KIND = SourceKind(TfRecordSource, list_tfrecord, open_shards, splits=True, follows_links=True)
