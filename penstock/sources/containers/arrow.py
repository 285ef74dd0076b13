"""The kind "arrow": data sets of Hugging Face on a disk, as `save_to_disk` and the hub's cache write them.

Arrow lays the bytes of all images of a record batch one after the other. The ventilator maps each file once and finds
where, so that an image is a part of the file like any other: workers read it without pyarrow.
"""

from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from pydantic import Field

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.confined_files import descriptor_path
from penstock.sources.base import Roots, SourceKind
from penstock.sources.containers.columns import (
    check_table,
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
#: How a stream ends: the mark of a message, without one.
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


class ArrowSource(ShardSource):
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
        whole = mapped.read_buffer()
        if start == _FILE_MAGIC:
            file = pa.ipc.open_file(whole)
            schema, batches = file.schema, map(file.get_batch, range(file.num_record_batches))
        else:
            if whole.size < len(_STREAM_END) or bytes(whole[-len(_STREAM_END) :]) != _STREAM_END:
                raise SourceError(f"{name}: cut short, or no Arrow file: the mark of a stream's end is missing")
            batches = pa.ipc.open_stream(whole)
            schema = batches.schema
        check_table(schema, source.image, source.label, name)
        index.classes = given_names(schema, source.label)
        for batch in batches:
            _add(index, batch, whole, name, source)
    return index


def _add(index: ShardIndex, batch: Any, whole: Any, name: str, source: ArrowSource) -> None:  # noqa: ANN401 - untyped
    """Add the rows of a record batch of the file whose bytes `whole` holds."""
    first = len(index.offsets)
    column = batch.column(batch.schema.get_field_index(source.image))
    missing = image_bytes(column).is_null().to_numpy(zero_copy_only=False)
    images = column.field("bytes") if hasattr(column, "field") else column
    _, positions, content = images.buffers()
    if not len(batch):
        return
    wide = np.dtype(np.int64 if str(images.type).startswith("large") else np.int32)
    ends = np.frombuffer(positions, wide)[images.offset : images.offset + len(images) + 1].astype(np.int64)
    lengths = np.diff(ends)
    if len(wrong := np.flatnonzero(missing | (lengths == 0))):
        raise SourceError(
            f"{name}, row {first + wrong[0]}: holds no image ({source.image} is null or empty): leave these rows "
            "out, or embed the images' files when the set is written"
        )
    begin = content.address - whole.address
    if not 0 <= begin <= whole.size - content.size:
        raise SourceError(
            f"{name}: its record batches are compressed, so that no image can be read at its offset; images are "
            "compressed already: write it anew without"
        )
    index.offsets += (ends[:-1] + begin).tolist()
    index.lengths += lengths.tolist()
    if source.label:
        labels = batch.column(batch.schema.get_field_index(source.label))
        index.labels += class_names(labels, index.classes, name, source.label, first)


def list_arrow(source: ArrowSource, roots: Roots) -> SpanListing:
    """Return the rows of all files. Raises SourceError."""
    return list_shards(source, roots, lambda opened, name: read_arrow(opened, name, source))


KIND = SourceKind(ArrowSource, list_arrow, open_shards, splits=True, follows_links=True)
