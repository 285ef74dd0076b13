"""Reads columns of text of a Parquet file in bounded memory, however small the file that they are repeated in.

pyarrow allocates what a page's header claims, and a page of a few hundred bytes may claim two gigabytes. So the headers
are read first; each is a struct of Thrift's compact protocol.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from penstock.protocol.errors import SourceError

#: Most bytes that one page of text may unpack to: pyarrow's own pages have 1 MB, or 1,024 values that are longer.
MOST_PAGE_BYTES = 128_000_000
#: How many times as much a larger page of images may unpack to.
_IMAGE_SHARE = 20
#: Most rows that are unpacked together, and bytes that they may take where values may share their beginnings: no
#: value is longer than its page.
_MOST_ROWS, _BATCH_BYTES = 65_536, 64_000_000
#: Bytes of a column chunk that are read at once.
_BUFFER_BYTES = 1_000_000
#: Bytes in which a header is looked for at first, and the largest one; most structs in structs.
_FIRST, _LARGEST, _DEPTH = 4096, 1_000_000, 8
#: Encodings DELTA_LENGTH_BYTE_ARRAY and DELTA_BYTE_ARRAY; in the latter, values may begin as the one before does.
_DELTA = frozenset({6, 7})
#: Fields of a page header: sizes of the page, and the header of a data page of either version, or of a dictionary, with
#: its encoding; fields of these: how many values there are.
_UNPACKED, _PACKED, _DICTIONARY, _DATA, _VALUES = 2, 3, 7, ((5, 2), (8, 4), (7, 2)), 1
#: Types of the compact protocol, and how many bytes those of fixed size take.
_TRUE, _FALSE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 8, 9, 10, 11, 12
_INTEGERS, _FIXED = frozenset({4, 5, 6}), {3: 1, 7: 8}


@dataclass(frozen=True, slots=True)
class Page:
    """What a page's header says."""

    unpacked: int
    packed: int
    #: Number of the page's encoding, and of its values; -1 and 0 if the header does not say.
    encoding: int
    values: int
    #: Whether it holds the column chunk's dictionary.
    is_dictionary: bool
    #: Where in the file its content begins.
    at: int = 0


def text_batches(
    opened: BinaryIO,
    metadata: Any,  # noqa: ANN401 - untyped
    columns: Sequence[str],
    name: str,
    plain_rows: Callable[[int, Sequence[Any], str], int] | None = None,
) -> Iterator[Any]:
    """Yield these columns of an open Parquet file in record batches, repeated text as dictionaries where that goes.

    The first one is read as it is, so many rows at once as `plain_rows` says, unless it says 0. Raises SourceError,
    which begins with `name`, if a page would take too much memory, and what pyarrow raises.
    """
    parquet = importlib.import_module("pyarrow.parquet")
    chunks = [
        chunk
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, range(group.num_columns))
        if not {chunk.path_in_schema, chunk.path_in_schema.split(".")[0]}.isdisjoint(columns)
    ]
    rows = _rows_at_once(opened.fileno(), chunks, name)
    dictionaries = None if rows else {chunk.path_in_schema for chunk in chunks}
    if dictionaries and plain_rows is not None:
        first = [chunk for chunk in chunks if chunk.path_in_schema == columns[0]]
        rows = plain_rows(opened.fileno(), first, name)
        dictionaries -= {columns[0]} if rows else set()
    with parquet.ParquetFile(
        opened,
        metadata=metadata,
        read_dictionary=None if dictionaries is None else list(dictionaries),
        pre_buffer=False,
        buffer_size=_BUFFER_BYTES,
    ) as file:
        yield from file.iter_batches(rows or _MOST_ROWS, columns=list(columns))


