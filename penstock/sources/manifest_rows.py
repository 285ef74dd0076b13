"""Makes a listing of the rows of a manifest. Every error names the file and the row."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.protocol.records import MAX_CELL
from penstock.protocol.storage.labels import GivenClasses, class_name, sorted_classes
from penstock.sources.choice.table_rows import RowChoice, TableFields
from penstock.sources.file_listing import MAX_PATH_BYTES, Builder, FileListing, ListingBuilder, prefix_of
from penstock.sources.tables.blocks import NotPlainError, Wanted
from penstock.sources.tables.formats import Row, most_listed, row_name, rows_of
from penstock.sources.tables.progress import told
from penstock.sources.tables.whole_columns import WholeColumns

#: After so many rows it is told how far the listing is.
_TOLD = 100_000
#: What the listing's digest says of its kind.
_KIND = "manifest"


@dataclass(frozen=True, slots=True)
class Columns:
    """How a manifest is to be read."""

    path: str
    #: Empty: without labels.
    label: str
    #: Folder below the root that the paths are relative to.
    images: str
    #: Class names in label order; None: all that are found.
    classes: tuple[str, ...] | None
    #: Columns that targets are made of.
    targets: tuple[str, ...] = ()
    #: Which rows are items, and their weights.
    choosing: TableFields = field(default_factory=TableFields)

    @property
    def wanted(self) -> dict[str, str]:
        """All columns, and for each the setting that names it: path, label (if there is one) and then the others."""
        choosing = self.choosing
        weight = {choosing.weight_column: "source.weight_column"} if choosing.weight_column else {}
        others = dict.fromkeys((each.column for each in choosing.where), "source.where") | weight
        labels = {self.label: "source.label_column"} if self.label else {}
        named = {self.path: "source.path_column"} | labels
        return named | dict.fromkeys(self.others, "column of a target") | others | named

    @property
    def others(self) -> tuple[str, ...]:
        """The targets' columns that are neither the path nor the label."""
        return tuple(column for column in self.targets if column not in (self.path, self.label))


def list_rows(columns: Columns, place: bytes, name: str, begin: Callable[[], Builder] = ListingBuilder) -> FileListing:
    """Return the items of the manifest at `place`, which messages call `name`, gathered in what `begin` returns.

    Raises SourceError.
    """
    most_bytes = most_listed(place)
    if not columns.targets:
        try:
            return _list_columns(columns, place, name, begin(), most_bytes)
        except NotPlainError:  # each row needs a closer look
            pass
    return _gather(columns, name, rows_of(place, name, columns.wanted), begin(), most_bytes)


def _list_columns(columns: Columns, place: bytes, name: str, builder: Builder, most_bytes: float) -> FileListing:
    """Return the items of a manifest by whole columns. Raises NotPlainError."""
    numbers = _Numbers(columns)
    wanted = Wanted(columns.wanted, columns.path, columns.label, columns.choosing.weight_column)
    gathering = WholeColumns(wanted, prefix_of(columns.images), numbers.of, RowChoice(columns.choosing), builder)
    gathering.gather(place, name, most_bytes)
    return builder.build(_KIND, *_classes(columns, numbers))


def _gather(columns: Columns, name: str, rows: Iterator[Row], builder: Builder, most_bytes: float) -> FileListing:
    prefix, order = prefix_of(columns.images), list(columns.wanted)
    label_at = order.index(columns.label) if columns.label else 0
    cells_at = [order.index(column) for column in columns.targets]
    numbers, choice, empty = _Numbers(columns), RowChoice(columns.choosing), True
    chosen_at = [order.index(column) for column in columns.choosing.choosing_columns]
    for number, values in rows:
        empty = False
        if not number % _TOLD:
            told(f"{row_name(name, number)} of the manifest")
        if choice and not choice.takes([values[at] for at in chosen_at], partial(row_name, name, number)):
            continue
        raw = prefix + _checked_path(values[0], columns, name, number)
        if len(raw) > MAX_PATH_BYTES:
            raise SourceError(
                f"{row_name(name, number)}: the path below the root is longer than {MAX_PATH_BYTES} bytes"
            )
        if not columns.label:
            found: int | None = -1
        else:
            found = numbers.seen.get(values[label_at]) if type(values[label_at]) is str else None
        label = numbers.of(values[label_at], row_name(name, number)) if found is None else found
        builder.add(raw, label, choice.weights[-1] if choice.weights else None)
        if cells_at:
            where = row_name(name, number)
            builder.add_cells(number, [cell_of(values[at], f"{where}: {order[at]}") for at in cells_at])
        if builder.listed_bytes > most_bytes:
            raise SourceError(
                f"{row_name(name, number)}: the listing so far takes {builder.listed_bytes / 1e6:,.0f} MB, more than a "
                "file of this size should need: write each path once, or give a CSV file"
            )
    if not len(builder):
        reason = "the manifest has no rows below its header" if empty else "no row matches source.where"
        raise SourceError(f"{name}: {reason}")
    return builder.build(_KIND, *_classes(columns, numbers))


def _classes(columns: Columns, numbers: "_Numbers") -> tuple[Sequence[str], npt.NDArray[np.int32] | None]:
    """Return the classes, and the final number of each class by the number that it had so far."""
    if columns.classes is not None or not columns.label:
        return columns.classes or (), None
    classes = sorted_classes(numbers.names)
    ranks = {name: rank for rank, name in enumerate(classes)}
    return classes, np.array([ranks[name] for name in numbers.names], np.int32)


def _checked_path(path: object, columns: Columns, name: str, number: int) -> bytes:
    """Return a row's path. Raises SourceError if it is none."""
    problem = path_problem(path)
    if problem or not isinstance(path, str):
        raise SourceError(f"{row_name(name, number)}: {columns.path} = {path!r}: {problem or 'must be text'}")
    return path.encode()


def cell_of(value: object, where: str) -> str:
    """Return a cell as text: text as it is, nothing as empty text, all else as JSON. Raises SourceError."""
    if isinstance(value, np.generic):
        value = value.item()
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
    if not is_utf8(text):
        raise SourceError(f"{where} = {text[:60]!r} has half a surrogate pair, which UTF-8 cannot write")
    if len(text) > MAX_CELL:
        raise SourceError(
            f"{where} has {len(text)} characters, and at most {MAX_CELL} are carried to the workers: put such a target "
            "into a file of its own"
        )
    return text


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can write a text: JSON and YAML may name half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
        if isinstance(label, str) and not is_utf8(label):
            raise SourceError(f"{named} = {label!r} has half a surrogate pair, which UTF-8 cannot write")
        if self._given:
            number = self._given.number(label, named)
        else:
            number = self.names.setdefault(class_name(label, named), len(self.names))
        if isinstance(label, str):
            self.seen[label] = number
        return number


def path_problem(path: object) -> str:
    """Return why a manifest's path is not taken; empty if it is."""
    if not isinstance(path, str):
        return "must be text"
    if not path:
        return "is empty"
    if not is_utf8(path):
        return "has half a surrogate pair, which UTF-8 cannot write"
    if path.startswith("/"):
        return "must be relative to source.images below the root, not absolute"
    if "\\" in path or "\0" in path:
        return "must have '/' between its parts, and no backslash or NUL"
    if ".." in path and ".." in path.split("/"):
        return "must not have '..' in it"
    return ""
