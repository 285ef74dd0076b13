"""Finds out whether a replaced version of an output is still open in a reader.

A view whose pieces are gone would silently read as zeros, so pieces are removed only when no reader has such a view
open. The HDF5 library locks a file (flock, shared) as long as it has it open: if an exclusive lock succeeds, no reader
is left. Where such locks are switched off or do not exist, the file counts as closed.
"""

import fcntl
import os
import time
from pathlib import Path

#: Seconds that a reader may take from opening a file to locking it.
_GRACE_S = 0.2


class OpenReaders:
    """Replaced versions of an output that may still be open in readers."""

    def __init__(self, path: Path) -> None:
        """Start without any."""
        self._path = path
        self._old: list[tuple[int, float]] = []

    def replaced(self, descriptor: int | None) -> None:
        """Remember the file that `hold` returned: its name now stands for another file."""
        if descriptor is not None:
            self._old.append((descriptor, time.monotonic()))

    def hold(self) -> int | None:
        """Return a descriptor of the file under the name, before it is replaced."""
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def unread(self) -> bool:
        """Return whether no reader has any of them open."""
        now = time.monotonic()
        self._old = [each for each in self._old if now - each[1] < _GRACE_S or _is_locked(each[0])]
        return not self._old

    def close(self) -> None:
        """Forget all."""
        while self._old:
            os.close(self._old.pop()[0])


def _is_locked(descriptor: int) -> bool:
    """Return whether another process has locked a file; close it otherwise."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here
        pass
    os.close(descriptor)
    return False
