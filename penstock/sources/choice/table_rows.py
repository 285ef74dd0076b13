"""Chooses and weighs the rows of a table: the fields `where` and `weight_column` of sources that are tables."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.choice.comparison import Comparison
from penstock.protocol.spec.model import Model

#: Different values of a column whose comparison is remembered, and the longest text among them.
_KNOWN, _LONGEST = 65_536, 256
#: Whole numbers up to here are floats without loss.
_EXACT = 2**53


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


class Column(Protocol):
    """Values of some rows in one column of a table."""

    def encoded(self) -> tuple[Sequence[object], npt.NDArray[np.integer[Any]]]:
        """Return the different values, None among them, and which one each row has."""
        ...

    def numbers(self) -> npt.NDArray[np.float64] | None:
        """Return the values as floats, NaN where there is none; None if not all of them are floats without loss."""
        ...

    def weights(self) -> npt.NDArray[np.float64] | None:
        """Return numbers of any type, or text that is read as numbers, as floats; None if they are something else."""
        ...


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
            if not _matches(comparison, known, values[at], where):
                return False
        if self._weight_at is not None:
            self.weights.append(_weight(values[self._weight_at], lambda: f"{where()}: {self._weight_column}"))
        return True

    def of_columns(
        self, column: Callable[[str], Column], rows: int, name: str
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64] | None]:
        """Return which of some rows are items, and the weight of each of these, if they have weights.

        `column` returns the rows' values in a column of this name. Raises SourceError, which does not say which row.
        """
        chosen = np.ones(rows, np.bool_)
        for _, comparison, known in self._tests:
            values = column(comparison.column)
            numbers = values.numbers() if _is_of_numbers(comparison) else None
            if numbers is not None and not np.isinf(numbers).any():
                chosen &= _numbers_match(comparison, numbers)
                continue
            different, places = values.encoded()
            matching = np.zeros(len(different), np.bool_)
            for at in np.unique(places[chosen]).tolist():
                matching[at] = _matches(comparison, known, different[at], lambda: name)
            chosen &= matching[places]
        if self._weight_at is None:
            return chosen, None
        return chosen, self._weights_of(column(self._weight_column), chosen, f"{name}: {self._weight_column}")

    @staticmethod
    def _weights_of(values: Column, chosen: npt.NDArray[np.bool_], where: str) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] | None = values.weights()
        if found is not None and (found := found[chosen]).min(initial=0.0) >= 0 and np.isfinite(found).all():
            return found
        different, places = values.encoded()
        weights = np.zeros(len(different))
        for at in np.unique(places[chosen]).tolist():
            weights[at] = _weight(different[at], lambda: where)
        return weights.take(places[chosen])

    def rows(self, columns: Sequence[Sequence[object]], name: str, first: int) -> list[int]:
        """Return which of some rows, whose values stand here column by column, are items.

        Messages call them rows `first` and so on of the file `name`.
        """
        table = zip(*columns, strict=True)
        return [row for row, values in enumerate(table) if self.takes(values, partial(_row_name, name, first + row))]


def _row_name(name: str, number: int) -> str:
    return f"{name}, row {number}"


def _matches(comparison: Comparison, known: dict[object, bool], value: object, where: Callable[[], str]) -> bool:
    """Return whether a value matches a comparison, maybe from what is `known` of equal ones."""
    value = _plain(value)
    try:
        found = known.get(value)
    except TypeError:  # a list, which no comparison matches: raises below
        found = None
    if found is None:
        found = comparison.matches(value, f"{where()}: {comparison.column}")
        if len(known) < _KNOWN and not (isinstance(value, str) and len(value) > _LONGEST):
            known[value] = found
    return found


def _is_of_numbers(comparison: Comparison) -> bool:
    """Return whether all values of a comparison are floats without loss."""
    return all(
        not isinstance(each, bool | str) and (isinstance(each, float) or abs(each) <= _EXACT)
        for each in comparison.values
    )


def _numbers_match(comparison: Comparison, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which numbers match; NaN does not. Floats are in the order of the decimals that they are written with."""
    values = np.array(comparison.values, np.float64)
    match comparison.op:
        case "==" | "in":
            return np.isin(numbers, values)
        case "!=" | "not in":
            return ~np.isin(numbers, values) & ~np.isnan(numbers)
        case _:
            compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[comparison.op]
            found: npt.NDArray[np.bool_] = compare(numbers, values[0])
            return found


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
