"""Lists a manifest by whole columns, ten times faster than row by row, where nothing in it needs a closer look.

With whatever else is found (a value that is missing, a path that may lead outside, a row of another length), the caller
reads the rows one by one: that gives the same listing, or the error that names the row.
"""

# ruff: noqa: ANN401 - pyarrow has no types

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.sources.choice.table_rows import RowChoice
from penstock.sources.file_listing import MAX_PATH_BYTES, Builder
from penstock.sources.tables.arrow_column import ArrowColumn
from penstock.sources.tables.blocks import DOTS, Block, NotPlainError, Wanted
from penstock.sources.tables.csv_blocks import csv_blocks
from penstock.sources.tables.formats import is_json, is_parquet
from penstock.sources.tables.json_blocks import json_blocks
from penstock.sources.tables.parquet_blocks import parquet_blocks

#: A part of a path that leads upwards.
_UP = r"(^|/)\.\.(/|$)"
#: Labels whose numbers are remembered.
_KNOWN = 65_536


class WholeColumns:
    """Gathers the paths and labels of a manifest, block by block."""

    def __init__(
        self,
        wanted: Wanted,
        prefix: bytes,
        number: Callable[[object, str], int],
        choice: RowChoice,
        builder: Builder,
    ) -> None:
        """Take what stands before every path, what numbers a label, what chooses rows, and what gathers the items."""
        self._wanted, self._prefix, self._number, self._choice = wanted, prefix, number, choice
        self._builder = builder
        #: Number of each label so far.
        self._known: dict[object, int] = {}

    def gather(self, place: bytes, name: str, most_bytes: float) -> None:
        """Gather the rows of the manifest at `place`, which may take so many bytes. Raises NotPlainError."""
        try:
            pa = importlib.import_module("pyarrow")
            importlib.import_module("pyarrow.compute")
        except ImportError:
            raise NotPlainError from None
        try:
            for block in self._blocks(place, name):
                self._add(pa, block, name)
                if self._builder.listed_bytes > most_bytes:
                    raise NotPlainError
        except (pa.ArrowException, OSError, UnicodeError, SourceError) as error:  # told where the rows are read
            raise NotPlainError from error
        if not len(self._builder):
            raise NotPlainError

    def _blocks(self, place: bytes, name: str) -> Iterator[Block]:
        if is_parquet(place):
            return parquet_blocks(place, self._wanted, name)
        return json_blocks(place, self._wanted) if is_json(place) else csv_blocks(place, self._wanted)

    def _add(self, pa: Any, block: Block, name: str) -> None:
        """Add the rows of a block."""
        columns, weights = dict(block.columns), None
        if self._choice:
            rows = len(columns[self._wanted.path])
            chosen, weights = self._choice.of_columns(lambda column: ArrowColumn(columns[column], name), rows, name)
            if not chosen.all():
                bits = pa.py_buffer(np.packbits(chosen, bitorder="little"))
                mask = pa.BooleanArray.from_buffers(pa.bool_(), rows, [None, bits])  # pa.array would import pandas
                columns = {column: values.filter(mask) for column, values in columns.items()}
        paths = columns[self._wanted.path]
        if not len(paths):
            return
        content, lengths = self._paths(pa, paths, safe=block.safe)
        if self._wanted.label:
            labels = self._labels(ArrowColumn(columns[self._wanted.label], name), name)
        else:
            labels = np.full(len(paths), -1, np.int32)
        self._builder.extend(content, lengths, labels, weights)

    def _paths(self, pa: Any, paths: Any, *, safe: bool) -> tuple[memoryview, npt.NDArray[np.uint16]]:
        """Return paths one after the other, and the length of each."""
        if paths.null_count:
            raise NotPlainError
        if pa.types.is_dictionary(paths.type):
            longest = pa.compute.max(pa.compute.binary_length(paths.dictionary)).as_py()
            if longest is None or longest > MAX_PATH_BYTES:
                raise NotPlainError
            paths = paths.dictionary_decode()
        if not (pa.types.is_string(paths.type) or pa.types.is_large_string(paths.type)):
            raise NotPlainError
        text, lengths = _text(pa, paths)
        if not lengths.min() or (text[np.cumsum(lengths) - lengths] == ord("/")).any():
            raise NotPlainError
        if not safe:
            _check_safe(pa, paths, text)
        if self._prefix:
            text, lengths = _prefixed(text, lengths, self._prefix)
        if lengths.max() > MAX_PATH_BYTES:
            raise NotPlainError
        return text.data, lengths.astype(np.uint16)

    def _labels(self, labels: ArrowColumn, name: str) -> npt.NDArray[np.int32]:
        """Return the number of each label."""
        values, places = labels.encoded()
        used = np.zeros(len(values), np.bool_)
        used[places] = True
        numbers = np.zeros(len(values), np.int32)
        for at in np.flatnonzero(used).tolist():
            numbers[at] = self._numbered(values[at], name)
        found: npt.NDArray[np.int32] = numbers[places]
        return found

    def _numbered(self, label: object, name: str) -> int:
        found = self._known.get(label)
        if found is None:
            found = self._number(label, name)
            if len(self._known) < _KNOWN:
                self._known[label] = found
        return found


def _text(pa: Any, paths: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer[Any]]]:
    """Return the bytes of text, and how many each value has."""
    _, positions, content = paths.buffers()
    wide = np.dtype(np.int64 if pa.types.is_large_string(paths.type) else np.int32)
    ends = np.frombuffer(positions, wide)[paths.offset : paths.offset + len(paths) + 1]
    text = np.frombuffer(content if content is not None else b"", np.uint8)
    return text[ends[0] : ends[-1]], np.diff(ends)


def _prefixed(
    text: npt.NDArray[np.uint8], lengths: npt.NDArray[np.integer[Any]], prefix: bytes
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer[Any]]]:
    """Return text with a prefix before each value, and the length of each."""
    ends = np.cumsum(lengths)
    found = np.insert(text, np.repeat(ends - lengths, len(prefix)), np.tile(np.frombuffer(prefix, np.uint8), len(ends)))
    return found, lengths + len(prefix)


def _check_safe(pa: Any, paths: Any, text: npt.NDArray[np.uint8]) -> None:
    """Raise NotPlainError if a path holds what it must not."""
    content = text.tobytes()
    if b"\\" in content or b"\0" in content:
        raise NotPlainError
    if DOTS.search(content) and pa.compute.any(pa.compute.match_substring_regex(paths, _UP)).as_py():
        raise NotPlainError
