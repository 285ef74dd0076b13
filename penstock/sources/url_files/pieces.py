"""Brings parts of a file below a URL into a file of this host, some requests at once."""

import errno
import os
from collections.abc import Iterable

from penstock.protocol.errors import ItemError
from penstock.protocol.storage.urls import Remote
from penstock.sources.fetchers import fetchers

#: Bytes of one request, how many of them a file may have at once, and of how many files.
PIECE_BYTES, _AT_ONCE, _FILES = 8_000_000, 4, 4


def bring(remote: Remote, path: str, descriptor: int, spans: Iterable[tuple[int, int]], tag: str) -> None:
    """Write the parts of a file at these (offset, length) to the same places of an open file.

    `tag`: those of this content only. Raises ItemError and OSError; then no part is on its way any more, because the
    caller closes the file, whose number may be another file's a moment later.
    """

    def piece(span: tuple[int, int]) -> None:
        [content] = remote.read_spans(path, span[1], [span], tag=tag)
        if isinstance(content, ItemError):
            raise content
        _write_all(descriptor, content, span[0])

    pieces = [
        (begin, min(PIECE_BYTES, offset + length - begin))
        for offset, length in spans
        for begin in range(offset, offset + length, PIECE_BYTES)
    ]
    for first in range(0, len(pieces), _AT_ONCE):
        coming = fetchers(_AT_ONCE * _FILES).map(piece, pieces[first : first + _AT_ONCE])
        coming.wait()
        list(coming)  # raises the first error


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    view, done = memoryview(content), 0
    while done < len(view):
        written = os.pwrite(descriptor, view[done:], offset + done)
        if not written:
            raise OSError(errno.EIO, "the disk takes nothing")
        done += written
