"""The kind "arrow": data sets of Hugging Face on a disk, as `save_to_disk` and the hub's cache write them.

Arrow lays the bytes of all images of a record batch one after the other. The ventilator maps each file once and finds
where, so that an image is a part of the file like any other: workers read it without pyarrow.
"""

from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from pydantic import Field

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.confined_files import descriptor_path
from penstock.sources.base import Roots, SourceKind
from penstock.sources.choice.table_rows import RowChoice, TableFields
from penstock.sources.containers.arrow_messages import refuse_compressed_batches
from penstock.sources.containers.columns import (
    check_choice,
    check_listed,
    check_table,
    choose_rows,
    class_names,
    given_names,
    image_bytes,
    import_pyarrow,
    reported,
)
from penstock.sources.containers.shard_index import ShardIndex
from penstock.sources.containers.shards import ShardSource, list_shards, open_shards
from penstock.sources.span_listing import SpanListing

#: How a file with an index at its end begins; a stream of batches has no such mark.
_FILE_MAGIC = b"ARROW1"
#: Where the stream of batches begins in such a file.
_FILE_START = 8
#: How a stream ends: the mark of a message, without one.
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


class ArrowSource(TableFields, ShardSource):
    """Arrow files with an image in each row: data sets that `save_to_disk` wrote, or the Hugging Face hub's cache."""

    kind: Literal["arrow"]
    """Says that these are Arrow files."""
    image: Annotated[str, Field(min_length=1)] = "image"
    """Column with the bytes of image files: binary, or the hub's struct of `bytes` and `path`."""
    label: str = "label"
    """Column with the class name or number. Empty: no labels. Names and their order come from a `ClassLabel` in the
    file's metadata, unless `classes` is given."""


def read_arrow(opened: BinaryIO, name: str, source: ArrowSource) -> ShardIndex:
    """Return the rows of a file. Raises SourceError."""
    pa = import_pyarrow(name)
    index = ShardIndex()
    start = opened.read(len(_FILE_MAGIC))
    if not start:
        raise SourceError(f"{name}: the file is empty; copy or write it anew")
    with reported(name, "Arrow"), pa.memory_map(descriptor_path(opened.fileno())) as mapped:
        whole = stream = mapped.read_buffer()
        if start == _FILE_MAGIC:
            pa.ipc.open_file(whole)  # raises if the index at the end is cut off
            stream = whole[_FILE_START:]
        elif whole.size < len(_STREAM_END) or bytes(whole[-len(_STREAM_END) :]) != _STREAM_END:
            raise SourceError(f"{name}: cut short, or no Arrow file: the mark of a stream's end is missing")
        refuse_compressed_batches(pa, stream, name)
        batches = pa.ipc.open_stream(stream)
        schema = batches.schema
        check_table(schema, source.image, source.label, name)
        check_choice(schema.names, source, name)
        check_listed(schema, [*([source.label] if source.label else []), *source.choosing_columns], name)
        index.classes = given_names(schema, source.label)
        first, choice = 0, RowChoice(source)
        for batch in batches:
            rows = choose_rows(batch, choice, source.choosing_columns, name, first)
            _add(index, batch, whole, name, source, range(first, first + len(batch)), rows)
            first += len(batch)
        index.weights = choice.weights
    return index


def _add(  # noqa: PLR0913, PLR0917 - a batch, its file, and which of its rows count
    index: ShardIndex,
    batch: Any,  # noqa: ANN401 - untyped
    whole: Any,  # noqa: ANN401 - untyped
    name: str,
    source: ArrowSource,
    numbers: range,
    rows: Int64s | None,
) -> None:
    """Add the rows (None: all) of a record batch of the file whose bytes `whole` holds; its rows have the `numbers`."""
    column = batch.column(batch.schema.get_field_index(source.image))
    column.validate(full=True)
    missing = image_bytes(column).is_null().to_numpy(zero_copy_only=False)
    images = column.field("bytes") if hasattr(column, "field") else column
    _, positions, content = images.buffers()
    if not len(batch):
        return
    wide = np.dtype(np.int64 if str(images.type).startswith("large") else np.int32)
    ends = np.frombuffer(positions, wide)[images.offset : images.offset + len(images) + 1].astype(np.int64)
    lengths = np.diff(ends)
    taken = np.arange(len(batch)) if rows is None else rows
    if len(wrong := taken[(missing | (lengths == 0))[taken]]):
        raise SourceError(
            f"{name}, row {numbers[wrong[0]]}: holds no image ({source.image} is null or empty): leave these rows "
            "out, or embed the images' files when the set is written"
        )
    begin = content.address - whole.address
    if not 0 <= begin <= whole.size - content.size:
        raise SourceError(f"{name}: its images do not lie in it: copy or write it anew")
    index.offsets += (ends[:-1] + begin)[taken].tolist()
    index.lengths += lengths[taken].tolist()
    if source.label:
        labels = batch.column(batch.schema.get_field_index(source.label))
        labels = labels if rows is None else labels.take(rows)
        index.labels += class_names(labels, index.classes, name, source.label, [numbers[row] for row in taken])


def list_arrow(source: ArrowSource, roots: Roots) -> SpanListing:
    """Return the rows of all files. Raises SourceError."""
    return list_shards(source, roots, lambda opened, name: read_arrow(opened, name, source))


KIND = SourceKind(ArrowSource, list_arrow, open_shards, splits=True, follows_links=True)
