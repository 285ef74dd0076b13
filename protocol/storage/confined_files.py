"""Opening one file below a root for reading: owns confinement, and noticing that a file was changed.

Refuses to know what the file holds.
"""

import os
import stat
import weakref

from penstock.protocol.errors import ItemError, SourceError

_FLAGS = os.O_RDONLY | os.O_CLOEXEC


class Watch:
    """Knows whether an open file is still as it was; keeps its descriptor as long as it lives."""

    def __init__(self, descriptor: int, name: str) -> None:
        """Look at an open file; the descriptor is this object's from now on."""
        self._close = weakref.finalize(self, os.close, descriptor)
        self._descriptor, self._name = descriptor, name
        self._opened = self._look()
        #: Bytes of the file.
        self.size = self._opened[0]

    @property
    def changed(self) -> bool:
        """Whether the file was written to since it was opened; one that was replaced stays as it was."""
        return self._look() != self._opened

    def check(self) -> None:
        """Raise ItemError if the file was written to since it was opened."""
        if self.changed:
            raise ItemError(f"{self._name} was changed while it was in use: start again, so that it is listed anew")

    def _look(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns


def open_below(root: str, path: str, *, allow_outside: bool) -> int:
    """Return a descriptor of the regular file `path` below the folder `root`; the caller closes it.

    Unless `allow_outside`, the file itself, not just its name, must lie below the root: what does not, or is no regular
    file, is never opened. Raises SourceError.
    """
    if "://" in root:
        raise SourceError(f"{root}/{path}: arrays and HDF5 files are read from files only: copy it to a folder")
    try:
        found = os.open(f"{root}/{path}", os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{root}/{path}: cannot open the file: {error.strerror}") from error
    try:
        _check(found, root, path, allow_outside=allow_outside)
        return os.open(f"/proc/self/fd/{found}", _FLAGS)
    except OSError as error:
        raise SourceError(f"{root}/{path}: cannot open the file: {error.strerror}") from error
    finally:
        os.close(found)


def _check(found: int, root: str, path: str, *, allow_outside: bool) -> None:
    if not stat.S_ISREG(os.fstat(found).st_mode):
        raise SourceError(f"{root}/{path}: not a file")
    place, top = opened_path(found), os.path.realpath(root)
    if not allow_outside and not place.startswith(top.rstrip("/") + "/"):
        raise SourceError(
            f"{root}/{path} leads outside its root, to {place}: set allow_outside = true to permit it, or widen "
            "the root"
        )


def opened_path(descriptor: int) -> str:
    """Return where an open file lies: asked of the kernel, so that nobody can swap a link after a check."""
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - as text
