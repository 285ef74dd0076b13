"""Counts the bytes of a host's cache for all its processes, and makes room when the limit is reached.

`usage` holds the bytes that processes have reserved. It is changed under a lock of the kernel's, which a process that
dies gives back, and which is never waited for: while another process has it, an image is not kept, and the next one
asks again. Reservations are made in pieces, so that the lock is seldom needed. What a killed process had reserved, or
replaced, makes the count too high; tidying counts anew.

When the limit is reached, segments give way in this order: those of groups that no worker has used for ten minutes,
then those of which nothing was used for a day. If there are none, no more images are taken in. On purpose: an epoch
visits every image once, so what was used longest ago is what is needed next, and evicting it would leave no hits.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from penstock.worker.imaging.cache.folder import TIDIED, USAGE, Found, list_files, list_groups

_COUNT = struct.Struct("<q")
#: Bytes that are reserved at once: at most so many, and at most this part of the limit.
_PIECE_BYTES, _PIECE_PART = 16_000_000, 1024
#: Free space (bytes, and part of the disk; the lesser counts) that is left to others.
_LEFT_BYTES, _LEFT_PART = 1_000_000_000, 0.02
#: Longest time (s) that tidying waits for the count's lock, and how often it asks.
_LOCK_S, _RETRY_S = 1.0, 0.001


@dataclass(frozen=True, slots=True)
class Ages:
    """After which times (s) what is unused gives way."""

    #: A group that no worker has used for so long.
    group_s: float = 600.0
    #: A segment of a group in use.
    segment_s: float = 86_400.0
    #: Least time between two tidyings; and the part of the time that they may take.
    pause_s: float = 60.0
    share: float = 0.01


class Answer(Enum):
    """What becomes of a wish for room."""

    GRANTED = auto()
    FULL = auto()
    #: Another process has the count at this moment: nothing is known.
    BUSY = auto()


class Budget:
    """One process's part of the count; for use by one thread at a time."""

    def __init__(self, folder: Path, limit_bytes: int, ages: Ages = Ages()) -> None:
        """Share the count in `folder`. Raises OSError."""
        self._folder, self._ages = folder, ages
        #: Most bytes of all entries on this host, as this process wants it.
        self.limit_bytes = limit_bytes
        self._left = 0
        self._usage = os.open(folder / USAGE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._tidied = os.open(folder / TIDIED, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Give back what is reserved and unused."""
        with suppress(OSError):
            self._change(-self._left)
        os.close(self._usage)
        os.close(self._tidied)

    def take(self, size: int) -> Answer:
        """Return whether `size` bytes may be written now. Raises OSError (ENOSPC) if the disk is nearly full."""
        answer = Answer.GRANTED if size <= self._left else self._reserve(size)
        if answer is Answer.GRANTED:
            self._left -= size
        return answer

    def give_back(self, size: int) -> None:
        """Return bytes that were taken and not used."""
        self._left += size

    def used_bytes(self) -> int:
        """Return how many bytes are reserved on this host; 0 before the first count."""
        content = os.pread(self._usage, _COUNT.size, 0)
        return _COUNT.unpack(content)[0] if len(content) == _COUNT.size else 0

    def _reserve(self, size: int) -> Answer:
        piece = max(size, min(_PIECE_BYTES, self.limit_bytes // _PIECE_PART))
        if os.fstat(self._usage).st_size < _COUNT.size:
            self.tidy(time.time())
        answer = self._change(piece)
        if answer is Answer.GRANTED:
            try:
                _check_disk(self._folder, piece)
            except OSError:
                self._change(-piece)
                raise
        elif answer is Answer.FULL and self.tidy(time.time()):
            answer = self._change(piece)
        if answer is Answer.GRANTED:
            self._left += piece
        return answer

    def _change(self, by: int) -> Answer:
        """Add to the count unless it would pass the limit, or another process has the lock."""
        with _locked(self._usage) as locked:
            if not locked:
                return Answer.BUSY
            used = self.used_bytes()
            if by > 0 and used + by > self.limit_bytes:
                return Answer.FULL
            os.pwrite(self._usage, _COUNT.pack(max(0, used + by)), 0)
            return Answer.GRANTED

    def tidy(self, now: float) -> bool:
        """Count anew and remove what gives way, unless that was done lately or is being done; return whether it was.

        `now` is in seconds since 1970.
        """
        with _locked(self._tidied) as locked:
            if not locked or not self._due(now):
                return False
            began = time.perf_counter()
            before = self.used_bytes()
            counted = self._remove(now)
            os.pwrite(self._tidied, struct.pack("<dd", now, time.perf_counter() - began), 0)
            with _locked(self._usage, wait_s=_LOCK_S) as free:
                if free or not before:  # else its holder was stopped, and the old count stays
                    # What others reserved meanwhile may have been counted as well: rather too high than too low.
                    meanwhile = max(0, self.used_bytes() - before)
                    os.pwrite(self._usage, _COUNT.pack(counted + meanwhile), 0)
            return True

    def _due(self, now: float) -> bool:
        content = os.pread(self._tidied, 16, 0)
        if len(content) < 16 or os.fstat(self._usage).st_size < _COUNT.size:  # noqa: PLR2004 - two numbers
            return True
        last, took = struct.unpack("<dd", content)
        return not 0 <= now - last < max(self._ages.pause_s, took / self._ages.share)

    def _remove(self, now: float) -> int:
        """Remove what gives way, if little room is left; return how many bytes remain."""
        total, unused, old = 0, list[Found](), list[Found]()
        groups = list_groups(self._folder)
        for group, used in groups.items():
            for file in list_files(group):
                if not file.segment:
                    continue
                total += file.bytes
                if now - used > self._ages.group_s:
                    unused.append(file)
                elif now - file.used > self._ages.segment_s:
                    old.append(file)
        goal = self.limit_bytes - self.limit_bytes // 4
        for file in sorted(unused, key=lambda file: file.used) + sorted(old, key=lambda file: file.used):
            if total <= goal:
                break
            _unlink(file.path)
            total -= file.bytes
        for group, used in groups.items():
            if now - used > self._ages.group_s:
                _remove_empty(group)
        return total


def _remove_empty(group: str) -> None:
    """Remove a group of which no segment is left."""
    files = list_files(group)
    if any(file.segment for file in files):
        return
    for file in files:
        _unlink(file.path)
    with suppress(OSError):  # a worker makes a file in it just now
        os.rmdir(group)  # noqa: PTH106 - as text


def _check_disk(folder: Path, wanted: int) -> None:
    """Raise OSError if the disk would have less left than others may need."""
    disk = os.statvfs(folder)
    left = disk.f_bavail * disk.f_frsize - wanted
    if left < min(_LEFT_BYTES, _LEFT_PART * disk.f_blocks * disk.f_frsize):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):  # another process was faster
        os.unlink(path)  # noqa: PTH108 - as text


@contextmanager
def _locked(descriptor: int, *, wait_s: float = 0.0) -> Generator[bool]:
    """Hold the lock of an open file; yield whether it could be had, at once or within `wait_s`."""
    deadline = time.monotonic() + wait_s
    while not (locked := _lock(descriptor)) and time.monotonic() < deadline:
        time.sleep(_RETRY_S)
    try:
        yield locked
    finally:
        if locked:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
