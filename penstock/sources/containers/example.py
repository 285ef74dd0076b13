"""Finds the features of a serialised `tf.train.Example` in a file, without reading the bytes of its images.

Only the few fields of protocol buffers that an Example uses are understood; a field of another number is skipped.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from penstock.protocol.errors import SourceError

#: How protocol buffers write a field: as a variable-length integer, in 8 bytes, with its length, or in 4 bytes.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
#: Most bytes of a variable-length integer.
_VARINT_BYTES = 10
#: Most bytes of a feature's name, or of a label's values: longer ones are something else.
_MOST_BYTES = 1_048_576
#: Numbers of the lists that a feature can hold.
_BYTES, _FLOATS, _INTEGERS = 1, 2, 3


class _Field(NamedTuple):
    number: int
    wire: int
    #: Where the field's content begins and ends; of a variable-length integer, its value and 0.
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Feature:
    """A named list of values in an Example."""

    opened: BinaryIO
    begin: int
    end: int

    def byte_spans(self, where: str) -> list[tuple[int, int]]:
        """Return offset and length of each value of a list of bytes. Raises SourceError for another list."""
        spans = list[tuple[int, int]]()
        for kind in _messages(self.opened, self.begin, self.end, where):
            if kind.number != _BYTES:
                raise SourceError(f"{where} is a list of numbers, and must be a list of bytes")
            spans += [(v.begin, v.end - v.begin) for v in _messages(self.opened, kind.begin, kind.end, where)]
        return spans

    def values(self, where: str) -> list[bytes | int | float]:
        """Return the values. Raises SourceError if they are too long for a label."""
        if self.end - self.begin > _MOST_BYTES:
            raise SourceError(f"{where} has {self.end - self.begin} bytes: a label has {_MOST_BYTES} at most")
        found: list[bytes | int | float] = []
        for kind in _messages(self.opened, self.begin, self.end, where):
            for value in _fields(self.opened, kind.begin, kind.end, where):
                found += _values(self.opened, kind.number, value, where)
        return found


def _values(opened: BinaryIO, kind: int, value: _Field, where: str) -> list[bytes | int | float]:
    """Return the values of one field of a list: several if they are packed."""
    if kind == _INTEGERS and value.wire == _VARINT:
        return [_signed(value.begin)]
    if value.wire == _VARINT:
        raise SourceError(f"{where}: no tf.train.Example: an integer in a list of bytes or floats")
    content = _read(opened, value.begin, value.end)
    if kind == _INTEGERS:
        packed, place = list[bytes | int | float](), 0
        while place < len(content):
            number, place = _varint(content, place, where)
            packed.append(_signed(number))
        return packed
    if kind == _FLOATS:
        if len(content) % 4:
            raise SourceError(f"{where}: damaged: {len(content)} bytes are no list of floats")
        return [number for (number,) in struct.iter_unpack("<f", content)]
    return [content]


def find_features(opened: BinaryIO, begin: int, end: int, where: str) -> dict[str, Feature]:
    """Return the features of the Example between two offsets of a file, by name. Raises SourceError."""
    found: dict[str, Feature] = {}
    for features in _nested(opened, begin, end, where):
        for entry in _nested(opened, features.begin, features.end, where):
            name, feature = "", None
            for part in _messages(opened, entry.begin, entry.end, where):
                if part.number == 1:
                    if part.end - part.begin > _MOST_BYTES:
                        raise SourceError(f"{where}: damaged: a feature's name has {part.end - part.begin} bytes")
                    name = _read(opened, part.begin, part.end).decode(errors="backslashreplace")
                elif part.number == 2:  # noqa: PLR2004 - the field's number
                    feature = Feature(opened, part.begin, part.end)
            found[name] = feature or Feature(opened, end, end)
    return found


def _nested(opened: BinaryIO, begin: int, end: int, where: str) -> Iterator[_Field]:
    """Yield the messages in field 1: an Example's features, and the entries of these."""
    return (each for each in _messages(opened, begin, end, where) if each.number == 1)


def _messages(opened: BinaryIO, begin: int, end: int, where: str) -> Iterator[_Field]:
    """Yield the fields that have a length: messages, bytes and packed numbers."""
    return (each for each in _fields(opened, begin, end, where) if each.wire == _LENGTH)


def _fields(opened: BinaryIO, begin: int, end: int, where: str) -> Iterator[_Field]:
    """Yield the fields between two offsets of a file. Raises SourceError."""
    while begin < end:
        head = _read(opened, begin, min(end, begin + 2 * _VARINT_BYTES))
        tag, used = _varint(head, 0, where)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, used = _varint(head, used, where)
            begin += used
            yield _Field(number, wire, value, 0)
            continue
        if wire == _LENGTH:
            length, used = _varint(head, used, where)
        elif wire in {_FIXED32, _FIXED64}:
            length = 4 if wire == _FIXED32 else 8
        else:
            raise SourceError(
                f"{where}: no tf.train.Example: a field of type {wire}, which protocol buffers do not have"
            )
        content = begin + used
        begin = content + length
        if begin > end:
            raise SourceError(f"{where}: no whole tf.train.Example: a field ends {begin - end} bytes behind the record")
        yield _Field(number, wire, content, begin)


def _varint(content: bytes, place: int, where: str) -> tuple[int, int]:
    """Return a variable-length integer and where it ends."""
    value = 0
    for count in range(_VARINT_BYTES):
        if place + count >= len(content):
            break
        byte = content[place + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no high bit
            return value & 0xFFFFFFFFFFFFFFFF, place + count + 1
    raise SourceError(f"{where}: no whole tf.train.Example: an integer in it does not end")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _read(opened: BinaryIO, begin: int, end: int) -> bytes:
    opened.seek(begin)
    return opened.read(end - begin)
