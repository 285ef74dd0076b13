"""Arrays in HDF5 files: owns how rows are read from data sets, chunk by chunk, and where links in a file may lead.

A data set that lies in one piece, uncompressed, is mapped into memory like a `.npy` file and never goes through the
HDF5 library. Refuses to know images and labels.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.array_types import Stored
from penstock.protocol.storage.confined_files import Watch, open_below, opened_path
from penstock.protocol.storage.hdf5_open import Bounds, find, h5py, names_of, open_hdf5
from penstock.protocol.storage.rows_numpy import Mapped

#: Unpacked chunks that a data set keeps (bytes): a chunk that several rows of a task share is unpacked once.
_CACHE_BYTES = 32_000_000
#: Rows of the same run are read in one go even if so many others lie between them: a call costs about as much.
_GAP_ROWS = 4

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a source's arrays lie: a file below a root, and the data sets in it."""

    path: str
    images: str
    #: Empty: there are no labels.
    labels: str
    allow_outside: bool = field(kw_only=True)


class DataSet:
    """A data set that is read through the HDF5 library; for one thread at a time."""

    def __init__(self, file: h5py.File, data: h5py.Dataset, name: str) -> None:
        """Take an open data set; `name` stands in messages."""
        self._data, self.name = data, name
        self.shape: tuple[int, ...] = data.shape
        self.dtype: np.dtype[Any] = data.dtype
        chunks = data.chunks
        #: Rows that are stored together.
        self._together: int = chunks[0] if chunks else 1
        self._watch = Watch(os.open(file.filename, os.O_RDONLY | os.O_CLOEXEC), name)

    def take(self, rows: Int64s) -> Array:
        """Return these rows, read in ascending runs. Raises ItemError if they cannot be read."""
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        try:
            self._watch.check()
            for first, last in runs(ascending, self._together):
                start = int(ascending[first])
                run = self._data[start : int(ascending[last - 1]) + 1]
                out[order[first:last]] = run[ascending[first:last] - start]
        except (OSError, RuntimeError, ValueError) as error:  # what h5py raises for damaged chunks and missing filters
            raise ItemError(f"{self.name}: cannot read: {error}") from error
        return out

    def run(self, start: int, stop: int) -> Array:
        """Return the rows from `start` up to `stop`. Raises SourceError if they cannot be read."""
        try:
            return cast("Array", self._data[start:stop])
        except (OSError, RuntimeError, ValueError) as error:
            raise SourceError(f"{self.name}: cannot read rows {start} to {stop}: {error}") from error


def runs(ascending: Int64s, together: int) -> Iterator[tuple[int, int]]:
    """Yield [first, last) of the places in `ascending` whose rows are read in one go.

    That is what lies in one chunk, `together` rows each, or nearly side by side.
    """
    chunks = ascending // together
    apart = (np.diff(chunks) > 1) | ((np.diff(chunks) == 1) & (np.diff(ascending) > _GAP_ROWS))
    if together == 1:
        apart = np.diff(ascending) > _GAP_ROWS
    ends = [0, *(np.flatnonzero(apart) + 1).tolist(), len(ascending)]
    yield from ((first, last) for first, last in pairwise(ends) if first < last)


def open_data_sets(source: Place, root: str) -> tuple[Stored, Stored | None, Sequence[str] | None]:
    """Return images, labels and class names of a file below a folder of this host. Raises SourceError."""
    descriptor = open_below(root, source.path, allow_outside=source.allow_outside)
    try:
        file = open_hdf5(opened_path(descriptor), f"{root}/{source.path}", cache_bytes=_CACHE_BYTES)
    finally:
        os.close(descriptor)
    images = _find(file, source, root, source.images, "images")
    labels = _find(file, source, root, source.labels, "labels") if source.labels else None
    names = class_names(source.path, labels if labels is not None else images, file)
    return _stored(file, images, source), None if labels is None else _stored(file, labels, source), names


def _find(file: h5py.File, source: Place, root: str, name: str, field: str) -> h5py.Dataset:
    """Return a data set; what leads to other files is an error unless the source permits it."""
    top = None if source.allow_outside else os.path.realpath(root)
    found = find(file, name, Bounds(source.path, top))
    if found is None:
        hint = '; labels = "" for none' if field == "labels" else ""
        raise SourceError(f"{source.path}: no data set {name!r} (source.{field}); it holds: {names_of(file)}{hint}")
    return found


def _stored(file: h5py.File, data: h5py.Dataset, source: Place) -> Stored:
    name = f"{source.path}{data.name}"
    if data.dtype.kind not in "uifb" or not data.shape:
        raise SourceError(f"{name}: dtype {data.dtype}, shape {data.shape}: it must hold numbers, a row an item")
    offset = data.id.get_offset()
    plain = data.chunks is None and not data.is_virtual and not data.external and not file.userblock_size
    if offset is None or not plain:
        return DataSet(file, data, name)
    return Mapped(os.open(file.filename, os.O_RDONLY | os.O_CLOEXEC), name, data.shape, data.dtype, offset)


def class_names(name: str, labels: h5py.Dataset | h5py.File, file: h5py.File) -> Sequence[str] | None:
    """Return the class names that stand beside the labels, or in the file; None for none. Raises SourceError."""
    for holder in (labels, file):
        if not isinstance(said := holder.attrs.get("classes", h5py.Empty("f")), h5py.Empty):
            names = np.atleast_1d(np.asarray(said)).tolist()
            texts = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names]
            if not all(isinstance(text, str) for text in texts) or len(set(texts)) < len(texts):
                raise SourceError(f"{name}: attribute classes = {texts!r}: must be names, each once")
            return texts
    return None
