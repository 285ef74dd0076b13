"""Merges pieces into one file: copies large fields chunk by chunk, compressed or not, and rewrites small ones."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import h5py

from penstock.protocol.errors import OutputError
from penstock.sink.output.durable_files import Disk, DurableFile
from penstock.sink.output.layout import LIBVER, Column, Layout
from penstock.sink.output.part_file import Piece, create

#: Rows of a small field that are copied in one go.
_ROWS = 65_536


def combine(  # noqa: PLR0913, PLR0917 - of one call each
    pieces: Sequence[Piece],
    path: Path,
    layout: Layout,
    compression: str,
    disk: Disk,
    finish: Callable[[h5py.File], None],
    progress: Callable[[float], None],
) -> None:
    """Write the samples of all pieces into a new file; `finish` adds the remaining data sets. Raises OutputError.

    `progress` gets the completed fraction, 0 to 1.
    """
    durable = DurableFile(path, disk)
    rows = sum(piece.rows for piece in pieces)
    done, total = 0, max(1, rows * layout.sample_bytes)
    try:
        with durable.guard(), h5py.File(durable, "w", libver=LIBVER) as target:
            for column in layout.columns:
                data = create(target, column, rows, compression)
                start = 0
                for piece in pieces:
                    with cast("Any", h5py.File(piece.path, "r")) as source:
                        for copied in _copy(source[column.name], data, start, column):
                            durable.check()
                            done += copied * column.field.sample_bytes
                            progress(done / total)
                    start += piece.rows
            finish(target)
        durable.finish()
    except OutputError:
        durable.drop()  # gives the space back
        raise
    except (OSError, KeyError, RuntimeError, ValueError) as error:  # what h5py raises for a damaged piece
        raise OutputError(f"{path}: the pieces below {path.parent} cannot be put together: {error}") from error


def _copy(source: h5py.Dataset, target: h5py.Dataset, start: int, column: Column) -> Iterator[int]:
    """Copy a field of a piece to row `start` on; yield how many rows each step copied."""
    rows = len(source)
    if not column.large or start % column.chunk_rows:
        for at in range(0, rows, _ROWS):
            block = source[at : at + _ROWS]
            target[start + at : start + at + len(block)] = block
            yield len(block)
        return
    rest = [0] * len(column.field.shape)
    for at in range(0, rows, column.chunk_rows):
        mask, chunk = source.id.read_direct_chunk((at, *rest))
        target.id.write_direct_chunk((start + at, *rest), chunk, mask)
        yield min(column.chunk_rows, rows - at)
