"""Reads rows of data sets that are not virtual by the HDF5 library.

A call into the library unpacks a bounded number of bytes, since no other thread runs meanwhile. For one thread.
"""

import math
import os
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.hdf5_open import MOST_CHUNK_BYTES, chunk_bytes, h5py
from penstock.protocol.storage.hdf5_parts import OpenFile, check_unchanged

#: Rows of the same run are read in one go even if so many others lie between them: a call costs about as much.
_GAP_ROWS = 4

Array = npt.NDArray[Any]


class StoredRows:
    """Rows of a data set that is not virtual, read by the HDF5 library."""

    def __init__(self, data: h5py.Dataset, name: str, opened: OpenFile, dtype: np.dtype[Any]) -> None:
        """Take a data set of an open file; `dtype` is what its rows are wanted as."""
        self.data, self.name, self.dtype, self._watch = data, name, dtype, opened.watch
        self.shape: tuple[int, ...] = data.shape
        self.together = data.chunks[0] if data.chunks else 1
        #: Rows that must be unpacked together.
        self._packed = self.together if chunk_bytes(data) else 1
        self._tile = _tile(data)
        #: For the rows of each chunk, whether all of their storage was written; None: of all, or not known yet.
        self._written: npt.NDArray[np.bool_] | None = None
        self._is_checked = False
        self._external = [(name, offset, size) for name, offset, size in data.external or ()]

    def stored(self) -> "Iterator[StoredRows]":
        """Yield itself."""
        yield self

    def check(self) -> None:
        """Raise SourceError if the file was written to since it was opened, or storage outside it is cut short."""
        check_unchanged(self._watch, self.name)
        for name, offset, size in self._external:
            try:
                there = os.stat(name).st_size  # noqa: PTH116 - as text, relative to the working folder: so HDF5 does it
            except OSError as error:
                raise SourceError(
                    f"{self.name} holds data of {name}, which cannot be read: {error.strerror}"
                ) from error
            wanted = min(size, math.prod(self.shape) * self.data.dtype.itemsize)
            if there < offset + wanted:
                raise SourceError(f"{self.name} holds {wanted} bytes of {name}, which ends before: write it again")

    def scatter(self, rows: Int64s, places: Int64s, out: Array) -> None:
        """Write `rows`, ascending, to `places` of `out`. Raises SourceError."""
        self.check()
        self._check_written(rows)
        for first, last in runs(rows, self._packed):
            start, stop = int(rows[first]), int(rows[last - 1]) + 1
            block = self._block(start, stop)
            out[places[first:last]] = block[rows[first:last] - start]

    def _check_written(self, rows: Int64s) -> None:
        """Raise SourceError if rows have no storage: the library would deliver its fill value for them."""
        if not self._is_checked:
            try:
                self._written, self._is_checked = _written(self.data), True
            except (OSError, RuntimeError, ValueError, OverflowError) as error:  # of a damaged index
                self.fail(int(rows[0]), int(rows[-1]), error)
        if self._written is None or (there := self._written[rows // self.together]).all():
            return
        missing = rows[~there]
        raise SourceError(
            f"{self.name}: rows {missing[0]} to {missing[-1]} were never written, and would be read as fill values: "
            "its writer may have been stopped; write the file again"
        )

    def fail(self, first: int, last: int, error: Exception) -> NoReturn:
        """Raise SourceError for rows that cannot be read; if the file was changed, that is the reason."""
        self.check()
        raise SourceError(
            f"{self.name}: rows {first} to {last} cannot be read: {error}; write or copy the file again"
        ) from error

    def _block(self, start: int, stop: int) -> Array:
        """Return rows [start, stop), read tile by tile."""
        block = np.empty((stop - start, *self.shape[1:]), self.dtype)
        ranges = ((start, stop), *((0, side) for side in self.shape[1:]))
        try:
            for box in product(*(_cuts(*ends, step) for ends, step in zip(ranges, self._tile, strict=True))):
                inside = (slice(box[0].start - start, box[0].stop - start), *box[1:])
                self.data.read_direct(block, box, inside)
        except (OSError, RuntimeError, ValueError) as error:  # what h5py raises for damaged chunks
            self.fail(start, stop - 1, error)
        return block


def _written(data: h5py.Dataset) -> npt.NDArray[np.bool_] | None:
    """Return for the rows of each chunk whether all of them have storage; None if all have.

    Where all have, this only counts the chunks: 0.3 s for 200,000. Otherwise it walks through them: 17 s a million.
    """
    if data.external or not data.size:
        return None
    if data.chunks is None:
        return None if data.id.get_storage_size() else np.zeros(data.shape[0], np.bool_)
    grid = [-(-side // chunk) for side, chunk in zip(data.shape, data.chunks, strict=True)]
    if data.id.get_num_chunks() >= math.prod(grid):
        return None
    counts = np.zeros(grid[0], np.int64)
    rows = data.chunks[0]

    def count(chunk: Any) -> None:  # noqa: ANN401 - h5py's, without a type
        counts[chunk.chunk_offset[0] // rows] += 1

    data.id.chunk_iter(count)
    whole: npt.NDArray[np.bool_] = counts == math.prod(grid[1:])
    return whole


def _cuts(start: int, stop: int, step: int) -> list[slice]:
    """Return [start, stop) cut at the multiples of `step`."""
    ends = [start, *range((start // step + 1) * step, stop, step), stop]
    return [slice(first, last) for first, last in pairwise(ends) if first < last]


def _tile(data: h5py.Dataset) -> list[int]:
    """Return how many elements on each axis one call reads: whole chunks, of about `MOST_CHUNK_BYTES` at most."""
    chunks = data.chunks or (1,) * len(data.shape)
    budget = max(1, MOST_CHUNK_BYTES // (math.prod(chunks) * data.dtype.itemsize))
    tile: list[int] = []
    for side, chunk in reversed(list(zip(data.shape, chunks, strict=True))):
        count = max(1, min(-(-side // chunk), budget))
        tile.append(count * chunk)
        budget = max(1, budget // count)
    return tile[::-1]


def runs(ascending: Int64s, together: int) -> Iterator[tuple[int, int]]:
    """Yield [first, last) of the places in `ascending` whose rows are read in one go.

    These are the rows that lie in one chunk, `together` rows each, or nearly side by side.
    """
    chunks = ascending // together
    apart = (np.diff(chunks) > 1) | ((np.diff(chunks) == 1) & (np.diff(ascending) > _GAP_ROWS))
    if together == 1:
        apart = np.diff(ascending) > _GAP_ROWS
    ends = [0, *(np.flatnonzero(apart) + 1).tolist(), len(ascending)]
    yield from ((first, last) for first, last in pairwise(ends) if first < last)
