"""A kind of source as another package adds it: files that hold many images, one record after the other.

A record is its label and its length (4 bytes each, little-endian), then the bytes of an image file.
"""

import struct
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import Source, confined
from penstock.sources.base import Roots, SourceKind, root_of
from penstock.sources.file_reader import open_files
from penstock.sources.span_listing import SpanListing, SpanListingBuilder

_HEADER = struct.Struct("<ii")


class RecordSource(Source):
    """Files of records."""

    kind: Literal["records"]
    """Says that these are files of records."""
    path: str = ""
    """Folder with the files, below the root."""

    _paths_stay_inside = field_validator("path")(confined)


def list_records(source: RecordSource, roots: Roots) -> SpanListing:
    """Return every record, file by file. Raises SourceError."""
    root = Path(root_of(source.root, roots))
    builder = SpanListingBuilder()
    most = -1
    for file in sorted((root / source.path).glob("*.rec")):
        builder.begin_file(file.relative_to(root).as_posix())
        offset, size = 0, file.stat().st_size
        with file.open("rb") as opened:
            while offset < size:
                opened.seek(offset)
                label, length = _HEADER.unpack(opened.read(_HEADER.size))
                builder.add(offset + _HEADER.size, length, label)
                most = max(most, label)
                offset += _HEADER.size + length
    if not len(builder):
        raise SourceError(f"{root / source.path}: no file ends in .rec (source.path = {source.path!r})")
    return builder.build(source.kind, source.classes or [str(label) for label in range(most + 1)])


KIND = SourceKind(RecordSource, list_records, open_files)
