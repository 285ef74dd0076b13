"""Opens files for reading below a root, and notices when an open file was changed.

Confinement is checked on an open descriptor, never on a path: swapping in a link after the check changes nothing.
"""

import errno
import fcntl
import os
import stat
import weakref
from collections.abc import Callable

from penstock.protocol.errors import ItemError, SourceError

_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_PROC = hasattr(os, "O_PATH") and os.path.isdir("/proc/self/fd")  # noqa: PTH112 - asked once
#: Linux finds a file without opening it. Other systems open it, without waiting for a program that writes to a pipe.
FIND_FLAGS = (os.O_PATH if _PROC else os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) | os.O_CLOEXEC


class Watch:
    """Holds an open file's descriptor for as long as this object lives, and tells whether the file was changed."""

    def __init__(self, descriptor: int, name: str) -> None:
        """Take over the descriptor; `name` stands in messages."""
        self._close = weakref.finalize(self, os.close, descriptor)
        self.descriptor, self._name = descriptor, name
        status = os.fstat(descriptor)
        self._opened = _content_of(status)
        #: When the file was changed last (ns), which cannot be set back; a new name or mode is such a change, too.
        self.last_change_ns = status.st_ctime_ns
        #: Size of the file in bytes.
        self.size = self._opened[1]

    @property
    def identity(self) -> tuple[int, int, int]:
        """The file's inode, size and time of change when it was opened: another file has another identity."""
        return self._opened

    @property
    def changed(self) -> bool:
        """Whether the file was written to since it was opened; a file that was replaced by another stays unchanged."""
        return _content_of(os.fstat(self.descriptor)) != self._opened

    def check(self) -> None:
        """Raise ItemError if the file was written to since it was opened."""
        if self.changed:
            raise ItemError(f"{self._name} was changed while it was in use: start again, so that it is listed anew")

    def close(self) -> None:
        """Close the descriptor now; closing twice does no harm."""
        self._close()


def _content_of(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def open_below(root: str, path: str, *, allow_outside: bool) -> int:
    """Return a descriptor of the regular file `path` below the folder `root`; the caller closes it.

    Unless `allow_outside`, the file itself, not just its name, must lie below the root. A file outside the root, or one
    that is not a regular file, is never opened. Raises SourceError.
    """
    if "://" in root:
        raise SourceError(f"{root}/{path}: arrays and HDF5 files are read from files only: copy it to a folder")
    top = os.path.realpath(root).rstrip("/") + "/"

    def check(place: str) -> None:
        if not allow_outside and not place.startswith(top):
            raise SourceError(
                f"{root}/{path} leads outside its root, to {place}: set allow_outside = true to permit it, or widen "
                "the root"
            )

    try:
        return open_regular(f"{root}/{path}", check)
    except IsADirectoryError as error:
        raise SourceError(f"{root}/{path}: not a file") from error
    except OSError as error:
        raise SourceError(f"{root}/{path}: cannot open the file: {error.strerror}") from error


def open_regular(path: str, check: Callable[[str], None]) -> int:
    """Return a descriptor of a regular file for reading; the caller closes it.

    `check` gets the real path of the file that was found, and raises if it must not be read. Raises OSError, which is
    IsADirectoryError for anything that is not a regular file: a folder, a pipe, a device.
    """
    found = os.open(path, FIND_FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise IsADirectoryError(errno.EISDIR, "not a regular file", path)
        check(opened_path(found, path))
        return reopen(found, _FLAGS)
    finally:
        os.close(found)


def descriptor_path(descriptor: int) -> str:
    """Return a path that opens the very file of a descriptor, whatever its name leads to by now."""
    return f"/proc/self/fd/{descriptor}" if _PROC else f"/dev/fd/{descriptor}"


def reopen(found: int, flags: int) -> int:
    """Return another descriptor of the very file that was opened with FIND_FLAGS; this one can be read."""
    return os.open(f"/proc/self/fd/{found}", flags) if _PROC else os.dup(found)


def opened_path(descriptor: int, path: str = "") -> str:
    """Return the real path of an open file, as the kernel knows it.

    Where the kernel does not say, it is where `path` leads, if that is still the same file. Raises OSError.
    """
    if _PROC:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - as text
    if ask := getattr(fcntl, "F_GETPATH", None):  # macOS
        return os.fsdecode(fcntl.fcntl(descriptor, ask, bytes(1024)).rstrip(b"\0"))
    place = os.path.realpath(path)
    if not path or not os.path.samestat(os.stat(place), os.fstat(descriptor)):  # noqa: PTH116 - as text
        raise OSError(errno.ESTALE, "the file was replaced while it was opened", path)
    return place
