"""Reads the rows of a manifest, CSV or Parquet, into a listing. Every error names the file and the row."""

# Paths are bytes here: names are taken as they are on disk.
# ruff: noqa: PTH123

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.labels import GivenClasses, class_name, some, sorted_classes
from penstock.sources.containers.columns import check_column, import_pyarrow, label_values
from penstock.sources.file_listing import MAX_PATH_BYTES, FileListing, ListingBuilder, prefix_of

#: What the listing's digest says of its kind.
_KIND = "manifest"

#: Rows of a Parquet file that are Python objects at once.
_PARQUET_ROWS = 65_536

#: A row's number in the file, its path and its label, as the file has them.
_Row = tuple[int, Any, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """How a manifest is to be read."""

    path: str
    label: str
    #: Folder below the root that the paths are relative to.
    images: str
    #: Class names in label order; None: all that are found.
    classes: tuple[str, ...] | None


def list_rows(columns: Columns, place: bytes, name: str) -> FileListing:
    """Return the items of the manifest at `place`, which messages call `name`. Raises SourceError."""
    if place.lower().endswith((b".parquet", b".pq")):
        return _gather(columns, f"{name}, row", _parquet_rows(name, place, columns))
    return _gather(columns, f"{name}, line", _csv_rows(name, place, columns))


def _gather(columns: Columns, where: str, rows: Iterator[_Row]) -> FileListing:
    prefix = prefix_of(columns.images)
    builder = ListingBuilder()
    numbers = _Numbers(columns)
    for number, path, label in rows:
        if problem := _path_problem(path):
            raise SourceError(f"{where} {number}: {columns.path} = {path!r}: {problem}")
        raw = prefix + path.encode()
        if len(raw) > MAX_PATH_BYTES:
            raise SourceError(f"{where} {number}: the path below the root is longer than {MAX_PATH_BYTES} bytes")
        found = numbers.seen.get(label) if type(label) is str else None
        builder.add(raw, numbers.of(label, f"{where} {number}") if found is None else found)
    if not len(builder):
        raise SourceError(f"{where.rpartition(',')[0]}: the manifest has no rows below its header")
    if columns.classes is not None:
        return builder.build(_KIND, columns.classes)
    classes = sorted_classes(numbers.names)
    ranks = {name: rank for rank, name in enumerate(classes)}
    return builder.build(_KIND, classes, np.array([ranks[name] for name in numbers.names], np.int32))


class _Numbers:
    """Numbers the labels: by the classes that were given, or in the order in which classes are found."""

    def __init__(self, columns: Columns) -> None:
        self._column = columns.label
        self._given = None if columns.classes is None else GivenClasses(columns.classes)
        #: Classes that were found, by their number.
        self.names: dict[str, int] = {}
        #: Number of each text so far.
        self.seen: dict[str, int] = {}

    def of(self, label: object, where: str) -> int:
        """Return a label's number. Raises SourceError."""
        named = f"{where}: {self._column}"
        if self._given:
            number = self._given.number(label, named)
        else:
            number = self.names.setdefault(class_name(label, named), len(self.names))
        if isinstance(label, str):
            self.seen[label] = number
        return number


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


def _places(name: str, header: Sequence[str], columns: Columns) -> tuple[int, int]:
    """Return where the path and the label stand."""
    check_column(name, header, columns.path, "path_column")
    check_column(name, header, columns.label, "label_column")
    return header.index(columns.path), header.index(columns.label)


def _csv_rows(name: str, place: bytes, columns: Columns) -> Iterator[_Row]:
    line = 0
    try:
        with open(place, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            path_at, label_at = _places(name, header, columns)
            for row in reader:
                line = reader.line_num
                if not row:
                    continue
                if len(row) != len(header):  # a comma that is not quoted would shift path and label
                    raise SourceError(
                        f"{name}, line {line}: the row has {len(row)} fields, the header {len(header)}: {some(row)}; "
                        "put quotes around fields that hold commas"
                    )
                yield line, row[path_at], row[label_at]
    except csv.Error as error:
        raise SourceError(f"{name}, after line {line}: not valid CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 text: {error}; save the manifest as UTF-8") from error
    except OSError as error:
        raise SourceError(f"{name}: cannot read the manifest: {error.strerror}") from error


def _parquet_rows(name: str, place: bytes, columns: Columns) -> Iterator[_Row]:
    pa = import_pyarrow(name, ", or give a CSV file")
    number = 0
    try:
        with open(place, "rb") as opened, pa.parquet.ParquetFile(opened) as file:
            _places(name, file.schema_arrow.names, columns)
            for batch in file.iter_batches(_PARQUET_ROWS, columns=[columns.path, columns.label]):
                paths, labels = batch.column(columns.path), batch.column(columns.label)
                for path, label in zip(paths.to_pylist(), label_values(labels), strict=True):
                    number += 1
                    yield number, path, label
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name}: cannot read the Parquet file after row {number}: {error}") from error
