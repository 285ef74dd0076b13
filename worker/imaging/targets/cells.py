"""Reads what cells hold: JSON, lists, finite numbers and class names. Every error quotes the value."""

import json
import math
from collections.abc import Sequence
from typing import Any

from penstock.protocol.errors import ItemError

_MOST_SHOWN = 200


def shown(value: object) -> str:
    """Return a value for a message, cut if it is long."""
    text = str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def value_of(cell: str, form: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return the value of a cell, whose form messages call `form`; None of an empty one. Raises ItemError."""
    if not cell.strip():
        return None
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise ItemError(f"{shown(cell)!r} is not JSON ({error}): give {form}") from error


def check_boxes(count: int, most: int) -> None:
    """Raise ItemError if an image has more boxes than the target has room for."""
    if count > most:
        raise ItemError(f"{count} boxes, and max_boxes = {most}: raise max_boxes")


def list_of(cell: str, form: str) -> list[Any]:
    """Return the list that a cell holds; no entries of an empty one. Raises ItemError."""
    values = value_of(cell, form)
    if values is None:
        return []
    if not isinstance(values, list):
        raise ItemError(f"{shown(values)!r} is no list: give {form}")
    return values


def finite(where: str, number: object) -> float:
    """Return a finite number as it is. Raises ItemError, which begins with `where`."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not _is_finite(number):
        raise ItemError(f"{where}: {shown(number)} is no finite number")
    return float(number)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer past the floats
        return False


class ClassNames:
    """The names of classes, and how cells name them."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the names in label order."""
        self._labels = {name: label for label, name in enumerate(names)}

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._labels)

    def label(self, where: str, given: object) -> int:
        """Return the label of a class that is given by its name or number. Raises ItemError."""
        if isinstance(given, str) and given in self._labels:
            return self._labels[given]
        if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(self._labels):
            return given
        known = ", ".join(self._labels)
        raise ItemError(f"{where}: class {shown(repr(given))} is not known; classes: {shown(known)}, or numbers from 0")
