"""Finds out how many rows of a Parquet file's column of text can be unpacked together in bounded memory as they are.

A page in which text is written out takes no more than its header says. In the others each value may be the longest one
of the dictionary, which is looked for. Reading text as it is takes a fifth of the time that dictionaries take, where
most values differ.
"""

import importlib
import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.sources.tables.parquet_pages import Page, pages_of

#: Bytes that the rows may take, and how many rows are tried; fewer are not worth it.
_PLAIN_BYTES, _ROWS = 5_000_000, (65_536, 32_768, 16_384, 8_192)
#: Largest dictionary that is looked through (bytes); those of pyarrow have 1 MB. And what it may be compressed by.
_DICTIONARY_BYTES, _CODECS = 2_000_000, frozenset({"SNAPPY", "GZIP", "ZSTD", "BROTLI"})
#: Encodings: text written out, and numbers of values of the dictionary.
_PLAIN, _CODED = 0, frozenset({2, 8})
#: Reads the length before each value of a dictionary.
_LENGTH = struct.Struct("<I").unpack_from


def plain_rows(descriptor: int, chunks: Sequence[Any], name: str) -> int:
    """Return how many rows of a column, whose chunks these are, may be unpacked together; 0 if that is not known.

    Raises SourceError, which begins with `name`, if the header of a page is damaged.
    """
    values: list[int] = []
    longest: list[int] = []
    written: list[int] = []
    for chunk in chunks:
        most = 0
        for page in pages_of(descriptor, chunk, name):
            if page.is_dictionary:
                most = _longest(descriptor, page, str(chunk.compression))
            elif page.encoding == _PLAIN or (page.encoding in _CODED and most):
                values.append(page.values)
                longest.append(0 if page.encoding == _PLAIN else most)
                written.append(page.unpacked if page.encoding == _PLAIN else 0)
            else:
                return 0
    for rows in _ROWS:
        sizes = np.minimum(values, rows) * np.array(longest, np.int64) + np.array(written, np.int64)
        if _most(np.array(values, np.int64), sizes, rows) <= _PLAIN_BYTES:
            return rows
    return 0


def _most(values: np.ndarray, sizes: np.ndarray, rows: int) -> int:
    """Return the most bytes that so many consecutive rows take: those of every page that they touch."""
    if not len(values):
        return 0
    rows_so_far, sizes_so_far = np.cumsum(values), np.cumsum(sizes)
    last = np.minimum(np.searchsorted(rows_so_far, rows_so_far + rows), len(values) - 1)
    return int((sizes_so_far[last] - sizes_so_far + sizes).max())


def _longest(descriptor: int, page: Page, compression: str) -> int:
    """Return the length of the longest value of a dictionary, and 1 at least; 0 if it is not known."""
    if page.unpacked > _DICTIONARY_BYTES or page.encoding not in {_PLAIN, *_CODED}:
        return 0
    data = os.pread(descriptor, page.packed, page.at)
    if compression in _CODECS:
        pa = importlib.import_module("pyarrow")
        try:
            data = pa.decompress(data, page.unpacked, compression.lower(), asbytes=True)
        except (pa.ArrowException, OSError):  # said where the page is read
            return 0
    elif compression != "UNCOMPRESSED":
        return 0
    at, longest = 0, 1
    try:
        while at < len(data):
            (length,) = _LENGTH(data, at)
            if length > longest:  # noqa: PLR1730 - max() takes as long as all the rest
                longest = length
            at += 4 + length
    except struct.error:
        return 0
    return longest if at == len(data) else 0
