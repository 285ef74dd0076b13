"""The segments of a group: files to which entries are appended. Each is written by one process, and read by all.

An entry is written whole before `hints.py` says where it lies. A process that is killed leaves its segment as it is:
what it holds so far stays valid, and a torn entry at its end is never named, or fails its checksum.
Only the header of an entry may be written anew, by any process.
"""

import errno
import os
import secrets
import time
from collections.abc import Sequence

import numpy as np

from penstock.worker.imaging.cache.entry import Pixels
from penstock.worker.imaging.cache.folder import SEGMENT
from penstock.worker.imaging.cache.hints import UNIT_BYTES, Place

#: Largest segment (bytes), and the part of the cache's limit that one takes at most: what gives way is a segment.
_MOST_BYTES, _PART = 256_000_000, 64
#: Segments that are held open for reading.
_MOST_OPEN = 200
#: An entry larger than this (bytes) is compared with its segment before memory is allocated for it.
_LARGE_BYTES = 4_000_000
#: Seconds after which a hit renews a segment's time of use.
_RENEW_S = 600.0
_PADDING = bytes(UNIT_BYTES)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_CHANGE = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Writer:
    """Appends entries to this process's segment of a group; for use by one thread at a time."""

    def __init__(self, group: str) -> None:
        """Make no file yet."""
        self._group = group
        self._descriptor = -1
        self._segment = self._end = 0

    def append(self, entries: Sequence[tuple[bytes, Pixels]], limit_bytes: int) -> list[Place]:
        """Write entries by one call, in a fresh segment if this one is full; return where each lies. Raises OSError."""
        parts, places, end = list[bytes | memoryview](), list[tuple[int, int]](), 0
        for header, pixels in entries:
            size = len(header) + pixels.nbytes
            length = room_of(size)
            parts += (header, pixels.data, _PADDING[: length - size])
            places.append((end, length))
            end += length
        if self._descriptor < 0 or (self._end and self._end + end > segment_bytes(limit_bytes)):
            self._open()
        _write_all(self._descriptor, parts, end, self._end)
        first = self._end
        self._end += end
        return [Place(self._segment, first + start, length) for start, length in places]

    def let_go(self) -> None:
        """Close the segment if it was removed: the next entry goes to another one."""
        if self._descriptor >= 0 and not os.fstat(self._descriptor).st_nlink:
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self.close()
        self._segment, self._end = secrets.randbits(32), 0
        self._descriptor = os.open(path_of(self._group, self._segment), _CREATE, 0o600)


class Reader:
    """Reads entries of all segments of a group; for use by one thread at a time."""

    def __init__(self, group: str) -> None:
        """Open no file yet."""
        self._group = group
        #: Descriptor of each open segment, the least recently used first, and when its time of use was renewed.
        self._open: dict[int, tuple[int, float]] = {}

    def read(self, place: Place) -> Pixels | None:
        """Return the bytes of a place, fewer at a segment's end; None if there is no such segment. Raises OSError."""
        opened = self._open.pop(place.segment, None) or self._opened(place.segment)
        if opened is None:
            return None
        descriptor, used = opened
        now = time.time()
        if now - used > _RENEW_S:
            os.utime(descriptor)
            used = now
        self._open[place.segment] = descriptor, used
        length = place.length
        if length > _LARGE_BYTES:  # a hint may be wrong: no more memory than there is to read
            length = max(0, min(length, os.fstat(descriptor).st_size - place.offset))
        content = np.empty(length, np.uint8)
        return content[: os.preadv(descriptor, [content.data], place.offset)]

    def _opened(self, segment: int) -> tuple[int, float] | None:
        try:
            descriptor = os.open(path_of(self._group, segment), _READ)
        except FileNotFoundError:
            return None
        if len(self._open) >= _MOST_OPEN:
            os.close(self._open.pop(next(iter(self._open)))[0])
        return descriptor, os.fstat(descriptor).st_mtime

    def let_go(self) -> None:
        """Close the segments that were removed, so that the disk gets their room back."""
        gone = [segment for segment, (descriptor, _) in self._open.items() if not os.fstat(descriptor).st_nlink]
        for segment in gone:
            os.close(self._open.pop(segment)[0])

    def close(self) -> None:
        """Close all files."""
        for descriptor, _ in self._open.values():
            os.close(descriptor)
        self._open.clear()


def write_header(group: str, place: Place, header: bytes) -> None:
    """Write the header of an entry anew, over the one that is there. Raises OSError."""
    descriptor = os.open(path_of(group, place.segment), _CHANGE)
    try:
        os.pwrite(descriptor, header, place.offset)
    finally:
        os.close(descriptor)


def path_of(group: str, segment: int) -> str:
    """Return the path of a segment."""
    return f"{group}/{segment:08x}{SEGMENT}"


def room_of(size: int) -> int:
    """Return how many bytes an entry of this size takes."""
    return -(-size // UNIT_BYTES) * UNIT_BYTES


def segment_bytes(limit_bytes: int) -> int:
    """Return how large a segment becomes."""
    return min(_MOST_BYTES, limit_bytes // _PART)


def _write_all(descriptor: int, parts: Sequence[bytes | memoryview], size: int, start: int) -> None:
    done = os.pwritev(descriptor, parts, start)
    if done == size:
        return
    content = b"".join(parts)
    while done < size:  # a full disk takes a part, and then says so
        written = os.pwrite(descriptor, content[done:], start + done)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done += written
