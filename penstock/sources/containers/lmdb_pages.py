"""Finds the keys of an LMDB data base and where their values lie, without the library and its lock file.

The file is pages of one size. Pages 0 and 1 hold the state of the last two transactions; the newer one names the root
of a tree of pages, whose leaves hold keys and values. A large value lies in pages of its own, one after the other.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from penstock.protocol.errors import SourceError

_MAGIC, _VERSION = 0xBEEFC0DE, 1
#: A page: number, unused, what it is, and where its free space begins and ends.
_PAGE = struct.Struct("<QHHHH")
_BRANCH, _LEAF = 1, 2
#: The state: magic number, version, two unused; page size, and the rest of the free list; eight numbers of the tree, of
#: which the last is its root page; last page and transaction.
_STATE = struct.Struct("<IIQQ I44x 4xHH4Q Q Q Q")
#: A node: lower and higher part of a size (or a page's number), what it is, and the key's length.
_NODE = struct.Struct("<HHHH")
_BIG, _SUBTREE, _SEVERAL = 1, 2, 4
#: The root of an empty tree.
_NONE = 0xFFFFFFFFFFFFFFFF
#: Smallest and largest page.
_PAGE_BYTES = (512, 65_536)
#: Levels of a tree.
_DEPTH = 32


class Value(NamedTuple):
    """A key, and where its value lies."""

    key: bytes
    offset: int
    length: int


def values(opened: BinaryIO, name: str) -> Iterator[Value]:
    """Yield all keys, sorted by their bytes. Raises SourceError."""
    opened.seek(0)
    start = opened.read(_PAGE.size + _STATE.size)
    try:
        magic, version, _, _, page_bytes, *_ = _STATE.unpack_from(start, _PAGE.size)
    except struct.error:
        magic, version, page_bytes = 0, 0, 0
    if magic != _MAGIC or not _PAGE_BYTES[0] <= page_bytes <= _PAGE_BYTES[1]:
        raise SourceError(f"{name}: no data base of LMDB: the file `data.mdb` in its folder is one")
    if version != _VERSION:
        raise SourceError(
            f"{name}: LMDB's format {version} is not supported, only {_VERSION}: write it anew by mdb_copy"
        )
    return _Tree(opened, name, page_bytes).walk()


class _Tree:
    """The pages of an open file."""

    def __init__(self, opened: BinaryIO, name: str, page_bytes: int) -> None:
        self._opened, self._name, self._page_bytes = opened, name, page_bytes
        self._size = opened.seek(0, 2)
        self._left = self._size // page_bytes

    def walk(self) -> Iterator[Value]:
        """Yield what the newer state's tree holds."""
        roots: list[tuple[int, int]] = []
        for number in (0, 1):
            page = self._page(number)
            found = _STATE.unpack_from(page, _PAGE.size)
            if found[0] == _MAGIC:
                roots.append((found[-1], found[-3]))
        if not roots:
            raise self._damaged(0)
        root = max(roots)[1]
        if root != _NONE:
            yield from self._below(root, 0)

    def _below(self, number: int, depth: int) -> Iterator[Value]:
        """Yield what a page and those below it hold, in the order of keys."""
        page = self._page(number)
        found, _, kind, lower, _ = _PAGE.unpack_from(page)
        self._left -= 1
        if found != number or depth > _DEPTH or self._left < 0 or not _PAGE.size <= lower <= self._page_bytes:
            raise self._damaged(number)
        for place in struct.unpack_from(f"<{(lower - _PAGE.size) // 2}H", page, _PAGE.size):
            if place + _NODE.size > self._page_bytes:
                raise self._damaged(number)
            low, high, flags, key_bytes = _NODE.unpack_from(page, place)
            if kind & _BRANCH:
                yield from self._below(low | high << 16 | flags << 32, depth + 1)
            elif kind & _LEAF:
                yield self._value(number, page, place, (low | high << 16, flags, key_bytes))
            else:
                raise self._damaged(number)

    def _value(self, number: int, page: bytes, place: int, node: tuple[int, int, int]) -> Value:
        length, flags, key_bytes = node
        begin = place + _NODE.size + key_bytes
        key = page[place + _NODE.size : begin]
        if flags & (_SUBTREE | _SEVERAL):
            what = "several values" if flags & _SEVERAL else "a data base of its own"
            raise SourceError(
                f"{self._name}: key {key!r} holds {what}: only one data base with one value a key is read"
            )
        if begin + (8 if flags & _BIG else length) > self._page_bytes:
            raise self._damaged(number)
        if not flags & _BIG:
            return Value(key, number * self._page_bytes + begin, length)
        (first,) = struct.unpack_from("<Q", page, begin)
        offset = first * self._page_bytes + _PAGE.size
        if offset + length > self._size:
            raise SourceError(
                f"{self._name}: cut short: key {key!r} ends at byte {offset + length}, the file at {self._size}"
            )
        return Value(key, offset, length)

    def _page(self, number: int) -> bytes:
        offset = number * self._page_bytes
        if offset + self._page_bytes > self._size:
            raise SourceError(
                f"{self._name}: cut short or damaged: page {number} ends at byte {offset + self._page_bytes}, the file "
                f"at {self._size}"
            )
        self._opened.seek(offset)
        return self._opened.read(self._page_bytes)

    def _damaged(self, number: int) -> SourceError:
        return SourceError(f"{self._name}: damaged: page {number} is no page of its tree; copy it anew by mdb_copy")
