"""What the readers of whole columns have in common: the columns that are wanted, and some rows that were read."""

# ruff: noqa: ANN401 - pyarrow has no types

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

#: A byte-order mark.
MARK = "\ufeff".encode()
#: Two dots in a row; as a pattern, it is found in a third of the time that `in` takes for two equal bytes.
DOTS = re.compile(rb"\.\.")


class NotPlainError(Exception):
    """The file needs to be read row by row."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns that are wanted."""

    #: Each with the setting that names it.
    columns: Mapping[str, str]
    path: str
    #: Empty: no labels.
    label: str
    #: Column of the weights; empty: none.
    weight: str = ""


class Block(NamedTuple):
    """Some rows of a table."""

    #: Arrays of pyarrow by the name of the column, all of one length.
    columns: Mapping[str, Any]
    #: Whether no path has a backslash, a NUL or two dots in a row.
    safe: bool = False


def block_of(batch: Any, wanted: Wanted, *, safe: bool = False) -> Block:
    """Return the wanted columns of a record batch."""
    at = batch.schema.get_field_index
    return Block({column: batch.column(at(column)) for column in wanted.columns}, safe)


def has_long_line(block: bytearray, end: int, limit: int) -> bool:
    """Return whether a line of the first `end` bytes is longer than `limit` bytes."""
    at = 0
    while end - at > limit:
        at = block.rfind(b"\n", at, at + limit + 1) + 1
        if not at:
            return True
    return False
