"""Paths on this host for listings: whether they exist, how messages show them, where links may lead."""

# Paths are bytes here: names are taken as they are on disk.
# ruff: noqa: PTH116, PTH118

import os
import stat
from dataclasses import dataclass
from typing import Self

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import Source


def show(path: bytes) -> str:
    """Return a path for a message, whatever its bytes."""
    return path.decode(errors="backslashreplace")


def below(root: str, path: str) -> bytes:
    """Return a path below a folder of this host."""
    return os.path.join(os.fsencode(root), path.encode()) if path else os.fsencode(root)


@dataclass(frozen=True, slots=True)
class Guard:
    """Where links may lead."""

    #: The root without symbolic links.
    root: bytes
    allow_outside: bool

    @classmethod
    def of(cls, root: str, source: Source) -> Self:
        """Return the guard of a folder of this host."""
        return cls(os.path.realpath(os.fsencode(root)), allow_outside=source.allow_outside)

    def check(self, path: bytes) -> None:
        """Raise SourceError if `path` leads out of the root and must not."""
        if self.allow_outside:
            return
        target = os.path.realpath(path)
        if target != self.root and not target.startswith(self.root.rstrip(b"/") + b"/"):
            raise SourceError(
                f"{show(path)} leads outside its root, to {show(target)}: set allow_outside = true to permit it, "
                "or widen the root"
            )


def cannot_read(place: bytes, error: OSError) -> SourceError:
    """Return the error for a folder that cannot be listed or entered."""
    return SourceError(f"{show(place)}: cannot read the folder: {error.strerror or error}")


def is_folder(place: bytes) -> bool:
    """Return whether a folder is there. Raises SourceError if this process may not know."""
    return stat.S_ISDIR(_mode(place))


def is_file(place: bytes) -> bool:
    """Return whether a regular file is there. Raises SourceError if this process may not know."""
    return stat.S_ISREG(_mode(place))


def exists(place: bytes) -> bool:
    """Return whether anything is there. Raises SourceError if this process may not know."""
    return _mode(place) != 0


def _mode(place: bytes) -> int:
    try:
        return os.stat(place).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL character
        return 0
    except OSError as error:
        raise SourceError(f"{show(place)}: cannot look at it: {error.strerror or error}") from error
