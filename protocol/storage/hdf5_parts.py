"""Opens the files of virtual data sets' parts, so that the HDF5 library never has to.

The library delivers fill values, silently, for a part that it cannot open. Here a part that is gone, changed, outside
the permitted folder or cannot be opened is an error. Few files are open at a time, and fewer still where the process
runs out of descriptors.
"""

import os
import resource
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.confined_files import Watch, open_regular
from penstock.protocol.storage.hdf5_open import (
    TOO_MANY_OPEN,
    Bounds,
    TooManyOpenError,
    folder_of,
    h5py,
    open_descriptor,
)

#: Files of parts that are open at the same time, at most; each takes two descriptors. No more than a fourth of the
#: descriptors that the process may have, so that its sockets and its other files find some.
_MOST_OPEN, _SHARE_OF_LIMIT = 64, 8


class OpenFile:
    """An open HDF5 file with what is needed to read it safely: a watch for changes, and the folder it lies in."""

    def __init__(self, file: h5py.File, name: str, watch: Watch) -> None:
        """Take over an open file and a watch of it; `name` stands in messages."""
        self.file, self.name, self.watch = file, name, watch
        self.folder = folder_of(file)
        #: What reads this file's data sets, kept while the file is open.
        self.readers: dict[Any, Any] = {}
        #: How many reads are under way: a file in use is not closed to make room.
        self.users = 0

    @classmethod
    def of(cls, file: h5py.File, name: str) -> "OpenFile":
        """Return an open file with a descriptor of its own."""
        return cls(file, name, Watch(duplicate(file.id.get_vfd_handle(), name), name))

    def close(self) -> None:
        """Close the file and its descriptor."""
        self.readers.clear()
        self.file.close()
        self.watch.close()


class PartFiles:
    """The files of parts, opened when they are needed. For one thread."""

    def __init__(self, top: str | None, remedy: str = Bounds("", None).remedy) -> None:
        """Permit files below the folder `top` (None: anywhere); `remedy` says how others can be permitted."""
        self._top, self._remedy = top, remedy
        self._open: dict[str, OpenFile] = {}
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_open = _MOST_OPEN if limit < 0 else max(1, min(_MOST_OPEN, limit // _SHARE_OF_LIMIT))
        weakref.finalize(self, _close, self._open)
        #: Identity of each file when it was first opened.
        self._identities: dict[str, tuple[int, int, int]] = {}

    @contextmanager
    def use(self, path: str, part: str, where: str) -> Generator[OpenFile]:
        """Open the file at `path`, or keep it open, for a block of reading. Raises SourceError.

        `part` is the name that the virtual data set `where` has for it: both stand in messages.
        """
        opened = self._open.pop(path, None)
        if opened is None:
            opened = self._open_patiently(path, part, where)
            self._make_room(self._most_open - 1)
        self._open[path] = opened  # the file that was used longest ago comes first
        opened.users += 1
        try:
            check_unchanged(opened.watch, opened.name)
            yield opened
        finally:
            opened.users -= 1

    def close(self) -> None:
        """Close all files."""
        _close(self._open)

    def _make_room(self, most: int) -> bool:
        """Close the files that were used longest ago until `most` are open; return whether any was closed."""
        idle = [path for path, opened in self._open.items() if not opened.users]
        closing = idle[: max(0, len(self._open) - most)]
        for path in closing:
            self._open.pop(path).close()
        return bool(closing)

    def _open_patiently(self, path: str, part: str, where: str) -> OpenFile:
        """Open a file; where the process has too many open, close others of ours first."""
        while True:
            try:
                return self._open_part(path, part, where)
            except TooManyOpenError:
                if not self._make_room(len(self._open) // 2):
                    raise

    def _open_part(self, path: str, part: str, where: str) -> OpenFile:
        bounds = Bounds(where, self._top, self._remedy)

        def check(place: str) -> None:
            if not bounds.permits(place):
                raise SourceError(f"{where} holds data of {part}, outside the root: {self._remedy}")

        name = f"{where} ({part})"
        try:
            descriptor = open_regular(path, check)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            check(os.path.realpath(path))
            if path in self._identities:
                raise SourceError(
                    f"{where}: its part {part} is gone since the file was opened: open it again, it may be finished now"
                ) from error
            raise SourceError(f"{where} holds data of {part}, and there is no such file next to it") from error
        except OSError as error:
            raise _cannot_open(name, error) from error
        watch = Watch(descriptor, name)
        if self._identities.setdefault(path, watch.identity) != watch.identity:
            raise SourceError(f"{where}: its part {part} was changed since the file was opened: open it again")
        return OpenFile(open_descriptor(descriptor, name), name, watch)


def _close(files: dict[str, OpenFile]) -> None:
    while files:
        files.popitem()[1].close()


def check_unchanged(watch: Watch, name: str) -> None:
    """Raise SourceError if a file was written to since it was opened."""
    if watch.changed:
        raise SourceError(f"{name} was changed while it was in use: open it again when it is written")


def duplicate(descriptor: int, name: str) -> int:
    """Return another descriptor of an open file. Raises SourceError if there is none left."""
    try:
        return os.dup(descriptor)
    except OSError as error:
        raise _cannot_open(name, error) from error


def _cannot_open(name: str, error: OSError) -> SourceError:
    if error.errno in TOO_MANY_OPEN:
        return TooManyOpenError(f"{name}: cannot be opened: {error.strerror}: raise the limit (ulimit -n)")
    return SourceError(f"{name}: cannot be opened: {error.strerror}")
