"""Chooses and weighs the rows of a table: the fields `where` and `weight_column` of sources that are tables."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.choice.comparison import Comparison
from penstock.protocol.spec.model import Model

#: Different values of a column whose comparison is remembered, and the longest text among them.
_KNOWN, _LONGEST = 65_536, 256


class TableFields(Model):
    """The fields of sources whose items are rows of a table."""

    where: tuple[Comparison, ...] = ()
    """The rows that are items: those that match every one of these comparisons. Default: all rows."""
    weight_column: str = ""
    """Column with each item's weight, a number of 0 or more, for `sampling.by = "column"`. Weights count to three
    digits. Empty: none."""

    @property
    def choosing_columns(self) -> list[str]:
        """The columns that these fields need, each once."""
        weight = [self.weight_column] if self.weight_column else []
        return list(dict.fromkeys([*(each.column for each in self.where), *weight]))


class RowChoice:
    """Chooses rows by their values in `TableFields.choosing_columns`, which stand in that order."""

    def __init__(self, fields: TableFields) -> None:
        """Take a source's fields."""
        columns = fields.choosing_columns
        self._tests: list[tuple[int, Comparison, dict[object, bool]]] = [
            (columns.index(each.column), each, {}) for each in fields.where
        ]
        self._weight_at = columns.index(fields.weight_column) if fields.weight_column else None
        self._weight_column = fields.weight_column
        #: Weight of each row that was taken; empty without `weight_column`.
        self.weights: list[float] = []

    def __bool__(self) -> bool:
        """Return whether rows have to be given at all."""
        return bool(self._tests) or self._weight_at is not None

    def takes(self, values: Sequence[object], where: Callable[[], str]) -> bool:
        """Return whether a row is an item; its weight is kept then. Raises SourceError, which begins with `where`."""
        for at, comparison, known in self._tests:
            value = _plain(values[at])
            try:
                found = known.get(value)
            except TypeError:  # a list, which no comparison matches: raises below
                found = None
            if found is None:
                found = comparison.matches(value, f"{where()}: {comparison.column}")
                if len(known) < _KNOWN and not (isinstance(value, str) and len(value) > _LONGEST):
                    known[value] = found
            if not found:
                return False
        if self._weight_at is not None:
            self.weights.append(_weight(values[self._weight_at], lambda: f"{where()}: {self._weight_column}"))
        return True

    def rows(self, columns: Sequence[Sequence[object]], name: str, first: int) -> list[int]:
        """Return which of some rows, whose values stand here column by column, are items.

        Messages call them rows `first` and so on of the file `name`.
        """
        table = zip(*columns, strict=True)
        return [row for row, values in enumerate(table) if self.takes(values, partial(_row_name, name, first + row))]


def _row_name(name: str, number: int) -> str:
    return f"{name}, row {number}"


def _plain(value: object) -> object:
    """Return a value without numpy's type; a float32 by the decimals that it is written with."""
    if isinstance(value, np.floating):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value


def _weight(value: object, where: Callable[[], str]) -> float:
    try:
        weight = float(value[:_LONGEST]) if isinstance(value, str) else float(value or 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        weight = math.nan
    if value is None or not 0 <= weight < math.inf:
        raise SourceError(f"{where()} = {value!r}: a weight is a number of 0 or more (source.weight_column)")
    return weight
