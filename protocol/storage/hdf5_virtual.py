"""Reads rows of virtual data sets part by part, and finds data sets with all their parts.

The HDF5 library delivers fill values for a part that it cannot open, so it never reads a virtual data set here:
`hdf5_mapping` says which rows lie where, `hdf5_parts` opens the files, `hdf5_stored` reads them. For one thread.
"""

import math
import os
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.hdf5_mapping import MOST_SCATTERED, Mapping, gap, in_order, mappings_of, unknown
from penstock.protocol.storage.hdf5_open import MOST_CHUNK_BYTES, Bounds, h5py, hard_links, locate
from penstock.protocol.storage.hdf5_parts import OpenFile, PartFiles
from penstock.protocol.storage.hdf5_stored import Array, StoredRows, runs

#: Virtual data sets within each other.
_MOST_NESTED = 4

Leaf = Callable[[h5py.Dataset, str, OpenFile, "np.dtype[Any]"], StoredRows]


@dataclass(frozen=True, slots=True)
class Access:
    """How the data sets behind one are read."""

    #: The files of parts.
    parts: PartFiles
    #: What reads a data set that is not virtual.
    leaf: Leaf = StoredRows
    #: Virtual data sets above this one.
    nested: int = 0


class VirtualRows:
    """Rows of a virtual data set, read from its parts."""

    def __init__(
        self, data: h5py.Dataset, bounds: Bounds, opened: OpenFile, dtype: np.dtype[Any], access: Access
    ) -> None:
        """Read which rows lie in which part. Raises SourceError for what cannot be read safely."""
        self.name = f"{bounds.name}{data.name}"
        if access.nested == _MOST_NESTED:
            raise SourceError(f"{self.name}: virtual data sets nested deeper than {_MOST_NESTED}")
        self._mappings = mappings_of(data, self.name)  # first: HDF5 opens some parts to answer for the shape
        self.shape: tuple[int, ...] = data.shape
        self._ordered = in_order(self._mappings, self.shape[0] if self.shape else 0, self.name)
        self._starts = [each.rows[0] for each in self._ordered or () if each.rows]
        self._bounds, self._opened, self._dtype = bounds, opened, dtype
        self._access = access

    @property
    def together(self) -> int:
        """Rows that are stored together in the first part."""
        if not self._ordered:
            return 1
        with self._reader(self._ordered[0]) as (reader, _):
            return reader.together

    def stored(self) -> Iterator[StoredRows]:
        """Open each part, and yield what reads it. Raises SourceError if one cannot be read."""
        parts: dict[tuple[str, str], list[Mapping]] = {}
        for each in self._mappings:
            parts.setdefault((each.file, each.inner), []).append(each)
        for mappings in parts.values():
            with self._reader(*mappings) as (reader, _):
                yield from reader.stored()

    def scatter(self, rows: Int64s, places: Int64s, out: Array) -> None:
        """Write `rows`, ascending, to `places` of `out`. Raises SourceError."""
        if self._ordered is None:
            self._in_runs(rows, places, out, self._gather)
            return
        at = 0
        while at < len(rows):
            mapping = self._ordered[bisect_right(self._starts, int(rows[at])) - 1]
            assert mapping.rows is not None  # noqa: S101 - they are in order
            start, stop = mapping.rows
            end = int(np.searchsorted(rows, stop))
            self._scatter_part(mapping, rows[at:end] - start, places[at:end], out)
            at = end

    def _scatter_part(self, mapping: Mapping, rows: Int64s, places: Int64s, out: Array) -> None:
        """Write rows of one part, counted from its first that is mapped."""
        with self._reader(mapping) as (reader, shape):
            if not mapping.source and shape[1:] == self.shape[1:]:
                reader.scatter(rows + (mapping.taken[0] if mapping.taken else 0), places, out)
                return

            def block(start: int, stop: int) -> Array:
                return self._elements(mapping, start, stop).reshape(stop - start, *self.shape[1:])

            self._in_runs(rows, places, out, block)

    def _in_runs(self, rows: Int64s, places: Int64s, out: Array, block: Callable[[int, int], Array]) -> None:
        for first, last in runs(rows, 1):
            start = int(rows[first])
            out[places[first:last]] = block(start, int(rows[last - 1]) + 1)[rows[first:last] - start]

    def _gather(self, start: int, stop: int) -> Array:
        """Return rows [start, stop) of a data set whose parts are not whole rows one after the other."""
        block = np.empty((stop - start, *self.shape[1:]), self._dtype)
        filled = np.zeros(block.shape, np.bool_)
        for mapping in self._mappings:
            into = mapping.into or tuple(np.arange(*ends) for ends in self._ends(mapping.rows))
            low, high = np.searchsorted(into[0], [start, stop]).tolist()
            if low < high:
                inside = np.ix_(into[0][low:high] - start, *into[1:])
                block[inside] = self._elements(mapping, low, high).reshape(filled[inside].shape)
                filled[inside] = True
        if not filled.all():
            row = start + int(filled.reshape(len(block), -1).all(axis=1).argmin())
            raise gap(self.name, row, row + 1)
        return block

    def _ends(self, rows: tuple[int, int] | None) -> list[tuple[int, int]]:
        return [rows or (0, 0), *((0, side) for side in self.shape[1:])]

    def _elements(self, mapping: Mapping, low: int, high: int) -> Array:
        """Return the elements of a mapping's rows numbered [low, high), flat and in order."""
        count = mapping.rows[1] - mapping.rows[0] if mapping.rows else len(mapping.into[0])
        each = mapping.elements // count
        with self._reader(mapping) as (reader, shape):
            begin, end = mapping.taken or (0, shape[0])
            if end - begin > MOST_SCATTERED:
                raise unknown(self.name)
            source = mapping.source or (np.arange(begin, end), *(np.arange(side) for side in shape[1:]))
            held = mapping.elements // len(source[0])
            first, last = low * each // held, -(-high * each // held)
            size = (last - first) * math.prod(shape[1:]) * self._dtype.itemsize
            if size > max(MOST_CHUNK_BYTES, 2 * (high - low) * each * self._dtype.itemsize):
                raise unknown(self.name)
            rows = np.empty((last - first, *shape[1:]), self._dtype)
            reader.scatter(source[0][first:last], np.arange(last - first, dtype=np.int64), rows)
            flat: Array = rows[np.ix_(np.arange(last - first), *source[1:])].reshape(-1)
            return flat[low * each - first * held : high * each - first * held]

    @contextmanager
    def _reader(self, *mappings: Mapping) -> Generator[tuple["RowReader", tuple[int, ...]]]:
        """Open the part of some mappings for a block of reading; give its reader and its shape."""
        file = mappings[0].file
        if file == ".":
            yield self._find(self._opened, self._bounds.name, mappings)
            return
        path = os.path.join(self._opened.folder, file)  # noqa: PTH118 - as HDF5 does it
        with self._access.parts.use(path, file, self.name) as opened:
            yield self._find(opened, f"{self._bounds.name} ({file})", mappings)

    def _find(self, opened: OpenFile, name: str, mappings: Sequence[Mapping]) -> tuple["RowReader", tuple[int, ...]]:
        inner, access = mappings[0].inner, self._access
        key = (inner, self._dtype.str, access.leaf, access.nested)
        reader: RowReader | None = opened.readers.get(key)
        if reader is None:
            bounds = Bounds(name, self._bounds.top, self._bounds.remedy)
            data = locate(opened.file, inner, bounds)
            if data is None:
                raise SourceError(f"{self.name} holds data of {name}, which has no data set {inner!r}: write it again")
            reader = _reader_of(data, bounds, opened, self._dtype, replace(access, nested=access.nested + 1))
            opened.readers[key] = reader
        for mapping in mappings:
            if not _holds(reader.shape, mapping):
                raise SourceError(
                    f"{self.name} holds more of {name} than there is, or rows of another shape ({reader.shape}): "
                    "write it again"
                )
        return reader, reader.shape