def check_images(descriptor: int, chunk: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """Raise SourceError, which begins with `name`, if a page of images of an open file is small and unpacks to much."""
    for page in pages_of(descriptor, chunk, name):
        if page.unpacked > max(MOST_PAGE_BYTES, _IMAGE_SHARE * page.packed):
            raise SourceError(
                f"{name}: a page of images unpacks from {page.packed / 1e6:,.1f} to {page.unpacked / 1e6:,.0f} MB, and "
                f"above {MOST_PAGE_BYTES / 1e6:.0f} MB at most {_IMAGE_SHARE} times as much is read: write small pages"
            )


def _rows_at_once(descriptor: int, chunks: Sequence[Any], name: str) -> int | None:
    """Return how many rows of these column chunks of an open Parquet file may be unpacked together.

    None: any number, if repeated text is read as a dictionary, which pyarrow cannot do in the other cases. Raises
    SourceError, which begins with `name`, if a page would take too much memory or its header is damaged.
    """
    largest, delta = 1, False
    for chunk in chunks:
        for page in pages_of(descriptor, chunk, name):
            if page.unpacked > MOST_PAGE_BYTES:
                raise SourceError(
                    f"{name}: a page of column {chunk.path_in_schema!r} unpacks to {page.unpacked / 1e6:,.0f} MB; "
                    f"at most {MOST_PAGE_BYTES / 1e6:.0f}: write it with smaller pages (data_page_size)"
                )
            largest, delta = max(largest, page.unpacked), delta or page.encoding in _DELTA
    return min(_MOST_ROWS, max(1, _BATCH_BYTES // largest)) if delta else None


def pages_of(descriptor: int, chunk: Any, name: str) -> Iterator[Page]:  # noqa: ANN401 - untyped
    """Yield the pages of a column chunk."""
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    stop = at + chunk.total_compressed_size
    while at < stop:
        header, size = _header(descriptor, at, name)
        page = _page(header)
        if page is None:
            raise SourceError(f"{name}: not a whole Parquet file: the page at byte {at} has no sizes; write it anew")
        yield replace(page, at=at + size)
        at += size + page.packed


def _header(descriptor: int, at: int, name: str) -> tuple[dict[int, Any], int]:
    for size in (_FIRST, _LARGEST):
        try:
            return Compact(os.pread(descriptor, size, at)).struct()
        except (IndexError, OverflowError):
            continue  # it is longer, or damaged
    raise SourceError(f"{name}: not a whole Parquet file: no page at byte {at}; copy or write it anew")


def _page(header: dict[int, Any]) -> Page | None:
    sizes = header.get(_UNPACKED), header.get(_PACKED)
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        return None
    for field, encoding in _DATA:
        if isinstance(header.get(field), dict):
            kind, values = header[field].get(encoding), header[field].get(_VALUES)
            if not (isinstance(kind, int) and isinstance(values, int) and values >= 0):
                kind, values = -1, 0
            return Page(*sizes, kind, values, is_dictionary=field == _DICTIONARY)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return Page(*sizes, -1, 0, is_dictionary=False)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Compact:
    """Parses a struct; raises IndexError where the bytes end, and OverflowError where it is too deep or too large."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> tuple[dict[int, Any], int]:
        """Return the integers and structs of the struct at the beginning, by field, and its length in bytes."""
        return self._struct(0), self._at

    def _struct(self, depth: int) -> dict[int, Any]:
        if depth > _DEPTH:
            raise OverflowError
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401 - an integer, a struct, or nothing
        if kind in {_TRUE, _FALSE}:
            return None
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self._struct(depth + 1)
        if kind in {_LIST, _SET}:
            head = self._byte()
            count, of = head >> 4, head & 15
            self._values([of], self._varint() if count == 15 else count, depth)  # noqa: PLR2004 - says that it follows
        elif kind == _MAP:
            if count := self._varint():
                kinds = self._byte()
                self._values([kinds >> 4, kinds & 15], count, depth)
        elif kind == _BINARY:
            self._skip(self._varint())
        elif kind in _FIXED:
            self._skip(_FIXED[kind])
        else:
            raise OverflowError
        return None

    def _values(self, kinds: list[int], count: int, depth: int) -> None:
        for _ in range(count):
            for kind in kinds:
                if kind in {_TRUE, _FALSE}:
                    self._byte()
                else:
                    self._value(kind, depth + 1)

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:  # noqa: PLR2004 - the last byte
                return value
            if shift > 63:  # noqa: PLR2004 - of 64 bits
                raise OverflowError

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
