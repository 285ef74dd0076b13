"""Reads parts of files below a root of this host, which stay open between tasks.

A file that stays open keeps the kernel's memory of the run that is being read, so that it reads ahead in large pieces
by itself: asking it for what comes next (`POSIX_FADV_WILLNEED`) took three times as long, in small pages. Before each
use its name is looked up again: a file that was replaced is opened anew, and checked anew.
"""

import os
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.protocol.errors import ItemError
from penstock.sources.files import checked_size, open_named, read_rest, retried

#: Files that a reader keeps open.
_FILES = 8
#: Seconds that parts of one file may spend on failing when each is read alone; the rest is given up then.
_APART_S = 10.0

_Part = tuple[int, int]


class PartReader:
    """The files below a root; for use by one thread at a time."""

    def __init__(self, root: Path, limit_bytes: int, *, allow_outside: bool) -> None:
        """Open none yet; a part has `limit_bytes` at most."""
        self._root, self._limit_bytes, self._allow_outside = root, limit_bytes, allow_outside
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()

    def read(self, path: str, spans: Sequence[_Part]) -> list[bytes | ItemError]:
        """Return parts of a file, or why one cannot be had. Raises ItemError if the file cannot be opened.

        Transient errors are tried again, three times within about 0.6 s. Where the tries do not bring all parts, as on
        a disk with a bad sector, each one is tried once more by itself.
        """
        try:
            return retried(lambda: self._read(path, spans, self._each))
        except ItemError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            try:
                return self._read(path, spans, _Apart(self._limit_bytes))
            except OSError:  # the file cannot be opened
                raise error from error.__cause__

    def _read(
        self,
        path: str,
        spans: Sequence[_Part],
        read: Callable[[int, int, Sequence[_Part]], list[bytes | ItemError]],
    ) -> list[bytes | ItemError]:
        try:
            file = self._file(path)
            return read(file.descriptor, os.fstat(file.descriptor).st_size, spans)
        except OSError:
            self._open.pop(path, None)  # it may be another file's handle by now, as on a network file system
            raise

    def _file(self, path: str) -> "_OpenFile":
        """Return the open file that has this name now. Raises OSError and ItemError."""
        file = self._open.get(path)
        if file is None or not file.has_name():
            self._open.pop(path, None)
            file = _OpenFile(open_named(self._root, path, allow_outside=self._allow_outside), self._root, path)
            if len(self._open) >= _FILES:
                self._open.popitem(last=False)
            self._open[path] = file
        self._open.move_to_end(path)
        return file

    def _each(self, descriptor: int, size: int, spans: Sequence[_Part]) -> list[bytes | ItemError]:
        """Read each part straight into its own bytes. Raises OSError."""
        limit_bytes, pread = self._limit_bytes, os.pread
        found: list[bytes | ItemError] = []
        for offset, length in spans:
            there = 0 < length <= limit_bytes and length <= size - offset
            content = pread(descriptor, length, offset) if there else b""
            # The kernel stops at 2 GiB, and at the new end of a file that shrank.
            whole = there and len(content) == length
            found.append(content if whole else _part(limit_bytes, descriptor, (offset, length)))
        return found


class _OpenFile:
    """A file that is kept open; closed with the object."""

    def __init__(self, descriptor: int, root: Path, path: str) -> None:
        self.descriptor, self._name = descriptor, os.fsencode(root) + b"/" + path.encode()
        weakref.finalize(self, os.close, descriptor)
        self._status = os.fstat(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def has_name(self) -> bool:
        """Return whether the file still has the name under which it was opened."""
        try:
            return os.path.samestat(os.stat(self._name), self._status)  # noqa: PTH116 - bytes
        except OSError:
            return False


def _part(limit_bytes: int, descriptor: int, span: _Part) -> bytes | ItemError:
    """Read one part. Raises OSError."""
    try:
        length = checked_size(descriptor, limit_bytes, span)
        content = os.pread(descriptor, length, span[0])
        if len(content) < length:
            os.lseek(descriptor, span[0] + len(content), os.SEEK_SET)
            content = read_rest(descriptor, content, length)
    except ItemError as error:
        return error
    return content


class _Apart:
    """Reads parts of a file each by itself: one that cannot be read is an error of its own, for a bounded time."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._failing_s = 0.0
        self._last: ItemError | None = None

    def __call__(self, descriptor: int, size: int, spans: Sequence[_Part]) -> list[bytes | ItemError]:
        del size
        return [self._one(descriptor, span) for span in spans]

    def _one(self, descriptor: int, span: _Part) -> bytes | ItemError:
        if self._last is not None and self._failing_s >= _APART_S:
            return self._last
        began = time.monotonic()
        try:
            return _part(self._limit_bytes, descriptor, span)
        except OSError as error:
            self._failing_s += time.monotonic() - began
            self._last = ItemError(f"cannot read: {error.strerror or error}")
            return self._last
