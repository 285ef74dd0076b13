"""The one rule for labels, which every kind of source follows: what class a label names, and how classes are sorted.

A label is text or a number. Numbers of one value are one class, whatever their type: 3, 3.0 and the text "3.0" are
class "3". Text with leading zeros, such as "007", is a name of its own.
"""

import math
import operator
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError

#: Most characters of a class name, and of a label in a message.
_MOST_NAME, _MOST_SHOWN = 1024, 200
#: Text that reads as a number; longer ones are identifiers.
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
#: Such text whose spelling does not matter: without leading zeros.
_PLAIN = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?")


def class_name(label: object, where: str) -> str:
    """Return the class that a label names. Raises SourceError, which begins with `where`, for what is no label."""
    if isinstance(label, str):
        if not label:
            raise SourceError(f"{where} = '': the label is empty")
        if len(label) > _MOST_NAME:
            raise SourceError(
                f"{where} = {_show(label)}: a label of {len(label)} characters; a class name has at most {_MOST_NAME}: "
                "name the column with the labels"
            )
        return _shortest(label) if _NUMBER.fullmatch(label) and _PLAIN.fullmatch(label) else label
    if isinstance(label, float | np.floating):
        if math.isfinite(label):
            return _shortest(np.format_float_positional(label, trim="-"))
    elif isinstance(label, Decimal):
        if label.is_finite():
            return _shortest(f"{label:f}")
    else:
        try:
            return str(operator.index(int(label) if isinstance(label, np.bool_) else label))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        except TypeError:
            pass
    raise SourceError(
        f"{where} = {_show(label)}: a label must be text or a finite number; leave out the rows without a label, or "
        "name their class"
    )


def sorted_classes(names: Iterable[str]) -> list[str]:
    """Return class names sorted: by value if all of them are numbers, else by their UTF-8 bytes."""
    found = list(names)
    if all(map(_NUMBER.fullmatch, found)):
        return sorted(found, key=lambda name: (Decimal(name), name))
    return sorted(found, key=str.encode)


class GivenClasses:
    """Looks labels up in a list of classes that was given."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._exact = {name: number for number, name in enumerate(classes)}
        self._by_value = {class_name(name, "classes") if name else name: self._exact[name] for name in classes}

    def number(self, label: object, where: str) -> int:
        """Return a label's number in the list. Raises SourceError if it is not there."""
        found = self.find(label, where)
        if found is None:
            raise SourceError(f"{where} = {_show(label)}: not among source.classes ({some(self._classes)})")
        return found

    def find(self, label: object, where: str) -> int | None:
        """Return a label's number in the list; None if it is not there. Raises SourceError for what is no label."""
        if isinstance(label, str) and label in self._exact:
            return self._exact[label]
        name = class_name(label, where)
        return self._exact.get(name, self._by_value.get(name))


def number_labels(
    labels: npt.NDArray[np.number | np.bool_], classes: Sequence[str] | None, where: str, most: int
) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """Return the class index of each label of an array, and the classes (default: those that occur, at most `most`).

    Raises SourceError.
    """
    values, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    if classes is not None:
        given = GivenClasses(classes)
        ranks = [given.number(value, f"{where}[{row}]") for value, row in zip(values, first, strict=True)]
        return np.array(ranks, np.int32)[numbers], tuple(classes)
    if len(values) > most:
        raise SourceError(
            f"{where}: {len(values)} different labels, such as {values[0]} and {values[1]}: a label is a class, of "
            f"which there may be {most}; give numbers of another meaning as classes, or leave the labels out"
        )
    names = tuple(class_name(value, f"{where}[{row}]") for value, row in zip(values, first, strict=True))
    return numbers.astype(np.int32), names


def some(names: Sequence[str], most: int = 20) -> str:
    """Return names for a message, at most so many."""
    listed = ", ".join(map(repr, names[:most]))
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed or "none"


def _show(label: object) -> str:
    """Return a label for a message, without the names of numpy's types."""
    shown = repr(label.item() if isinstance(label, np.generic) else label)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"


def _shortest(text: str) -> str:
    """Return the shortest way to write a decimal number."""
    sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text.removeprefix("+"))
    if "." in digits:
        digits = digits.rstrip("0").removesuffix(".")
    return digits if digits == "0" else sign + digits
