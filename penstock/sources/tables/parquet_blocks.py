"""Reads a Parquet file by whole columns."""

# Paths are bytes here: names are taken as they are on disk; pyarrow has no types.
# ruff: noqa: ANN401, PTH123

from collections.abc import Iterator
from typing import Any

from penstock.sources.containers.columns import check_listed, import_pyarrow
from penstock.sources.tables.blocks import Block, NotPlainError, Wanted, block_of
from penstock.sources.tables.parquet_pages import text_batches
from penstock.sources.tables.parquet_plain import plain_rows
from penstock.sources.tables.progress import told

#: Bytes of repeated paths that are written out at once.
_WRITTEN_OUT = 16_000_000


def parquet_blocks(place: bytes, wanted: Wanted, name: str) -> Iterator[Block]:
    """Yield the rows of the file at `place`. Raises NotPlainError, SourceError, OSError and what pyarrow raises."""
    pa = import_pyarrow(name)
    with open(place, "rb") as opened, pa.parquet.ParquetFile(opened) as file:
        if any(file.schema_arrow.names.count(column) != 1 for column in wanted.columns):
            raise NotPlainError
        check_listed(file.schema_arrow, wanted.columns, name)
        done, rows = 0, max(1, file.metadata.num_rows)
        columns = [wanted.path, *(column for column in wanted.columns if column != wanted.path)]
        for batch in text_batches(opened, file.metadata, columns, name, plain_rows):
            batch.validate(full=True)
            told(f"{100 * done // rows} % of the manifest")
            at_once = _rows_at_once(pa, batch.column(batch.schema.get_field_index(wanted.path)))
            for first in range(0, len(batch), at_once):
                yield block_of(batch.slice(first, at_once), wanted)
            done += len(batch)


def _rows_at_once(pa: Any, paths: Any) -> int:
    """Return of how many rows the paths are written out together: one may be repeated in all of them."""
    if not pa.types.is_dictionary(paths.type):
        return max(1, len(paths))
    longest = pa.compute.max(pa.compute.binary_length(paths.dictionary)).as_py() or 1
    return max(1, min(len(paths), _WRITTEN_OUT // longest))
