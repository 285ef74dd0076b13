"""Reads a file of lines in blocks of whole lines."""

# Paths are bytes here: names are taken as they are on disk.
# ruff: noqa: PTH123

import os
from collections.abc import Iterator

from penstock.sources.tables.blocks import NotPlainError
from penstock.sources.tables.progress import told

#: Bytes that are read at once.
_BLOCK_BYTES = 32_000_000


def text_blocks(place: bytes) -> Iterator[tuple[bytearray, int]]:
    """Yield the file at `place` block by block: a buffer, and where its last line ends. Raises OSError.

    The buffer is filled anew for the next block. Raises NotPlainError if a line is longer than a block.
    """
    with open(place, "rb", buffering=0) as opened:
        size = os.fstat(opened.fileno()).st_size
        room = bytearray(min(_BLOCK_BYTES, size))  # fresh memory for each block would have to be cleared first
        begin = 0
        while begin < size:
            filled = os.preadv(opened.fileno(), [room], begin)
            end = filled if begin + filled >= size else room.rfind(b"\n", 0, filled) + 1
            if not end:
                raise NotPlainError
            told(f"{100 * begin // size} % of the manifest")
            yield room, end
            begin += end
