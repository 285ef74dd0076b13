"""Files that survive a crash: written aside, synced, renamed. Also waits for space on a full disk, and locks an output.

The HDF5 library writes through `DurableFile`: the system calls are ours, so that they let other threads run, a full
disk is waited for at the very call that meets it, and an error never passes through the library, which would be
left in a state in which no file can be closed.
"""

import errno
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from penstock.protocol.errors import OutputError

Value = TypeVar("Value")

#: What says that there is no room: on the device, and in the user's quota.
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: How often a full disk is tried again, and a lock (s).
_AGAIN_S, _LOCK_AGAIN_S = 1.0, 0.1
#: Longest wait (s) for another process to let go of the lock: one that was killed, or whose parent was, leaves soon.
_LOCK_S = 15.0


class Buffer(Protocol):
    """Bytes that may be read, and written if it is what is read into."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """Return a view."""
        ...


class Disk:
    """How long this process waits for a full disk."""

    def __init__(self, wait_s: float, told: Callable[[str], None]) -> None:
        """Wait up to `wait_s` seconds for space; `told(why)` is called when a wait begins, and with "" when it ends."""
        self._wait_s, self._told = wait_s, told
        #: Set once nothing more must be waited for.
        self.leaving = threading.Event()

    def patiently(self, action: Callable[[], Value], path: Path) -> Value:
        """Return what `action` returns; where the disk is full, try again until there is space. Raises OutputError."""
        deadline = None
        while True:
            try:
                value = action()
            except OSError as error:
                if error.errno not in _FULL:
                    raise OutputError(
                        f"{path}: cannot be written: {error.strerror or error}; see to the disk, then give the same "
                        "command again: it goes on where this one stopped"
                    ) from error
                now = time.monotonic()
                if deadline is None:
                    deadline = now + self._wait_s
                    self._told(f"{path}: {error.strerror}")
                if self.leaving.wait(min(_AGAIN_S, max(0.0, deadline - now))) or now >= deadline:
                    raise OutputError(
                        f"{path}: {error.strerror}: free some space there, then give the same command again: it goes "
                        "on where this one stopped"
                    ) from error
            else:
                if deadline is not None:
                    self._told("")
                return value

    def make_room(self, size: int, path: Path) -> None:
        """Wait until the disk of `path` has space for so many bytes, so that nothing is begun in vain."""

        def look() -> None:
            free = shutil.disk_usage(path.parent).free
            if free < size:
                short = f"{size / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free"
                raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {short}")

        self.patiently(look, path)

    def sync(self, descriptor: int, path: Path) -> None:
        """Make what was written durable. Raises OutputError.

        Tried once, whatever is wrong: the system drops what it
        could not write, and would agree the next time.
        """

        def once() -> None:
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise OutputError(
                    f"{path}: the data written may be lost: {error.strerror or error}; see to the disk, then give the "
                    "same command again: it goes on where this one stopped"
                ) from error

        self.patiently(once, path)

    def sync_folder(self, folder: Path) -> None:
        """Make renames in a folder durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(descriptor, folder)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a synced file its name, replacing any file of that name, durably."""
        self.patiently(lambda: source.replace(target), target)
        self.sync_folder(target.parent)

    def write(self, path: Path, data: bytes) -> None:
        """Write a small file whole, or not at all."""
        aside = path.with_name(f"{path.name}.tmp")
        file = DurableFile(aside, self)
        file.write(data)
        file.finish()
        self.rename(aside, path)


class DurableFile:
    """A new file that the HDF5 library writes, and reads, as a Python file object."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Create it, or empty it. Raises OutputError."""
        self.path, self._disk = path, disk
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._descriptor = disk.patiently(lambda: os.open(path, flags, 0o666), path)
        self._at = 0
        #: The first error: from then on nothing is written, although the library believes so. It
        #: has no traceback, and copies of it are raised: frames would keep the library's file, and that keeps this one.
        self._error: OutputError | None = None

    def check(self) -> None:
        """Raise the first error so far: OutputError."""
        if self._error:
            raise _bare(self._error)

    @contextmanager
    def guard(self) -> Generator[None]:
        """Raise the disk's error in this block, instead of the library's error about it: OutputError."""
        try:
            yield
        except (OSError, KeyError, RuntimeError, ValueError):
            self.check()
            raise
        self.check()

    def finish(self) -> None:
        """Make what was written durable, and close. Raises OutputError."""
        try:
            self.check()
            self._disk.sync(self._descriptor, self.path)
        finally:
            self._close()

    def drop(self) -> None:
        """Close and remove it."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._descriptor).st_size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; the library asks for the end to learn the size."""
        self._at = offset + (self.size if whence == os.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def read(self, count: int = -1) -> bytes:
        """Read bytes: by this the library knows a file object."""
        data = os.pread(self._descriptor, self.size if count < 0 else count, self._at)
        self._at += len(data)
        return data

    def readinto(self, into: Buffer) -> int:
        """Read what the library wants back."""
        count = os.preadv(self._descriptor, [into], self._at)
        self._at += count
        return count

    def write(self, data: Buffer | bytes) -> int:
        """Write all of it."""
        view = memoryview(data).cast("B")
        left, at = view, self._at
        try:
            while left and not self._error:
                here, rest = at, left
                count = self._disk.patiently(lambda: os.pwrite(self._descriptor, rest, here), self.path)  # noqa: B023
                at, left = at + count, left[count:]
        except OutputError as error:
            self._error = _bare(error)
        self._at += len(view)
        return len(view)

    def truncate(self, size: int) -> int:
        """Set the size."""
        try:
            if not self._error:
                self._disk.patiently(lambda: os.ftruncate(self._descriptor, size), self.path)
        except OutputError as error:
            self._error = _bare(error)
        return size

    def flush(self) -> None:
        """Do nothing: no write is buffered, and `finish` syncs."""


def _bare(error: OutputError) -> OutputError:
    """Return a copy of an error without its traceback and its cause."""
    return type(error)(*error.args)


class Lock:
    """One process at a time writes an output."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Take it. Raises OutputError if another process keeps it."""
        self.path = path
        deadline = time.monotonic() + _LOCK_S
        while not self._take(disk):
            if time.monotonic() > deadline:
                raise OutputError(
                    f"{path}: another process is writing this output: wait until it is done, or give another name"
                )
            disk.leaving.wait(_LOCK_AGAIN_S)

    def _take(self, disk: Disk) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = disk.patiently(lambda: os.open(self.path, flags, 0o666), self.path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._descriptor).st_ino == self.path.stat().st_ino:
                return True  # else the one before has removed it
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(self._descriptor)
        return False

    def release(self) -> None:
        """Release it."""
        os.close(self._descriptor)
