"""Reads one data set's rows, each straight into its place.

Rows of an uncompressed data set are read past the HDF5 library, by `preadv`: the library would copy them twice, under a
lock that all of h5py shares. Compressed rows and virtual data sets are `protocol/storage`'s. For one thread.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.hdf5_open import Bounds, h5py
from penstock.protocol.storage.hdf5_parts import OpenFile, PartFiles
from penstock.protocol.storage.hdf5_stored import StoredRows
from penstock.protocol.storage.hdf5_virtual import Access, read_rows
from penstock.protocol.wire import Array

#: Buffers that one system call fills: IOV_MAX of Linux.
_MOST_BUFFERS = 1024
#: Rows at least this long (bytes) are read each into its place; shorter ones together, and moved there by numpy.
_ROW_BYTES = 512
#: Chunks a data set may have to be read past HDF5: their places are listed at once, 1 µs and 8 bytes each.
_MOST_CHUNKS = 4_000_000


class DirectRows(StoredRows):
    """Rows of a data set that is not virtual, read past the HDF5 library where they lie in the file as in memory."""

    def __init__(self, data: h5py.Dataset, name: str, opened: OpenFile, dtype: np.dtype[Any]) -> None:
        """Find where the rows lie. Raises SourceError for a damaged index."""
        super().__init__(data, name, opened, dtype)
        self._descriptor = opened.watch.descriptor
        self._row_bytes = dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64))
        #: Rows that lie side by side in the file, and where each such run starts (None: only HDF5 knows).
        self._side_by_side = self.together if data.chunks else max(1, len(data))
        try:
            self._starts = self._find_starts() if self._is_plain() else None
        except (OSError, RuntimeError, ValueError, OverflowError) as error:  # of a damaged index
            raise SourceError(f"{name}: its chunks cannot be found: {error}; write or copy the file again") from error

    def scatter(self, rows: Int64s, places: Int64s, out: Array) -> None:
        """Write `rows`, ascending, to `places` of `out`. Raises SourceError."""
        if self._starts is None:
            super().scatter(rows, places, out)
            return
        self.check()
        if self._row_bytes < _ROW_BYTES:
            self._read_together(rows, places, out)
        else:
            self._read_apart(rows, places, out)

    def _is_plain(self) -> bool:
        """Return whether the file holds the rows as they will be in memory."""
        data, chunks = self.data, self.data.chunks
        if data.external or data.file.userblock_size or data.dtype != self.dtype or data.dtype.kind not in "uif":
            return False
        if data.id.get_create_plist().get_nfilters():
            return False
        return chunks is None or chunks[1:] == data.shape[1:]

    def _find_starts(self) -> npt.NDArray[np.int64] | None:
        """Return where each run of rows starts in the file; None if some are not stored, or there are too many."""
        data, size = self.data, self.together * self._row_bytes
        if data.chunks is None:
            offset = data.id.get_offset()
            return None if offset is None else np.array([offset], np.int64)
        count = -(-len(data) // self.together)
        if count > _MOST_CHUNKS:
            return None
        starts = np.full(count, -1, np.int64)

        def note(chunk: Any) -> None:
            if chunk.size == size:
                starts[chunk.chunk_offset[0] // self.together] = chunk.byte_offset

        data.id.chunk_iter(note)
        return None if (starts < 0).any() else starts

    def _stretches(self, rows: Int64s) -> Iterator[tuple[int, int, int]]:
        """Yield (first, last, offset): the rows numbered [first, last) lie side by side from that byte on."""
        assert self._starts is not None  # noqa: S101 - the caller looked
        run, row = np.divmod(rows, self._side_by_side)
        offsets = self._starts[run] + row * self._row_bytes
        ends = [*(np.flatnonzero(np.diff(offsets) != self._row_bytes) + 1).tolist(), len(rows)]
        first = 0
        for end in ends:
            yield first, end, int(offsets[first])
            first = end

    def _read_apart(self, rows: Int64s, places: Int64s, out: Array) -> None:
        size = self._row_bytes
        memory = _bytes_of(out)
        targets = (places * size).tolist()
        stretches = list(self._stretches(rows))
        for first, last, offset in stretches if hasattr(os, "posix_fadvise") else ():
            # A slow disk finds out at once what will be read.
            os.posix_fadvise(self._descriptor, offset, (last - first) * size, os.POSIX_FADV_WILLNEED)
        for first, last, offset in stretches:
            for start in range(first, last, _MOST_BUFFERS):
                stop = min(start + _MOST_BUFFERS, last)
                try:
                    self._fill([memory[at : at + size] for at in targets[start:stop]], offset + (start - first) * size)
                except OSError as error:
                    self.fail(int(rows[start]), int(rows[stop - 1]), error)

    def _fill(self, buffers: list[memoryview], offset: int) -> None:
        """Fill all buffers from a byte of the file on: by one call, unless they hold over 2 GB, or the file ends."""
        wanted = sum(map(len, buffers))
        while done := os.preadv(self._descriptor, buffers, offset):
            wanted -= done
            if not wanted:
                return
            offset += done
            while done >= len(buffers[0]):
                done -= len(buffers.pop(0))
            buffers[0] = buffers[0][done:]
        raise OSError(f"the file ends at byte {offset}")

    def _read_together(self, rows: Int64s, places: Int64s, out: Array) -> None:
        shape = out.shape[1:]
        for first, last, offset in self._stretches(rows):
            block = np.empty((last - first, *shape), self.dtype)
            try:
                self._fill([_bytes_of(block)], offset)
            except OSError as error:
                self.fail(int(rows[first]), int(rows[last - 1]), error)
            out[places[first:last]] = block


def _bytes_of(array: Any) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))


class Column:
    """The rows of one data set of a file, whole or in parts."""

    def __init__(self, data: h5py.Dataset, bounds: Bounds, parts: PartFiles | None = None) -> None:
        """Take a data set that `find` returned, and the files of its parts, which `close` closes too.

        Raises SourceError if it does not hold numbers, a row a sample.
        """
        self.name = f"{bounds.name}{data.name}"
        if data.dtype.kind not in "uifb" or not data.shape:
            raise SourceError(
                f"{self.name}: dtype {data.dtype}, shape {data.shape}: it must hold numbers, a row a sample"
            )
        self.shape: tuple[int, ...] = data.shape
        self.dtype: np.dtype[Any] = data.dtype.newbyteorder("=")
        self._file, self._parts = data.file, parts or PartFiles(bounds.top, bounds.remedy)
        self._rows = read_rows(data, bounds, self.dtype, Access(self._parts, DirectRows))
        self.together = self._rows.together if len(self) else 1

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    def scatter(self, rows: Int64s, places: Int64s, out: Array) -> None:
        """Write `rows` (ascending) to `places` of `out`, a C-ordered array of the column's dtype and shape of a row.

        Raises SourceError if a file is damaged, was changed or has vanished.
        """
        if len(rows):
            self._rows.scatter(rows, places, out)

    def take(self, rows: Int64s) -> Array:
        """Return rows (ascending) as a new array. Raises SourceError."""
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        self.scatter(rows, np.arange(len(rows), dtype=np.int64), out)
        return out

    def close(self) -> None:
        """Close all files."""
        self._parts.close()
        self._file.close()
