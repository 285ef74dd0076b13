"""The file of a listing that is mapped into memory: what lies where in it, and checksums of what is used.

First the paths, then where each starts, the weights if there are any, the labels; then the sums of their blocks, a
header as JSON, and at the very end how long the header is and which format this is. So a listing of any length can be
written from the first item to the last (`spool.py`), and is known to be whole when its end is there.
"""

import hashlib
import json
import mmap
import os
import struct
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.sources.file_listing import FileListing
from penstock.sources.tables.block_sums import BLOCK_BYTES, Checked

#: The end of the file: the header's length (bytes), its checksum, and the format.
END: Final = struct.Struct("<Q8s19s")
#: Counted up when the same manifest would get another listing or another file.
FORMAT: Final = b"penstock listing 4\n"
#: What the paths are padded to, so that numbers lie where the processor likes them.
ALIGN: Final = 4096
#: Types of the numbers: where a path starts, its weight, its label.
STARTS, WEIGHTS, LABELS = "<i8", "<f8", "<i4"
#: Of a mapping that is larger than so many bytes, the pages that so many items touched are given back after them: a
#: look-up may map 2 MB around it, so that all of a large listing would become resident. Mapping pages anew costs 15
#: microseconds an item; so many items at once are read from the file instead, which takes 3.
_SMALL_BYTES, _GIVE_BACK = 100_000_000, 32


