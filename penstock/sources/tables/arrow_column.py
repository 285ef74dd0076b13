"""A column of some rows of a table, as numpy arrays: its different values, or its numbers.

Functions of pyarrow that import pandas (`to_numpy`, `scalar`, `array`) are used only where values are missing: it
takes half a second of a start, and memory.
"""

# ruff: noqa: ANN401 - pyarrow has no types

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.sources.containers.columns import column_values

#: Whole numbers below this are floats without loss.
EXACT = 2.0**53
#: Most characters of text that is read as a number all at once.
_LONGEST = 64


class ArrowColumn:
    """An array of pyarrow."""

    def __init__(self, values: Any, name: str) -> None:
        """Take it, and how messages call the file."""
        self._pa: Any = importlib.import_module("pyarrow")
        self._values, self._name = values, name

    def encoded(self) -> tuple[Sequence[Any], npt.NDArray[np.integer[Any]]]:
        """Return the different values, None among them, and which one each row has.

        Raises SourceError and what pyarrow raises.
        """
        column = self._values
        if not self._pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        values = [*column_values(column.dictionary, self._name), None]
        places = column.indices
        if places.null_count:
            places = places.fill_null(len(values) - 1)
        found: npt.NDArray[Any] = np.from_dlpack(places)
        return values, found

    def numbers(self) -> npt.NDArray[np.float64] | None:
        """Return the values as floats, NaN where there is none; None if not all of them are floats without loss."""
        kind, types = self._values.type, self._pa.types
        if types.is_float64(kind):
            return floats(self._values)
        if not types.is_integer(kind):
            return None
        found = floats(self._values)
        return found if np.abs(found).max(initial=0.0, where=~np.isnan(found)) < EXACT else None

    def weights(self) -> npt.NDArray[np.float64] | None:
        """Return numbers of any type, or text that is read as numbers, as floats; None if they are something else."""
        kind, types, column = self._values.type, self._pa.types, self._values
        if types.is_string(kind):
            longest = self._pa.compute.max(self._pa.compute.binary_length(column)).as_py()
            if (longest or 0) > _LONGEST:
                return None
            try:
                column = column.cast(self._pa.float64())
            except self._pa.ArrowException:
                return None
        elif not (types.is_integer(kind) or types.is_float32(kind) or types.is_float64(kind)):
            return None
        return floats(column)


def floats(column: Any) -> npt.NDArray[np.float64]:
    """Return numbers as floats, NaN where there is none."""
    found: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False) if column.null_count else np.from_dlpack(column)
    return found.astype(np.float64, copy=False)
