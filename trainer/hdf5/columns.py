"""One data set's rows, read to where they are wanted: owns how rows lie in files, and reading them with one copy.

Rows of an uncompressed data set are read past the HDF5 library, by `preadv`, each straight into its place: the library
would copy them twice, under a lock that all of h5py shares. Compressed ones are unpacked by HDF5. A virtual data set is
read as its parts. Refuses to know batches and orders. For one thread.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.confined_files import Watch
from penstock.protocol.storage.hdf5_open import Bounds, check_filters, find, h5py, open_hdf5, part_place, row_range
from penstock.protocol.storage.rows_hdf5 import runs
from penstock.protocol.wire import Array

#: Buffers that one system call fills: IOV_MAX of Linux.
_MOST_BUFFERS = 1024
#: Rows at least this long (bytes) are read each into its place; shorter ones together, and moved there by numpy.
_ROW_BYTES = 512
#: Chunks a data set may have to be read past HDF5: their places are listed at once, 1 µs and 8 bytes each.
_MOST_CHUNKS = 4_000_000
#: Files of parts that are open at the same time.
_MOST_OPEN = 64


class _Stored:
    """A data set that is not virtual, in its open file."""

    def __init__(self, data: h5py.Dataset, name: str, dtype: np.dtype[Any]) -> None:
        """Look where its rows lie; `dtype` is what they are wanted as."""
        self.data, self.name, self._dtype = data, name, dtype
        #: Rows that are stored together.
        self.together: int = data.chunks[0] if data.chunks else 1
        self._file = data.file
        opened = self._file.id.get_vfd_handle()  # by name it may be another file by now
        self._descriptor = os.open(f"/proc/self/fd/{opened}", os.O_RDONLY | os.O_CLOEXEC)
        self._watch = Watch(self._descriptor, name)
        self._row_bytes = dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64))
        #: Rows that lie side by side in the file, and where each such run starts (None: only HDF5 knows).
        self._side_by_side = self.together if data.chunks else max(1, len(data))
        try:
            self._starts = self._find_starts() if self._is_plain() else None
        except (OSError, RuntimeError, ValueError, OverflowError) as error:  # of a damaged index
            raise SourceError(f"{name}: its chunks cannot be found: {error}; write or copy the file again") from error

    def close(self) -> None:
        """Close the file; the descriptor goes with the watch."""
        self._file.close()

    def check(self) -> None:
        """Raise SourceError if the file was written to since it was opened."""
        if self._watch.changed:
            raise SourceError(f"{self.name} was changed while it was read: open it again when it is written")

    def scatter(self, rows: Int64s, places: Int64s, out: Array) -> None:
        """Write `rows`, ascending, to `places` of `out`. Raises SourceError."""
        self.check()
        if self._starts is None:
            self._unpack(rows, places, out)
        elif self._row_bytes < _ROW_BYTES:
            self._read_together(rows, places, out)
        else:
            self._read_apart(rows, places, out)

    def _fail(self, first: int, last: int, error: Exception) -> NoReturn:
        """Raise SourceError for rows that cannot be read; what is the matter with a file that was changed is that."""
        self.check()
        raise SourceError(
            f"{self.name}: rows {first} to {last} cannot be read: {error}; write or copy the file again"
        ) from error

    def _is_plain(self) -> bool:
        """Return whether the file holds the rows as they will be in memory."""
        data, chunks = self.data, self.data.chunks
        if data.external or self._file.userblock_size or data.dtype != self._dtype or data.dtype.kind not in "uif":
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
        for first, last, offset in stretches:  # a slow disk finds out at once what will be read
            os.posix_fadvise(self._descriptor, offset, (last - first) * size, os.POSIX_FADV_WILLNEED)
        for first, last, offset in stretches:
            for start in range(first, last, _MOST_BUFFERS):
                stop = min(start + _MOST_BUFFERS, last)
                try:
                    self._fill([memory[at : at + size] for at in targets[start:stop]], offset + (start - first) * size)
                except OSError as error:
                    self._fail(int(rows[start]), int(rows[stop - 1]), error)

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
            block = np.empty((last - first, *shape), self._dtype)
            try:
                self._fill([_bytes_of(block)], offset)
            except OSError as error:
                self._fail(int(rows[first]), int(rows[last - 1]), error)
            out[places[first:last]] = block

    def _unpack(self, rows: Int64s, places: Int64s, out: Array) -> None:
        for first, last in runs(rows, self.together):
            start, stop = int(rows[first]), int(rows[last - 1]) + 1
            try:
                block = self.data[start:stop]
            except (OSError, RuntimeError, ValueError) as error:  # what h5py raises for damaged chunks
                self._fail(start, stop - 1, error)
            out[places[first:last]] = block[rows[first:last] - start]


def _bytes_of(array: Any) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of a virtual data set that lie side by side in one part."""

    start: int
    stop: int
    place: str
    inner: str
    #: The part's row that is row `start` of the whole.
    first: int


