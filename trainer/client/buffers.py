"""Memory for batches, used again once the program has released the batch in it.

A batch of megabytes in fresh memory costs the kernel about as much for clearing its pages as copying the samples
does. Memory is free when only this module refers to it.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.wire import Array

#: Arrays smaller than this (bytes) are made anew: the C library keeps such memory by itself.
_LEAST_BYTES = 262_144
#: Buffers that are kept, and bytes in all: those ahead and in hand by default. Where more are in use, others are made
#: anew.
_LEAST, _MOST_BYTES = 8, 80_000_000


def _references(buffers: Sequence[npt.NDArray[np.uint8]]) -> list[int]:
    return [sys.getrefcount(buffer) for buffer in buffers]


#: References to an unused buffer in a list: interpreters count their own references differently.
_FREE = _references([np.empty(0, np.uint8)])[0]


class Buffers:
    """Joins arrays into memory of its own. For one thread; any thread may release its results."""

    def __init__(self) -> None:
        """Start without buffers."""
        self._kept: list[npt.NDArray[np.uint8]] = []

    def join(self, parts: Sequence[Array]) -> Array:
        """Return the parts joined along the first axis: an array of the caller's own, which may be written to."""
        first = parts[0]
        shape = (sum(len(part) for part in parts), *first.shape[1:])
        size = sum(part.nbytes for part in parts)
        if size < _LEAST_BYTES:
            return np.concatenate(parts)
        out = self.empty(shape, first.dtype)
        np.concatenate(parts, out=out)
        return out

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array of the caller's own, its content undefined."""
        size = dtype.itemsize * math.prod(shape)
        if size < _LEAST_BYTES:
            return np.empty(shape, dtype)
        out: Array = self._room(size)[:size].view(dtype).reshape(shape)
        return out

    def _room(self, size: int) -> npt.NDArray[np.uint8]:
        """Return an unused buffer of at least `size` bytes."""
        for index, references in enumerate(_references(self._kept)):
            if references == _FREE and size <= len(self._kept[index]):
                return self._kept[index]
        fresh = np.empty(size, np.uint8)
        self._kept.append(fresh)
        while len(self._kept) > _LEAST and sum(map(len, self._kept)) > _MOST_BYTES:
            del self._kept[0]
        return fresh