class Pages:
    """The mapped pages of an index, whose blocks are compared with their checksums when they are used first."""

    def __init__(self, file: Path, descriptor: int, mapped: mmap.mmap, parts: Sequence[Checked]) -> None:
        """Take the mapping of a whole file that is open, and its parts: paths, starts, weights and labels."""
        self.file, self._mapped, self._used = file, mapped, 0
        self._is_small = len(mapped) <= _SMALL_BYTES
        self._paths, self._starts, self._weights, self._labels = parts
        self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def check(self, index: int) -> None:
        """Raise SourceError if where an item's path stands, or its label, is damaged."""
        if not (self._starts.is_whole(8 * index, 8 * index + 16) and self._labels.is_whole(4 * index, 4 * index + 4)):
            self._refuse()

    def check_items(self, indices: npt.NDArray[np.int64]) -> None:
        """Raise SourceError if what `check` looks at is damaged for any of these items."""
        starts, labels = 8 * indices, 4 * indices
        if not (self._starts.are_whole(starts, starts + 16) and self._labels.are_whole(labels, labels + 4)):
            self._refuse()

    def check_paths(self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
        """Raise SourceError if any of these paths is damaged."""
        if not self._paths.are_whole(begins, ends):
            self._refuse()

    def check_path(self, begin: int, end: int) -> None:
        """Raise SourceError if a path is damaged."""
        if not self._paths.is_whole(begin, end):
            self._refuse()

    def check_labels(self, items: int) -> None:
        """Raise SourceError if any label is damaged."""
        if not self._labels.is_whole(0, 4 * items):
            self._refuse()

    def check_weights(self, items: int) -> None:
        """Raise SourceError if any weight is damaged."""
        if not self._weights.is_whole(0, 8 * items):
            self._refuse()

    def read(self, indices: npt.NDArray[np.int64]) -> tuple[list[bytes], list[int]] | None:
        """Return paths and labels of these items; None where it costs less to look at the mapped pages.

        Raises SourceError if anything of them is damaged, or cannot be read.
        """
        if self._is_small:
            return None
        self.check_items(indices)
        try:
            spans = np.frombuffer(b"".join(self._pieces([16] * len(indices), self._starts.begin + 8 * indices)), STARTS)
            begins, ends = spans[::2], spans[1::2]
            self.check_paths(begins, ends)
            sizes = (ends - begins).tolist()
            paths = self._pieces(sizes, begins)
            labels = np.frombuffer(b"".join(self._pieces([4] * len(indices), self._labels.begin + 4 * indices)), LABELS)
        except OSError as error:
            raise SourceError(f"{self.file}: this kept listing of a manifest cannot be read: {error}") from error
        self.used(len(sizes))
        return paths, labels.tolist()

    def _pieces(self, sizes: list[int], begins: npt.NDArray[np.int64]) -> list[bytes]:
        """Return pieces of the file."""
        pread, descriptor = os.pread, self._descriptor
        pieces = [pread(descriptor, size, begin) for size, begin in zip(sizes, begins.tolist(), strict=True)]
        if list(map(len, pieces)) != sizes:  # it is shorter than it was
            self._refuse()
        return pieces

    def used(self, items: int = 1) -> None:
        """Say that so many items were looked up."""
        self._used += items
        if self._used >= _GIVE_BACK and not self._is_small:
            self._used = 0
            self.give_back()

    def give_back(self) -> None:
        """Let go of all pages; those that are needed again come from the kernel's cache."""
        give_back(self._mapped)

    def _refuse(self) -> NoReturn:
        with suppress(OSError):
            self.file.unlink()
        raise SourceError(
            f"{self.file}: this kept listing of a manifest is damaged, as by a failing disk, and was removed: start "
            "again, so that the manifest is read anew"
        )


def give_back(mapped: mmap.mmap) -> None:
    """Let go of the pages of a mapping."""
    with suppress(OSError, ValueError):
        mapped.madvise(mmap.MADV_DONTNEED)


def header_of(listing: Mapping[str, Any], path_bytes: int, items: int, *, weighted: bool) -> bytes:
    """Return the header of a listing, of which something is told."""
    return json.dumps({**listing, "path_bytes": path_bytes, "items": items, "weighted": weighted}).encode()


def end_of(header: bytes) -> bytes:
    """Return what stands behind a header."""
    return END.pack(len(header), _sum(header), FORMAT)


def _sum(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def read_index(file: Path, descriptor: int, facts: Mapping[str, Any]) -> FileListing | None:
    """Return the listing of an open index if it is whole, and its header says these facts.

    Raises OSError if it cannot be mapped; and ValueError, LookupError, TypeError, OverflowError or RecursionError if it
    is damaged.
    """
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    found = _listing(memoryview(mapped), facts)
    if found is None:
        return None
    listing, checked = found
    return replace(listing, pages=Pages(file, descriptor, mapped, checked))


def read_all(descriptor: int, facts: Mapping[str, Any]) -> FileListing:
    """Return the listing of an index that cannot be mapped, in memory. Raises OSError."""
    size, done = os.fstat(descriptor).st_size, 0
    content = memoryview(bytearray(size))
    while done < size and (came := os.preadv(descriptor, [content[done:]], done)):
        done += came
    found = _listing(content, facts)
    if found is None:
        raise OSError("the index that was just written is not whole")
    return found[0]


def _listing(view: memoryview, facts: Mapping[str, Any]) -> tuple[FileListing, list[Checked]] | None:
    if len(view) < END.size:
        return None
    size, told, kind = END.unpack(view[-END.size :])
    end = len(view) - END.size
    if kind != FORMAT or not 0 < size <= end or _sum(view[end - size : end]) != told:
        return None
    header = json.loads(bytes(view[end - size : end]))
    if any(header[name] != value for name, value in facts.items()):
        return None
    items, path_bytes = int(header["items"]), int(header["path_bytes"])
    sizes = (path_bytes, 8 * (items + 1), 8 * items if header["weighted"] else 0, 4 * items)
    places, sums = _places(sizes, view[: end - size])
    if not places:
        return None
    checked = [Checked(view[begin:stop], mine, begin) for (begin, stop), mine in zip(places, sums, strict=True)]
    listing = FileListing(
        str(header["kind"]),
        tuple(map(str, header["classes"])),
        view[:path_bytes],
        np.frombuffer(view, STARTS, items + 1, places[1][0]),
        np.frombuffer(view, LABELS, items, places[3][0]),
        str(header["digest"]),
        np.frombuffer(view, WEIGHTS, items, places[2][0]) if header["weighted"] else None,
    )
    return listing, checked


def _places(sizes: Sequence[int], view: memoryview) -> tuple[list[tuple[int, int]], list[npt.NDArray[np.uint64]]]:
    """Return where each part lies before the header, and the sums of its blocks; none if the file is not whole."""
    if min(sizes) < 0:
        return [], []
    ends = list(accumulate((padded(sizes[0]), *sizes[1:]), initial=0))
    blocks = [-(-each // BLOCK_BYTES) for each in sizes]
    if len(view) != ends[-1] + 8 * sum(blocks) + 8:
        return [], []
    table = view[ends[-1] : -8]
    if bytes(view[-8:]) != _sum(table):
        return [], []
    places = [(begin, begin + size) for (begin, _), size in zip(pairwise(ends), sizes, strict=True)]
    return places, np.split(np.frombuffer(table, "<u8"), np.cumsum(blocks)[:-1])


def sums_table(sums: Sequence[npt.NDArray[np.uint64]]) -> bytes:
    """Return the sums of all parts' blocks, and the sum of these."""
    table = np.concatenate(sums).astype("<u8", copy=False).tobytes()
    return table + _sum(table)


def padded(size: int) -> int:
    """Return how many bytes the paths take with their padding."""
    return -(-size // ALIGN) * ALIGN