class Column:
    """The rows of one data set of a file, whole or in parts."""

    def __init__(self, data: h5py.Dataset, bounds: Bounds) -> None:
        """Take a data set that `find` returned. Raises SourceError if it does not hold numbers, a row a sample."""
        self.name = f"{bounds.name}{data.name}"
        if data.dtype.kind not in "uifb" or not data.shape:
            raise SourceError(
                f"{self.name}: dtype {data.dtype}, shape {data.shape}: it must hold numbers, a row a sample"
            )
        self._bounds = bounds
        self.shape: tuple[int, ...] = data.shape
        self.dtype: np.dtype[Any] = data.dtype.newbyteorder("=")
        self._parts = _parts(data) if data.is_virtual else None
        self._open: dict[tuple[str, str], _Stored] = {}
        self._stored = None if self._parts is not None else _Stored(data, self.name, self.dtype)
        self.together = self._first().together if len(self) else 1

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
        if not len(rows):
            return
        if self._parts is None:
            assert self._stored is not None  # noqa: S101 - one or the other
            self._stored.scatter(rows, places, out)
            return
        at = 0
        while at < len(rows):
            part = self._part_of(int(rows[at]))
            end = int(np.searchsorted(rows, part.stop))
            self._opened(part).scatter(rows[at:end] - part.start + part.first, places[at:end], out)
            at = end

    def take(self, rows: Int64s) -> Array:
        """Return rows (ascending) as a new array. Raises SourceError."""
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        self.scatter(rows, np.arange(len(rows), dtype=np.int64), out)
        return out

    def close(self) -> None:
        """Close all files."""
        for stored in (*self._open.values(), *(() if self._stored is None else (self._stored,))):
            stored.close()

    def _first(self) -> _Stored:
        return self._stored if self._stored is not None else self._opened(self._part_of(0))

    def _part_of(self, row: int) -> _Part:
        assert self._parts is not None  # noqa: S101 - the callers looked
        return self._parts[bisect_right(self._parts, row, key=lambda part: part.start) - 1]

    def _opened(self, part: _Part) -> _Stored:
        key = (part.place, part.inner)
        stored = self._open.pop(key, None)
        if stored is None:
            stored = self._open_part(part)
            while len(self._open) >= _MOST_OPEN:  # the one that was used longest ago comes first
                self._open.pop(next(iter(self._open))).close()
        self._open[key] = stored
        return stored

    def _open_part(self, part: _Part) -> _Stored:
        name = os.path.basename(part.place)  # noqa: PTH119 - as text
        if not os.path.isfile(part.place):  # noqa: PTH113
            raise SourceError(
                f"{self.name}: its part {name} is gone since the file was opened: open it again, it may be finished now"
            )
        file = open_hdf5(part.place, f"{self.name} ({name})")
        data = find(file, part.inner, Bounds(f"{self._bounds.name} ({name})", self._bounds.top, self._bounds.remedy))
        if data is None or data.shape[1:] != self.shape[1:] or len(data) < part.first + part.stop - part.start:
            raise SourceError(f"{self.name}: part {name} is not what it was when the file was opened: write it again")
        check_filters(data, self.name)
        return _Stored(data, f"{self.name} ({name})", self.dtype)


def _parts(data: h5py.Dataset) -> list[_Part] | None:
    """Return the parts of a virtual data set in the order of their rows, or None if they are not runs of whole rows."""
    parts: list[_Part] = []
    for mapped in data.virtual_sources():
        rows = row_range(mapped.vspace)
        whole = mapped.src_space.get_select_type() == h5py.h5s.SEL_ALL
        inner = (0, 0) if whole else row_range(mapped.src_space)
        if rows is None or inner is None:
            return None
        parts.append(_Part(*rows, part_place(data, mapped.file_name), mapped.dset_name, inner[0]))
    parts.sort(key=lambda part: part.start)
    ends = [0, *(part.stop for part in parts)]
    complete = ends[-1] == len(data) and all(part.start == end for part, end in zip(parts, ends, strict=False))
    return parts if complete else None
