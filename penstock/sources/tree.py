"""Walks the class folders of a tree on this host. `remote.py` does the same for a tree below a URL.

Files are neither opened nor stat'ed, unless they are symbolic links. The result does not depend on the order in which
the host's file system lists its folders.
"""

# Paths are bytes here: names are taken as they are on disk.
# ruff: noqa: PTH114, PTH116, PTH118

import errno
import heapq
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from penstock.protocol.errors import SourceError
from penstock.sources.file_listing import MAX_PATH_BYTES, prefix_of
from penstock.sources.paths import Guard, cannot_read, show
from penstock.sources.suffixes import UNCLASSIFIED, is_image, suffix_of


class FolderTree:
    """The class folders directly below a folder."""

    def __init__(self, place: bytes, folder: str, guard: Guard) -> None:
        """List `place`, which the spec calls `folder`. Raises SourceError."""
        self.name = show(place)
        self._place, self._prefix, self._guard = place, prefix_of(folder), guard
        self.folders: set[bytes] = set()
        #: Files that were found and not listed: how many of each suffix, and how many images in no class folder.
        self.passed_over: Counter[str] = Counter()
        #: Guards the counts: several class folders may be walked at once.
        self._lock = threading.Lock()
        #: Set: all walks end at their next entry.
        self.stopped = threading.Event()
        for entry in _entries(place):
            if _is_folder(entry):
                self.folders.add(entry.name)
                _check_name(entry)
            else:
                self.passed_over[UNCLASSIFIED if is_image(entry.name) else suffix_of(entry.name)] += 1

    def images(self, name: bytes) -> Iterator[bytes]:
        """Yield the path below the root of every image in a class folder: see `files`."""
        return self.files(name, is_image)

    def files(self, name: bytes, wanted: Callable[[bytes], bool]) -> Iterator[bytes]:
        """Yield the path below the root of every wanted file in a class folder, each real folder once.

        Folders that lie in the class folder come first, then those that links lead to, by the links' paths. So a link
        to a folder that was walked already, such as one above it, adds nothing. Once `stopped` is set, it ends early.
        Raises SourceError.
        """
        start = os.path.join(self._place, name)
        if os.path.islink(start):
            self._guard.check(start)
        seen: set[tuple[int, int]] = set()  # device and inode of each folder
        links = [(self._prefix + name + b"/", start)]
        by_link = False  # without links, no folder is met twice, whatever numbers a file system without inodes gives
        while links:
            pending = [heapq.heappop(links)]
            while pending:
                path, folder = pending.pop()
                identity = _identity(folder)
                if by_link and identity in seen:
                    continue
                seen.add(identity)
                for entry in _entries(folder):
                    if self.stopped.is_set():
                        return
                    if not _is_folder(entry):
                        yield from self._file(path, entry, wanted)
                        continue
                    found = (self._checked(path, entry) + b"/", entry.path)
                    if entry.is_symlink():
                        heapq.heappush(links, found)
                    else:
                        pending.append(found)
            by_link = True

    def _file(self, path: bytes, entry: os.DirEntry[bytes], wanted: Callable[[bytes], bool]) -> Iterator[bytes]:
        if wanted(entry.name):
            yield self._checked(path, entry)
        else:
            with self._lock:
                self.passed_over[suffix_of(entry.name)] += 1

    def _checked(self, path: bytes, entry: os.DirEntry[bytes]) -> bytes:
        """Return the path below the root of what lies in the folder `path`. Raises SourceError."""
        _check_name(entry)
        if entry.is_symlink():
            self._guard.check(entry.path)
        if len(path) + len(entry.name) > MAX_PATH_BYTES:
            raise SourceError(f"{show(entry.path)}: the path below the root is longer than {MAX_PATH_BYTES} bytes")
        return path + entry.name


def _identity(folder: bytes) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError as error:
        raise cannot_read(folder, error) from error
    return status.st_dev, status.st_ino


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    """Yield what a folder holds, hidden entries left out."""
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if not entry.name.startswith(b"."):
                    yield entry
    except OSError as error:
        raise cannot_read(folder, error) from error


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if is_image(entry.name) or error.errno == errno.ELOOP:
            return False  # a link in a circle, or to what may not be read: the worker says what is wrong with an image
        raise cannot_read(entry.path, error) from error


def _check_name(entry: os.DirEntry[bytes]) -> None:
    try:
        entry.name.decode()
    except UnicodeDecodeError:
        raise SourceError(
            f"{show(entry.path)}: the name is not valid UTF-8, so no message can carry it: rename the file"
        ) from None
