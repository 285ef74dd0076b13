"""Protocol of an array in a file: `rows_numpy.py` and `rows_hdf5.py` implement it, `rows.py` uses it."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from penstock.protocol.order import Int64s

Levels = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


class Stored(Protocol):
    """An array in a file."""

    #: File and, where it has several, array; below the root.
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def working_bytes(self) -> int:
        """Memory that a process takes to read rows, besides the rows: unpacked chunks, or an array that it holds."""
        ...

    def take(self, rows: Int64s) -> npt.NDArray[Any]:
        """Return these rows, in this order: a new array. Raises ItemError if the file has been changed."""
        ...

    def run(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the rows from `start` up to `stop`."""
        ...

    def release(self) -> None:
        """Close files that can be opened again when they are needed."""
        ...
