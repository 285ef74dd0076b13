"""Opens images and labels in HDF5 files as arrays of rows.

A data set that lies in one piece, uncompressed, is mapped into memory like a `.npy` file. All others are read through
`hdf5_virtual`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.array_types import Stored
from penstock.protocol.storage.confined_files import open_below
from penstock.protocol.storage.hdf5_open import Bounds, chunk_bytes, h5py, names_of, open_descriptor
from penstock.protocol.storage.hdf5_parts import PartFiles, duplicate
from penstock.protocol.storage.hdf5_virtual import Access, find, read_rows, stored_rows
from penstock.protocol.storage.rows_numpy import Mapped

#: Unpacked chunks that a data set keeps (bytes): a chunk that several rows of a task share is unpacked once.
CACHE_BYTES = 32_000_000
#: Copies of a chunk while it is unpacked: the library doubles its buffer as it goes, and rows are copied out of it.
_COPIES = 4

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Location of a source's arrays: a file below a root, and the data sets in it."""

    path: str
    images: str
    #: Empty: there are no labels.
    labels: str
    allow_outside: bool = field(kw_only=True)


class DataSet:
    """A data set that is read through the HDF5 library, or a virtual one; for one thread at a time."""

    def __init__(self, data: h5py.Dataset, name: str, bounds: Bounds, parts: PartFiles) -> None:
        """Take a data set that `find` returned; `name` stands in messages. Raises SourceError."""
        self.name = name
        self.shape: tuple[int, ...] = data.shape
        self.dtype: np.dtype[Any] = data.dtype
        self._data, self._bounds, self._parts = data, bounds, parts
        self._rows = read_rows(data, bounds, data.dtype, Access(parts))

    @property
    def working_bytes(self) -> int:
        """Memory for unpacked chunks: those that are kept, and the largest while it is unpacked."""
        chunks = [chunk_bytes(rows.data) for rows in stored_rows(self._data, self._bounds, self._parts)]
        largest = max(chunks, default=0)
        return CACHE_BYTES + _COPIES * largest if largest else 0

    def take(self, rows: Int64s) -> Array:
        """Return these rows, read in ascending order. Raises ItemError if any of them cannot be read."""
        order = np.argsort(rows, kind="stable")
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        try:
            self._rows.scatter(rows[order], order, out)
        except SourceError as error:
            raise ItemError(str(error)) from error
        return out

    def run(self, start: int, stop: int) -> Array:
        """Return the rows from `start` up to `stop`. Raises SourceError if they cannot be read."""
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._rows.scatter(np.arange(start, stop, dtype=np.int64), np.arange(stop - start, dtype=np.int64), out)
        return out

    def release(self) -> None:
        """Close the files of parts; they are opened again when they are needed, if they are still the same."""
        self._parts.close()


def open_data_sets(source: Place, root: str) -> tuple[Stored, Stored | None, Sequence[str] | None]:
    """Return images, labels and class names of a file below a folder of this host. Raises SourceError."""
    descriptor = open_below(root, source.path, allow_outside=source.allow_outside)
    try:
        file = open_descriptor(descriptor, f"{root}/{source.path}", cache_bytes=CACHE_BYTES)
        opened = _Opened(file, source, root)
        images = opened.find(source.images, "images")
        labels = opened.find(source.labels, "labels") if source.labels else None
        names = class_names(source.path, labels if labels is not None else images, file)
        return opened.stored(images), None if labels is None else opened.stored(labels), names
    finally:
        os.close(descriptor)


class _Opened:
    """A source's open file."""

    def __init__(self, file: h5py.File, source: Place, root: str) -> None:
        self._file, self._source = file, source
        self._bounds = Bounds(source.path, None if source.allow_outside else os.path.realpath(root))
        self._parts = PartFiles(self._bounds.top)

    def find(self, name: str, field: str) -> h5py.Dataset:
        """Return a data set. Raises SourceError if there is none, or if it must not be read."""
        found = find(self._file, name, self._bounds, self._parts)
        if found is None:
            hint = '; labels = "" for none' if field == "labels" else ""
            raise SourceError(
                f"{self._source.path}: no data set {name!r} (source.{field}); it holds: {names_of(self._file)}{hint}"
            )
        return found

    def stored(self, data: h5py.Dataset) -> Stored:
        """Return a data set as an array of rows."""
        name = f"{self._source.path}{data.name}"
        if data.dtype.kind not in "uifb" or not data.shape:
            raise SourceError(f"{name}: dtype {data.dtype}, shape {data.shape}: it must hold numbers, a row an item")
        plain = data.chunks is None and not data.is_virtual and not data.external and not data.file.userblock_size
        offset = data.id.get_offset() if plain else None
        if offset is None:
            return DataSet(data, name, self._bounds, self._parts)
        return Mapped(duplicate(data.file.id.get_vfd_handle(), name), name, data.shape, data.dtype, offset)


def class_names(name: str, labels: h5py.Dataset | h5py.File, file: h5py.File) -> Sequence[str] | None:
    """Return the class names stored with the labels, or in the file; None without them. Raises SourceError."""
    for holder in (labels, file):
        if not isinstance(said := holder.attrs.get("classes", h5py.Empty("f")), h5py.Empty):
            names = np.atleast_1d(np.asarray(said)).tolist()
            texts = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names]
            if not all(isinstance(text, str) for text in texts) or len(set(texts)) < len(texts):
                raise SourceError(f"{name}: attribute classes = {texts!r}: must be names, each once")
            return texts
    return None
