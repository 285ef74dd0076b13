"""A comparison on a column, by which rows of a table become items or not."""

import math
from decimal import Decimal, InvalidOperation
from typing import Literal, Self

from pydantic import Field, model_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.model import Model

#: What a comparison may name: text, or a number.
Value = bool | int | float | str
_ORDERED = frozenset({"<", "<=", ">", ">="})
_LISTED = frozenset({"in", "not in"})


class Comparison(Model):
    """Compares the value that each row has in a column. A row without a value there matches no comparison."""

    column: str = Field(min_length=1)
    """Column of the table."""
    op: Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"] = "=="
    """How the row's value is compared with `value`. Text is ordered by its characters."""
    value: Value | tuple[Value, ...]
    """Number or text to compare with; with `in` and `not in`, a list of them. Where it is a number, the text of a CSV
    file is read as one."""

    @model_validator(mode="after")
    def _value_fits_op(self) -> Self:
        if isinstance(self.value, tuple) != (self.op in _LISTED):
            needs = "a list of values" if self.op in _LISTED else "one value, not a list"
            raise ValueError(f"op = {self.op!r} needs {needs}")
        if self.op in _ORDERED and isinstance(self.value, bool):
            raise ValueError(f"op = {self.op!r} orders numbers or text, not true and false")
        if any(isinstance(each, float) and not math.isfinite(each) for each in self.values):
            raise ValueError("value must be a finite number")
        return self

    @property
    def values(self) -> tuple[Value, ...]:
        """The values to compare with, as a list."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def matches(self, found: object, where: str) -> bool:
        """Return whether a row with this value matches. Raises SourceError, which begins with `where`."""
        if found is None or found == "" or (isinstance(found, float) and math.isnan(found)):
            return False
        match self.op:
            case "in" | "==":
                return any(_plain(found, value, where) == _exact(value) for value in self.values)
            case "not in" | "!=":
                return all(_plain(found, value, where) != _exact(value) for value in self.values)
            case _:
                return self._in_order(_plain(found, self.values[0], where), _exact(self.values[0]))

    def _in_order(self, found: Decimal | str, value: Decimal | str) -> bool:
        if found == value:
            return self.op in {"<=", ">="}
        return (found < value) == (self.op in {"<", "<="})  # type: ignore[operator]  # both are numbers, or both text


def _exact(value: Value) -> Decimal | str:
    """Return a value of the spec so that it can be compared: a number as it is written."""
    return value if isinstance(value, str) else Decimal(str(float(value)) if isinstance(value, float) else int(value))


def _plain(found: object, value: Value, where: str) -> Decimal | str:
    """Return a row's value in the type of the spec's value. Raises SourceError if it has another."""
    if isinstance(value, str):
        if isinstance(found, str):
            return found
        raise SourceError(
            f"{where} = {found!r} is no text, and is compared with {value!r}: give a number (source.where)"
        )
    if isinstance(value, bool) and isinstance(found, str) and found.lower() in {"true", "false"}:
        return Decimal(found.lower() == "true")
    try:
        number = Decimal(str(found) if isinstance(found, str | float) else int(found))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    except (InvalidOperation, TypeError, ValueError):
        number = Decimal("nan")
    if not number.is_finite():
        raise SourceError(
            f"{where} = {found!r} is no number, and is compared with {value!r}: give text, or mend the table "
            "(source.where)"
        )
    return number
