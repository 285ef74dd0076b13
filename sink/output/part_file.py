"""One HDF5 file of consecutive samples: a piece of what is being written, or a whole shard of it.

Writes samples into data sets, and the attributes and quarantined items of a piece.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from penstock.protocol.errors import OutputError
from penstock.protocol.records import Failure
from penstock.protocol.wire import Array
from penstock.sink.core.block import Slice
from penstock.sink.core.reader import gather
from penstock.sink.core.writer_jobs import Lost, RowsJob
from penstock.sink.output.durable_files import Disk, DurableFile
from penstock.sink.output.layout import EPOCH, FORMAT, LIBVER, Column, Layout, filters, text

_TEXT = h5py.string_dtype()
_QUARANTINE: tuple[tuple[str, Any], ...] = (
    ("position", np.int64),
    ("item", np.int64),
    ("epoch", np.int32),
    ("path", _TEXT),
    ("reason", _TEXT),
    ("attempts", np.int32),
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A finished file of consecutive samples."""

    path: Path
    #: Of the stream that it is a piece of.
    fingerprint: str
    #: Positions [start, stop) that it covers; `rows` samples of them are here, the others failed.
    start: int
    stop: int
    rows: int
    lost: tuple[Lost, ...]

    def describe(self, file: h5py.File) -> None:
        """Write the file's attributes and its quarantined items."""
        file.attrs.update(
            penstock_piece=FORMAT, fingerprint=self.fingerprint, start=self.start, stop=self.stop, rows=self.rows
        )
        write_lost(file, self.lost)


class PieceWriter:
    """A piece that is being written."""

    def __init__(self, path: Path, layout: Layout, compression: str, disk: Disk) -> None:
        """Create the file. Raises OutputError."""
        self.path, self.rows = path, 0
        self._layout = layout
        self._durable = DurableFile(path, disk)
        self._direct = compression == "none"
        with self._durable.guard():
            self.file = h5py.File(self._durable, "w", libver=LIBVER)
            self._data = [create(self.file, column, 0, compression) for column in layout.columns]

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return self._durable.size

    def append(self, rows: RowsJob) -> None:
        """Write samples; all but the last call's are whole chunks of the large fields. Raises OutputError."""
        with self._durable.guard():
            if rows.count:
                self._append(rows, self.rows, self.rows + rows.count)
        self.rows += rows.count

    def _append(self, rows: RowsJob, start: int, stop: int) -> None:
        for index, (column, data) in enumerate(zip(self._layout.columns, self._data, strict=True)):
            data.resize(stop, 0)
            if column.field == EPOCH:
                data[start:stop] = np.repeat(*np.array(rows.epochs, np.int32).T)
            elif column.large:
                for at, chunk in _chunks(rows.slices, index, column):
                    write_chunk(data, column, start + at, chunk, direct=self._direct)
            else:
                data[start:stop] = gather(index, column.field, rows.slices, rows.count)

    def close(self, fingerprint: str, start: int, stop: int, lost: Sequence[Lost]) -> Piece:
        """Write what the piece covers, sync and close. Raises OutputError."""
        piece = Piece(self.path, fingerprint, start, stop, self.rows, tuple(lost))
        try:
            with self._durable.guard():
                piece.describe(self.file)
                self.file.close()
            self._durable.finish()
        except OutputError:
            self.drop()
            raise
        return piece

    def drop(self) -> None:
        """Close and remove it; errors of the library on a failed disk do not matter."""
        with suppress(OSError, RuntimeError, ValueError):
            self.file.close()
        self._durable.drop()


def create(file: h5py.File, column: Column, rows: int, compression: str) -> h5py.Dataset:
    """Make the data set of a field."""
    dtype = np.dtype(column.field.dtype)
    return file.create_dataset(
        column.name,
        (rows, *column.field.shape),
        dtype,
        maxshape=(None, *column.field.shape),
        chunks=(column.chunk_rows, *column.field.shape),
        **filters(compression, dtype.itemsize) if column.large else {},
    )


