"""Makes room for a shard in the folder of kept shards: counts what is there, and removes what was used longest ago.

All of it happens under one lock of the folder, and room is taken from the disk at once, so that workers that fetch
several shards together stay below the limit. A file that a killed worker was fetching is removed by the next one.
"""

import errno
import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.sources.url_files.shard_counts import ShardCounts

#: Longest time (s) that the folder's lock is waited for, and how often it is asked for.
_LOCK_S, _RETRY_S = 10.0, 0.005
#: A shard that was used less than this ago (s) is not removed: with a full shuffle over more shards than fit, shards
#: would otherwise displace each other for every batch.
IN_USE_S = 10.0
#: Free space (bytes, and part of the disk; the lesser counts) that is left to others.
_LEFT_BYTES, _LEFT_PART = 1_000_000_000, 0.02


@dataclass(frozen=True, slots=True)
class _Kept:
    path: str
    size: int
    used: float


class Room:
    """The room of one folder."""

    def __init__(self, folder: Path, limit_bytes: int, counts: ShardCounts, in_use_s: float = IN_USE_S) -> None:
        """Take the folder, how many bytes all its shards may have, and what counts those that are removed."""
        self._counts = counts
        self._folder, self._limit_bytes, self._in_use_s = folder, limit_bytes, in_use_s

    def take(self, descriptor: int, size: int) -> bool:
        """Give an empty open file of the folder `size` bytes of room; return whether there was any.

        Raises OSError if the disk is full, or nearly so.
        """
        if size > self._limit_bytes:
            return False
        with self._locked() as locked:
            if not locked:
                return False
            os.ftruncate(descriptor, 0)  # what a killed worker had fetched
            if not self._make(size):
                return False
            disk = os.statvfs(self._folder)
            left = disk.f_bavail * disk.f_frsize - size
            if left < min(_LEFT_BYTES, _LEFT_PART * disk.f_blocks * disk.f_frsize):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:  # macOS
                os.ftruncate(descriptor, size)
            return True

    def _make(self, size: int) -> bool:
        """Remove shards until `size` more bytes fit; return whether they do."""
        kept, total = list[_Kept](), 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".part"):
                        total += 0 if _removed_if_dead(entry.path) else status.st_size
                    elif entry.name.endswith(".shard"):
                        total += status.st_size
                        kept.append(_Kept(entry.path, status.st_size, status.st_mtime))
        now = time.time()
        for each in sorted(kept, key=lambda each: each.used):
            if total + size <= self._limit_bytes or 0 <= now - each.used < self._in_use_s:
                break
            with suppress(FileNotFoundError):
                os.unlink(each.path)  # noqa: PTH108 - as text
                self._counts.remove(each.size)
            total -= each.size
        fits = total + size <= self._limit_bytes
        self._counts.held_bytes = total + (size if fits else 0)
        return fits

    @contextmanager
    def _locked(self) -> Generator[bool]:
        """Hold the folder's lock; yield whether it could be had in time."""
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + _LOCK_S
        try:
            while not (locked := lock(descriptor)) and time.monotonic() < deadline:
                time.sleep(_RETRY_S)
            yield locked
        finally:
            os.close(descriptor)  # gives the lock back


def lock(descriptor: int) -> bool:
    """Return whether the lock of an open file could be had now; the kernel gives it back when the file is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _removed_if_dead(part: str) -> bool:
    """Remove a file that no worker fetches; return whether that was so."""
    descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not lock(descriptor):
            return False
        os.unlink(part)  # noqa: PTH108 - as text
        return True
    finally:
        os.close(descriptor)
