"""Reads a CSV file by whole columns, where it is no more than lines and commas: no quotes, no carriage returns."""

# ruff: noqa: ANN401 - pyarrow has no types

import csv
import importlib
from collections.abc import Iterator
from typing import Any

from penstock.sources.tables.blocks import DOTS, MARK, Block, NotPlainError, Wanted, block_of, has_long_line
from penstock.sources.tables.text_blocks import text_blocks

#: What makes CSV more than lines and commas; what a path must not hold.
_NOT_PLAIN, _UNSAFE = (b'"', b"\r"), (b"\\", b"\0")
#: Bytes that a thread of pyarrow parses at once.
_PARSED = 2_000_000


def csv_blocks(place: bytes, wanted: Wanted) -> Iterator[Block]:
    """Yield the rows of the file at `place`. Raises NotPlainError, OSError, UnicodeError and what pyarrow raises."""
    read = importlib.import_module("pyarrow.csv")
    header: list[str] = []
    for block, end in text_blocks(place):
        begin = 0
        if not header:
            begin = block.find(b"\n", 0, end) + 1
            header = _header(block, begin, wanted)
        if _is_special(block, end, begin):
            raise NotPlainError
        safe = DOTS.search(block, begin, end) is None and not any(block.find(each, begin, end) >= 0 for each in _UNSAFE)
        table = _parsed(read, memoryview(block)[begin:end], header, wanted)
        for batch in table.to_batches():
            yield block_of(batch, wanted, safe=safe)


def _header(block: bytearray, end: int, wanted: Wanted) -> list[str]:
    """Return the columns of the file. Raises NotPlainError unless each one that is wanted is there once."""
    header = bytes(block[:end]).decode("utf-8-sig").rstrip("\n").split(",")
    if any(header.count(column) != 1 for column in wanted.columns):
        raise NotPlainError
    return header


def _is_special(block: bytearray, end: int, begin: int) -> bool:
    """Return whether a part of the file needs a closer look. Raises UnicodeError if it is not UTF-8."""
    if not block.isascii():
        block[:end].decode()  # also the columns that pyarrow does not look into
        if block.find(MARK, len(MARK) if begin and block.startswith(MARK) else 0, end) >= 0:
            return True  # pyarrow leaves it out at the start of each of its blocks, not of the file only
    if any(block.find(each, 0, end) >= 0 for each in _NOT_PLAIN):
        return True
    return has_long_line(block, end, csv.field_size_limit())  # one so long is refused row by row


def _parsed(read: Any, block: memoryview, header: list[str], wanted: Wanted) -> Any:
    pa = importlib.import_module("pyarrow")
    text, listed = pa.string(), pa.dictionary(pa.int32(), pa.string())
    types = {column: text if column in {wanted.path, wanted.weight} else listed for column in wanted.columns}
    return read.read_csv(
        pa.BufferReader(pa.py_buffer(block)),
        read_options=read.ReadOptions(column_names=header, block_size=_PARSED),
        parse_options=read.ParseOptions(quote_char=False),
        convert_options=read.ConvertOptions(
            include_columns=list(wanted.columns), column_types=types, strings_can_be_null=False, check_utf8=False
        ),
    )
