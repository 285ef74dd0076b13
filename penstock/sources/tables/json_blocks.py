"""Reads JSON lines by whole columns, where each line is an object and a column holds values of one kind.

What the other columns hold is passed over, however deeply it is nested.
"""

import importlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from penstock.sources.tables.arrow_column import EXACT, floats
from penstock.sources.tables.blocks import DOTS, MARK, Block, NotPlainError, Wanted, block_of
from penstock.sources.tables.text_blocks import text_blocks

#: What stands between two lines, which are then one object each: a line break within an object has no brace on both
#: of its sides.
_BETWEEN = b"}\n{"
_UNSAFE = (b"\\", b"\0")
#: Bytes that a thread of pyarrow parses at once.
_PARSED = 2_000_000


def json_blocks(place: bytes, wanted: Wanted) -> Iterator[Block]:
    """Yield the rows of the file at `place`. Raises NotPlainError, OSError, UnicodeError and what pyarrow raises."""
    pa, read = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.json")
    schema = None
    for block, end in text_blocks(place):
        begin = len(MARK) if schema is None and block.startswith(MARK) else 0
        if schema is None:
            schema = _schema(pa, bytes(block[begin:end]).partition(b"\n")[0], wanted)
        lines = _lines(block, begin, end)
        safe = DOTS.search(block, begin, end) is None and not any(block.find(each, begin, end) >= 0 for each in _UNSAFE)
        table = read.read_json(
            pa.BufferReader(pa.py_buffer(memoryview(block)[begin:end])),
            read_options=read.ReadOptions(block_size=_PARSED),
            parse_options=read.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
        if len(table) != lines:
            raise NotPlainError
        for batch in table.to_batches():
            found = block_of(batch, wanted, safe=safe)
            _check_numbers(pa, found)
            yield found


def _schema(pa: Any, line: bytes, wanted: Wanted) -> Any:  # noqa: ANN401 - untyped
    """Return the types of the wanted columns, which are those of the first line. Raises NotPlainError."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NotPlainError from error
    kinds = {str: pa.string(), bool: pa.bool_(), int: pa.float64(), float: pa.float64()}
    if not isinstance(row, dict) or any(type(row.get(column)) not in kinds for column in wanted.columns):
        raise NotPlainError
    return pa.schema([(column, kinds[type(row[column])]) for column in wanted.columns])


def _lines(block: bytearray, begin: int, end: int) -> int:
    """Return how many lines a block has. Raises NotPlainError unless each begins and ends with a brace.

    Raises UnicodeError if it is not UTF-8.
    """
    if not block.isascii():
        block[begin:end].decode()  # also the columns that pyarrow does not look into
    last = end - 1 if block[end - 1] == ord("\n") else end
    breaks = block.count(b"\n", begin, last)
    if block.count(_BETWEEN, begin, last) != breaks or block.find(b"\r", begin, end) >= 0:
        raise NotPlainError
    if last <= begin or block[begin] != ord("{") or block[last - 1] != ord("}"):
        raise NotPlainError
    return breaks + 1


def _check_numbers(pa: Any, block: Block) -> None:  # noqa: ANN401 - untyped
    """Raise NotPlainError if a number is too large to be read as a float and stay what it is."""
    for column in block.columns.values():
        if pa.types.is_float64(column.type) and not np.abs(floats(column)).max(initial=0.0) < EXACT:
            raise NotPlainError