def write_chunk(data: h5py.Dataset, column: Column, start: int, chunk: Array, *, direct: bool) -> None:
    """Write one chunk, from row `start` on: as it lies, if nothing compresses it."""
    if not direct:
        data[start : start + len(chunk)] = chunk
        return
    if len(chunk) < column.chunk_rows:  # the very last: a chunk is stored whole
        whole = np.zeros((column.chunk_rows, *column.field.shape), column.field.dtype)
        whole[: len(chunk)] = chunk
        chunk = whole
    data.id.write_direct_chunk((start, *[0] * len(column.field.shape)), np.ascontiguousarray(chunk))


def write_lost(file: h5py.File, lost: Sequence[Lost]) -> None:
    """Write the quarantined items as the group `quarantine`."""
    group = file.create_group("quarantine")
    rows = [(each.position, *_row(each.epoch, each.failure)) for each in lost]
    for number, (name, dtype) in enumerate(_QUARANTINE):
        group.create_dataset(name, data=[row[number] for row in rows], shape=(len(rows),), dtype=dtype)


def read_lost(file: Any) -> tuple[Lost, ...]:  # noqa: ANN401 - h5py's types say little
    """Return what `write_lost` wrote. Raises h5py's errors where the group is missing."""
    group = file["quarantine"]
    columns = [group[name].asstr()[:] if dtype is _TEXT else group[name][:].tolist() for name, dtype in _QUARANTINE]
    return tuple(
        Lost(position, epoch, Failure(offset=0, item=item, path=path, reason=reason, attempts=attempts))
        for position, item, epoch, path, reason, attempts in zip(*columns, strict=True)
    )


def _row(epoch: int, failure: Failure) -> tuple[Any, ...]:
    return failure.item, epoch, text(failure.path), text(failure.reason), failure.attempts


def read_piece(path: Path, layout: Layout) -> Piece:
    """Return a finished piece. Raises OutputError if the file is no piece of this layout."""
    try:
        with cast("Any", h5py.File(path, "r")) as file:
            attributes = file.attrs
            rows = int(attributes["rows"])
            for column in layout.columns:
                data = file[column.name]
                if data.shape != (rows, *column.field.shape) or data.dtype != column.field.dtype:
                    raise OutputError(f"{path}: {column.name} is {data.dtype}{data.shape}, not of {rows} rows")
            span = int(attributes["start"]), int(attributes["stop"])
            return Piece(path, str(attributes["fingerprint"]), *span, rows, read_lost(file))
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise OutputError(f"{path}: no piece of an output: {error}") from error


def is_piece(path: Path, fingerprint: str) -> bool:
    """Return whether a file is a piece of a stream."""
    try:
        with h5py.File(path, "r") as file:
            return "penstock_piece" in file.attrs and file.attrs["fingerprint"] == fingerprint
    except (OSError, KeyError):
        return False


def _chunks(slices: Sequence[Slice], index: int, column: Column) -> Iterator[tuple[int, Array]]:
    """Yield the chunks of a large field: each as it lies where it lies in one piece, else gathered."""
    parts: list[Slice] = []
    at = count = 0
    for each in slices:
        first = 0
        while first < len(each.rows):
            size = min(len(each.rows) - first, column.chunk_rows - count)
            parts.append(Slice(each.arrays, each.rows[first : first + size]))
            first, count = first + size, count + size
            if count == column.chunk_rows:
                yield at, _joined(parts, index, column, count)
                at, count, parts = at + count, 0, []
    if parts:
        yield at, _joined(parts, index, column, count)


def _joined(parts: Sequence[Slice], index: int, column: Column, count: int) -> Array:
    if len(parts) == 1 and isinstance(parts[0].rows, range):
        return parts[0].arrays[index][parts[0].rows.start : parts[0].rows.stop]
    return gather(index, column.field, parts, count)
