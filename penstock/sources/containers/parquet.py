"""The kind "parquet": tables with the bytes of an image file in each row, as the Hugging Face hub stores them.

A task names an item by its row: offset is the row, counted from 0, and length is 1.
"""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import Field

from penstock.protocol.errors import SourceError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.roots import is_url
from penstock.protocol.storage.url_answers import RemoteIdentity
from penstock.protocol.storage.urls import Remote
from penstock.sources.base import Roots, SourceKind, root_of
from penstock.sources.choice.table_rows import RowChoice, TableFields
from penstock.sources.containers.columns import (
    bytes_column,
    check_choice,
    check_listed,
    check_table,
    choose_rows,
    class_names,
    given_names,
    import_pyarrow,
    reported,
)
from penstock.sources.containers.parquet_files import LocalFiles, RemoteFiles
from penstock.sources.containers.parquet_parts import with_columns
from penstock.sources.containers.parquet_reader import ParquetReader
from penstock.sources.containers.shard_index import ShardIndex
from penstock.sources.containers.shards import ShardSource, check_copy, list_shards, shard_room
from penstock.sources.span_listing import SpanListing
from penstock.sources.tables.parquet_pages import text_batches

#: Bytes of the file that a row takes at least: more rows than that would only fill the memory.
_ROW_BYTES = 8


class ParquetSource(TableFields, ShardSource):
    """Parquet files with an image in each row, as the Hugging Face hub stores them."""

    kind: Literal["parquet"]
    """Says that these are Parquet files with images in them."""
    image: Annotated[str, Field(min_length=1)] = "image"
    """Column with the bytes of image files: binary, or the hub's struct of `bytes` and `path`."""
    label: str = "label"
    """Column with the class name or number. Empty: no labels. Names and their order come from a `ClassLabel` in the
    file's metadata, unless `classes` is given."""


def list_parquet(source: ParquetSource, roots: Roots) -> SpanListing:
    """Return the rows of all files. Raises SourceError."""

    @contextmanager
    def bring(remote: Remote, path: str, identity: RemoteIdentity) -> Generator[BinaryIO]:
        columns = [*([source.label] if source.label else []), *source.choosing_columns]
        with with_columns(remote, path, identity, columns) as copy:
            yield copy.opened

    return list_shards(source, roots, lambda opened, name: read_parquet(opened, name, source), bring)


def read_parquet(opened: BinaryIO, name: str, source: ParquetSource) -> ShardIndex:
    """Return the rows of a file. Raises SourceError."""
    pa = import_pyarrow(name)
    index = ShardIndex()
    with reported(name, "Parquet"), pa.parquet.ParquetFile(opened) as file:
        schema, label = file.schema_arrow, source.label
        check_table(schema, source.image, label, name)
        if not source.where:  # rows without an image may be left out
            _check_images(file.metadata, bytes_column(schema, source.image), name)
        check_choice(schema.names, source, name)
        _check_rows(file.metadata.num_rows, os.fstat(opened.fileno()).st_size, name)
        index.classes = given_names(schema, label)
        columns: list[str] = list(dict.fromkeys([*([label] if label else []), *source.choosing_columns]))
        if columns:
            check_listed(schema, columns, name)
            _add_rows(index, text_batches(opened, file.metadata, columns, name), name, source)
        else:
            index.offsets = list(range(file.metadata.num_rows))
        index.lengths = [1] * len(index.offsets)
    return index


def _add_rows(index: ShardIndex, batches: Iterable[Any], name: str, source: ParquetSource) -> None:
    """Add the rows that are items, with their labels and weights."""
    first, choice, columns = 0, RowChoice(source), source.choosing_columns
    for batch in batches:
        rows = choose_rows(batch, choice, columns, name, first)
        taken = batch if rows is None else batch.take(rows)
        numbers = [first + row for row in (range(len(batch)) if rows is None else rows)]
        index.offsets += numbers
        if source.label:
            labels = taken.column(taken.schema.get_field_index(source.label))
            index.labels += class_names(labels, index.classes, name, source.label, numbers)
        first += len(batch)
    index.weights = choice.weights


def _check_rows(rows: int, size: int, name: str) -> None:
    """Raise SourceError if a file has more rows than images could lie in so many bytes: each takes memory here."""
    if rows * _ROW_BYTES > size:
        raise SourceError(
            f"{name}: {rows} rows in a file of {size} bytes: a row with an image takes {_ROW_BYTES} bytes or more; "
            "write each image once"
        )


def _check_images(metadata: object, column: str, name: str) -> None:
    """Raise SourceError if the file's own statistics say that images are missing; without them, workers find out."""
    first = 0
    for number in range(metadata.num_row_groups):  # type: ignore[attr-defined]
        group = metadata.row_group(number)  # type: ignore[attr-defined]
        chunks = map(group.column, range(group.num_columns))
        chunk = next((chunk for chunk in chunks if chunk.path_in_schema == column), None)
        if chunk is None:
            raise SourceError(f"{name}: not a whole Parquet file: row group {number} has no {column}; write it anew")
        found = chunk.statistics
        if found is not None and found.has_null_count and found.null_count:
            raise SourceError(
                f"{name}: {found.null_count} of rows {first} to {first + group.num_rows - 1} hold no image ({column} "
                "is null): leave these rows out, or embed the images' files when the set is written"
            )
        first += group.num_rows


def open_parquet(source: ParquetSource, plan: StreamPlan, roots: Roots) -> ParquetReader:
    """Return the reader of a stream's rows. Raises SourceError if this host has other files."""
    root = root_of(source.root, roots)
    limit_bytes = int(plan.settings.transform.max_file_mb * 1e6)
    files: LocalFiles | RemoteFiles
    if is_url(root):
        remote = Remote(root, allow_outside=source.allow_outside)
        files = RemoteFiles(remote, source.image, shard_room(source))
    else:
        check_copy(source, plan, root)
        files = LocalFiles(root, source.image, allow_outside=source.allow_outside)
    return ParquetReader(files, limit_bytes=limit_bytes)


KIND = SourceKind(ParquetSource, list_parquet, open_parquet, splits=True, follows_links=True)
