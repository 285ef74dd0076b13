"""Manifest files to listings: CSV and Parquet with a row an image. Owns columns, labels and the words for a bad row.

The order is the file's own: a manifest may fix the order of a stream that is not shuffled, and may name a file twice.
Refuses to know the images: there may be a hundred million, so the worker checks each path when it opens it.
"""

# Paths are bytes here: names are taken as they are on disk.
# ruff: noqa: PTH113, PTH123

import csv
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import ManifestSource
from penstock.ventilator.sources.listing import MAX_PATH_BYTES, Listing, ListingBuilder, prefix_of

#: Rows of a Parquet file that are Python objects at once.
_PARQUET_ROWS = 65_536
#: Most names that an error lists.
_SHOWN = 20
#: Labels of at most this many digits can be numbers; longer ones are names.
_DIGITS = 18

#: A row's number in the file, its path and its label, as the file has them.
_Row = tuple[int, Any, Any]


def list_manifest(source: ManifestSource, place: bytes, name: str) -> Listing:
    """Return the items of the manifest at `place`, which messages call `name`. Raises SourceError."""
    if not os.path.isfile(place):
        raise SourceError(f"{name}: no such file (source.path = {source.path!r} in root {source.root!r})")
    if place.lower().endswith((b".parquet", b".pq")):
        return _gather(source, f"{name}, row", _parquet_rows(name, place, source))
    return _gather(source, f"{name}, line", _csv_rows(name, place, source))


def _gather(source: ManifestSource, where: str, rows: Iterator[_Row]) -> Listing:
    prefix = prefix_of(source.images)
    builder = ListingBuilder()
    known: dict[object, int] = {label: index for index, label in enumerate(source.classes or ())}
    for number, path, label in rows:
        if problem := _path_problem(path):
            raise SourceError(f"{where} {number}: {source.path_column} = {path!r}: {problem}")
        if type(label) is not str or label not in known:
            label = _name_of(label, known, source, f"{where} {number}")  # noqa: PLW2901 - the same label, as a name
        raw = prefix + path.encode()
        if len(raw) > MAX_PATH_BYTES:
            raise SourceError(f"{where} {number}: the path below the root is longer than {MAX_PATH_BYTES} bytes")
        builder.add(raw, known[label])
    if not len(builder):
        raise SourceError(f"{where.rpartition(',')[0]}: the manifest has no rows below its header")
    if source.classes is not None:
        return builder.build(source.kind, source.classes)
    classes = _in_order([str(name) for name in known])
    ranks = {name: rank for rank, name in enumerate(classes)}
    return builder.build(source.kind, classes, np.array([ranks[str(name)] for name in known], np.int32))


def _path_problem(path: object) -> str:
    if not isinstance(path, str):
        return "must be text"
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "must be relative to source.images below the root, not absolute"
    if "\\" in path or "\0" in path:
        return "must have '/' between its parts, and no backslash or NUL"
    if ".." in path and ".." in path.split("/"):
        return "must not have '..' in it"
    return ""


def _name_of(label: object, known: dict[object, int], source: ManifestSource, where: str) -> str:
    """Return a label's class name, taking it into `known` unless the classes were given."""
    named = f"{where}: {source.label_column} = {label!r}"
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise SourceError(f"{named}: a label must be text or a whole number")
    name = str(label)
    if name in known:
        return name
    if not name:
        raise SourceError(f"{named}: the label is empty")
    if source.classes is not None:
        raise SourceError(f"{named}: not among source.classes ({_some(source.classes)})")
    known[name] = len(known)
    return name


def _in_order(names: list[str]) -> list[str]:
    """Return the classes sorted: as numbers if all of them are non-negative integers, else by their UTF-8 bytes."""
    if all(name.isascii() and name.isdecimal() and len(name) <= _DIGITS for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names, key=str.encode)


def _columns(name: str, columns: Sequence[str], source: ManifestSource) -> tuple[int, int]:
    """Return where the path and the label stand."""
    for wanted, setting in ((source.path_column, "path_column"), (source.label_column, "label_column")):
        if columns.count(wanted) != 1:
            count = "has no" if wanted not in columns else "has more than one"
            raise SourceError(f"{name}: {count} column {wanted!r} (source.{setting}); its columns: {_some(columns)}")
    return columns.index(source.path_column), columns.index(source.label_column)


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:_SHOWN]))
    return f"{listed} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else listed or "none"


def _csv_rows(name: str, place: bytes, source: ManifestSource) -> Iterator[_Row]:
    line = 0
    try:
        with open(place, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            path_at, label_at = _columns(name, header, source)
            for row in reader:
                line = reader.line_num
                if not row:
                    continue
                if len(row) != len(header):  # a comma that is not quoted would shift path and label
                    raise SourceError(
                        f"{name}, line {line}: the row has {len(row)} fields, the header {len(header)}: {_some(row)}; "
                        "put quotes around fields that hold commas"
                    )
                yield line, row[path_at], row[label_at]
    except csv.Error as error:
        raise SourceError(f"{name}, after line {line}: not valid CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 text: {error}; save the manifest as UTF-8") from error
    except OSError as error:
        raise SourceError(f"{name}: cannot read the manifest: {error.strerror}") from error


def _parquet_rows(name: str, place: bytes, source: ManifestSource) -> Iterator[_Row]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(
            f"{name}: reading Parquet needs pyarrow: pip install 'penstock[parquet]', or give a CSV file"
        ) from error
    number = 0
    try:
        with open(place, "rb") as opened, parquet.ParquetFile(opened) as file:
            _columns(name, file.schema_arrow.names, source)
            for batch in file.iter_batches(_PARQUET_ROWS, columns=[source.path_column, source.label_column]):
                columns = (batch.column(column).to_pylist() for column in (source.path_column, source.label_column))
                for path, label in zip(*columns, strict=True):
                    number += 1
                    yield number, path, label
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name}: cannot read the Parquet file after row {number}: {error}") from error
