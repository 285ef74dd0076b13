"""Targets that no step changes: several labels, numbers and text."""

from collections.abc import Sequence

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.targets.values import LabelsTarget, NumbersTarget, TextTarget
from penstock.protocol.wire import Array
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.targets.base import LoadedTarget, TargetLoader
from penstock.worker.imaging.targets.cells import ClassNames, list_of, shown, value_of


class _Values(LoadedTarget):
    """Arrays that are written as they are."""

    def __init__(self, *values: Array) -> None:
        self._values = values

    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write the values."""
        del program
        for field, value in zip(out, self._values, strict=True):
            field[row] = value


class LabelsLoader(TargetLoader):
    """Loads several labels."""

    def __init__(self, target: LabelsTarget) -> None:
        """Take the target's fields in the spec."""
        self._target, self._names = target, ClassNames(target.classes)

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the classes of an image."""
        del content, image
        separator = self._target.separator
        if separator:
            values: Sequence[object] = [part.strip() for part in cell.split(separator)] if cell.strip() else []
        else:
            values = list_of(cell, 'a list of classes such as ["cat", "dog"], or set separator')
        found = np.zeros(len(self._target.classes), np.uint8)
        for place, value in enumerate(values):
            found[self._names.label(f"label {place}", value)] = 1
        return _Values(found)


class NumbersLoader(TargetLoader):
    """Loads numbers."""

    def __init__(self, target: NumbersTarget) -> None:
        """Take the target's fields in the spec."""
        self._dtype, self._shape = np.dtype(target.dtype), target.shape
        self._form = f"numbers of shape {list(target.shape)}" if target.shape else "a number"

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the numbers of an image."""
        del content, image
        if not cell.strip():
            raise ItemError(f"the cell is empty: give {self._form}")
        try:
            found = np.array(value_of(cell, self._form))
        except ValueError as error:  # lists of different lengths
            raise ItemError(f"{shown(cell)}: not all lists have the same length: give {self._form}") from error
        if found.dtype.kind not in "iuf" or found.shape != self._shape:
            raise ItemError(f"{shown(cell)}: must be {self._form}")
        return _Values(self._converted(found, cell))

    def _converted(self, found: Array, cell: str) -> Array:
        if self._dtype.kind == "f":
            with np.errstate(over="ignore"):
                values = found.astype(self._dtype)
            fits = np.isfinite(values)
        else:
            limits = np.iinfo(self._dtype)
            fits = (found >= limits.min) & (found <= limits.max) & (found == np.rint(found))
            values = np.where(fits, found, 0).astype(self._dtype)
        if not fits.all():
            wrong = found[~fits].flat[0]
            raise ItemError(f"{shown(cell)}: {wrong} is no finite number that {self._dtype.name} can hold")
        return values


class TextLoader(TargetLoader):
    """Loads text."""

    def __init__(self, target: TextTarget) -> None:
        """Take the target's fields in the spec."""
        self._target = target

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the text of an image."""
        del content, image
        raw, most = cell.encode(), self._target.max_bytes
        if len(raw) > most:
            if self._target.too_long == "quarantine":
                raise ItemError(
                    f"{shown(cell)!r} has {len(raw)} bytes, and max_bytes = {most}: raise max_bytes, or give "
                    "too_long = 'cut'"
                )
            raw = raw[:most].decode(errors="ignore").encode()
        text = np.zeros(most, np.uint8)
        text[: len(raw)] = np.frombuffer(raw, np.uint8)
        return _Values(text, np.array(len(raw), np.int32))