RowReader = StoredRows | VirtualRows


def _holds(shape: tuple[int, ...], mapping: Mapping) -> bool:
    """Return whether a part of this shape has all that is taken of it."""
    if not shape or 0 in shape:
        return False
    if mapping.least is not None:
        return len(mapping.least) == len(shape) and all(
            least <= side for least, side in zip(mapping.least, shape, strict=True)
        )
    count = mapping.rows[1] - mapping.rows[0] if mapping.rows else 0
    return math.prod(shape) == mapping.elements or (
        shape[0] >= count > 0 and count * math.prod(shape[1:]) == mapping.elements
    )


def read_rows(data: h5py.Dataset, bounds: Bounds, dtype: np.dtype[Any], access: Access) -> RowReader:
    """Return what reads a data set that `find` returned. Raises SourceError."""
    return _reader_of(data, bounds, OpenFile.of(data.file, bounds.name), dtype, access)


def _reader_of(data: h5py.Dataset, bounds: Bounds, opened: OpenFile, dtype: np.dtype[Any], access: Access) -> RowReader:
    if data.is_virtual:
        return VirtualRows(data, bounds, opened, dtype, access)
    return access.leaf(data, f"{bounds.name}{data.name}", opened, dtype)


def find(file: h5py.File, name: str, bounds: Bounds, parts: PartFiles | None = None) -> h5py.Dataset | None:
    """Return a data set that may be read, with all its parts; None if there is none of that name.

    `parts` remembers what the files of its parts are: one that is replaced later is then an error. Raises SourceError
    if it leads out of the bounds, if a part is missing, or if a filter is not installed.
    """
    data = locate(file, name, bounds)
    if data is not None and data.is_virtual:
        for _ in stored_rows(data, bounds, parts):
            pass
    return data


def data_sets(file: h5py.File, name: str) -> dict[str, h5py.Dataset]:
    """Return the data sets at a file's root, links left aside. Raises SourceError for one that cannot be confined."""
    found: dict[str, Any] = {key: file[key] for key in hard_links(file)}
    sets = {key: data for key, data in found.items() if isinstance(data, h5py.Dataset)}
    for key, data in sets.items():
        if data.is_virtual:
            mappings_of(data, f"{name}/{key}")
    return sets


def stored_rows(data: h5py.Dataset, bounds: Bounds, parts: PartFiles | None = None) -> Iterator[StoredRows]:
    """Open all that holds a data set's rows: itself, or of a virtual one its parts. Raises SourceError, as `find`."""
    files = parts or PartFiles(bounds.top, bounds.remedy)
    try:
        yield from read_rows(data, bounds, data.dtype, Access(files)).stored()
    finally:
        files.close()  # they are opened again where they are read; what they were is remembered
