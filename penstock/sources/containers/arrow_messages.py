"""Looks at the messages of an Arrow stream before pyarrow reads them, which would unpack compressed ones as a whole.

A message's description is a flatbuffer: a table begins with its distance to a list of where its fields stand.
"""

# ruff: noqa: ANN401 - pyarrow has no types

import struct
from typing import Any

from penstock.protocol.errors import SourceError

#: Fields of the tables Message, RecordBatch and DictionaryBatch.
_TYPE, _BODY, _COMPRESSION, _DATA = 1, 2, 3, 1
#: Types of a message's body.
_DICTIONARY, _BATCH = 2, 3


def refuse_compressed_batches(pa: Any, stream: Any, name: str) -> None:
    """Raise SourceError if a batch or dictionary is compressed: images are found at their offsets, which it has not."""
    for message in pa.ipc.MessageReader.open_stream(stream):
        try:
            compressed = _is_compressed(bytes(message.metadata))
        except (struct.error, IndexError) as error:
            raise SourceError(f"{name}: not a whole Arrow file: a message is damaged; copy or write it anew") from error
        if compressed:
            raise SourceError(
                f"{name}: its record batches are compressed, so that no image can be read at its offset; images are "
                "compressed already: write it anew without"
            )


def _is_compressed(data: bytes) -> bool:
    root = struct.unpack_from("<I", data, 0)[0]
    kind_at, body_at = _field(data, root, _TYPE), _field(data, root, _BODY)
    kind = data[kind_at] if kind_at else 0
    if kind not in {_DICTIONARY, _BATCH} or not body_at:
        return False
    batch = _target(data, body_at)
    if kind == _DICTIONARY:
        data_at = _field(data, batch, _DATA)
        if not data_at:
            return False
        batch = _target(data, data_at)
    return bool(_field(data, batch, _COMPRESSION))


def _field(data: bytes, table: int, field: int) -> int:
    """Return where a field of a table stands; 0: it is left out."""
    listed = table - struct.unpack_from("<i", data, table)[0]
    if listed < 0:
        raise IndexError
    size = struct.unpack_from("<H", data, listed)[0]
    entry = 4 + 2 * field
    offset: int = struct.unpack_from("<H", data, listed + entry)[0] if entry < size else 0
    return table + offset if offset else 0


def _target(data: bytes, at: int) -> int:
    offset: int = struct.unpack_from("<I", data, at)[0]
    return at + offset
