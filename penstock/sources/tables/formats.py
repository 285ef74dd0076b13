"""Reads the rows of a table: CSV, JSON lines or Parquet. Every error names the file and the row."""

# Paths are bytes here: names are taken as they are on disk.
# ruff: noqa: PTH123

import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.labels import some
from penstock.sources.containers.columns import check_listed, column_values, import_pyarrow
from penstock.sources.tables.parquet_pages import text_batches

#: Bytes of memory that the listing of a Parquet file may take, and so many times the file's size in addition: text may
#: be repeated there for next to nothing.
_LISTED_BYTES, _LISTED_SHARE = 100_000_000, 200

#: A row's number in the file, and its values in the order of the wanted columns.
Row = tuple[int, Sequence[Any]]
#: The wanted columns, and for each the setting that names it.
Wanted = Mapping[str, str]

_JSON_SUFFIXES = (".jsonl", ".ndjson")
_PARQUET_SUFFIXES = (".parquet", ".pq")


def rows_of(place: bytes, name: str, wanted: Wanted) -> Iterator[Row]:
    """Yield the rows of the table at `place`, which messages call `name`. Raises SourceError."""
    read: Callable[[str, bytes, Wanted], Iterator[Row]] = _csv_rows
    if is_parquet(place):
        read = _parquet_rows
    elif is_json(place):
        read = _json_rows
    return read(name, place, wanted)


def is_parquet(place: bytes) -> bool:
    """Return whether a table is a Parquet file, by its name."""
    return place.lower().endswith(tuple(map(str.encode, _PARQUET_SUFFIXES)))


def is_json(place: bytes) -> bool:
    """Return whether a table is of JSON lines, by its name."""
    return place.lower().endswith(tuple(map(str.encode, _JSON_SUFFIXES)))


def most_listed(place: bytes) -> float:
    """Return how many bytes the listing of a table may take. Text of the others takes as many bytes in the file."""
    try:
        return _LISTED_BYTES + _LISTED_SHARE * os.stat(place).st_size if is_parquet(place) else math.inf  # noqa: PTH116
    except OSError:  # opening it says so in words
        return math.inf


def row_name(path: str, number: int | None) -> str:
    """Return how messages name a row of the file with this path: by its line, its number in Parquet, or COCO's id."""
    kind = (
        "row" if path.lower().endswith(_PARQUET_SUFFIXES) else "image id" if path.lower().endswith(".json") else "line"
    )
    return f"{path}, {kind} {number}"


def _places(name: str, header: Sequence[str], wanted: Wanted) -> list[int]:
    """Return where the wanted columns stand."""
    for column, setting in wanted.items():
        if header.count(column) != 1:
            count = "has no" if column not in header else "has more than one"
            raise SourceError(f"{name}: {count} column {column!r} ({setting}); its columns: {some(header)}")
    return [header.index(column) for column in wanted]


def _csv_rows(name: str, place: bytes, wanted: Wanted) -> Iterator[Row]:
    line = 0
    try:
        with open(place, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            places = _places(name, header, wanted)
            for row in reader:
                line = reader.line_num
                if not row:
                    continue
                if len(row) != len(header):  # a comma that is not quoted would shift path and label
                    raise SourceError(
                        f"{name}, line {line}: the row has {len(row)} fields, the header {len(header)}: {some(row)}; "
                        "put quotes around fields that hold commas"
                    )
                yield line, [row[at] for at in places]
    except csv.Error as error:
        raise SourceError(f"{name}, after line {line}: not valid CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 text: {error}; save the manifest as UTF-8") from error
    except OSError as error:
        raise SourceError(f"{name}: cannot read the manifest: {error.strerror}") from error


def _json_rows(name: str, place: bytes, wanted: Wanted) -> Iterator[Row]:
    """Yield each line's values; None where a line lacks one, which the caller refuses or takes for an empty cell."""
    line, missing = 0, set(wanted)
    try:
        with open(place, encoding="utf-8-sig") as file:
            for line, text in enumerate(file, 1):
                if not text.strip():
                    continue
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise SourceError(f'{name}, line {line}: must be an object such as {{"path": …}}, is {text[:60]!r}')
                missing -= row.keys()
                yield line, [row.get(column) for column in wanted]
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 text: {error}; save the manifest as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name}, line {line}: not valid JSON: {error}; each line holds one object") from error
    except OSError as error:
        raise SourceError(f"{name}: cannot read the manifest: {error.strerror}") from error
    if line and missing:
        column = min(missing)
        raise SourceError(f"{name}: no line has {column!r} ({wanted[column]})")


def _parquet_rows(name: str, place: bytes, wanted: Wanted) -> Iterator[Row]:
    pa = import_pyarrow(name, ", or give a CSV file")
    number = 0
    try:
        with open(place, "rb") as opened, pa.parquet.ParquetFile(opened) as file:
            _places(name, file.schema_arrow.names, wanted)
            check_listed(file.schema_arrow, wanted, name)
            for batch in text_batches(opened, file.metadata, list(wanted), name):
                columns = [column_values(batch.column(column), name) for column in wanted]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield number, values
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: cannot read the Parquet file after row {number}: {error}") from error
