"""Reads the bytes of one file below a root, or a part of them, with limits, confinement and retries.

Every failure is an ItemError whose message can stand in the quarantine ledger as it is: no path of this host, no
traceback.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from penstock.protocol.errors import ItemError
from penstock.protocol.storage.confined_files import FIND_FLAGS, opened_path, reopen

#: Errors that a network filesystem, a tired disk or a host short of file descriptors gives once and not again.
_TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EMFILE, errno.ENFILE})
#: Seconds to wait before each further try.
_BACKOFF_S = (0.02, 0.1, 0.5)
#: Seconds that parts of one file may spend on failing when each is read alone; the rest is given up then.
_APART_S = 10.0

# O_NONBLOCK: a file that is leased to another process is tried again rather than waited for.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_REASONS = {
    errno.ENOENT: "no such file (it vanished, or the source is out of date)",
    errno.EACCES: "permission denied: the worker may not read it",
    errno.EPERM: "permission denied: the worker may not read it",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.ENAMETOOLONG: "its path is too long for this host",
}


#: Bytes behind a run of parts that the kernel is asked to read ahead: a file that is opened anew has no memory of the
#: run before.
_AHEAD_BYTES = 4_000_000
#: Offset and length (bytes) of a part of a file; None: the whole file.
Span = tuple[int, int] | None
#: A file's inode, size, and times (ns) of its content's and its entry's last change: other content, another identity.
FileIdentity = tuple[int, int, int, int]

_Found = TypeVar("_Found")


def read_file(root: Path, path: str, limit_bytes: int, *, allow_outside: bool, span: Span = None) -> bytes:
    """Return the content of the regular file `path` below `root`, or of its part `span`.

    Unless `allow_outside`, the file itself, not just its name, must lie below the root. Transient errors are
    tried again, three times within about 0.6 s. Raises ItemError for everything else.
    """
    return _retried(lambda: _read_once(root, path, limit_bytes, allow_outside=allow_outside, span=span))


def read_parts(
    root: Path, path: str, limit_bytes: int, spans: Sequence[tuple[int, int]], *, allow_outside: bool
) -> list[bytes | ItemError]:
    """Return parts of a file, or why one cannot be had; for the rest it does what `read_file` does, opening it once.

    Where the tries do not bring all parts, as on a disk with a bad sector, each one is tried once more by itself.
    """

    def read(part: Callable[[int, int, tuple[int, int]], bytes | ItemError]) -> list[bytes | ItemError]:
        return _read_parts_once(root, path, spans, part, allow_outside=allow_outside)

    try:
        return _retried(lambda: read(partial(_part, limit_bytes)))
    except ItemError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        try:
            return read(_Apart(limit_bytes))
        except OSError:  # the file cannot be opened
            raise error from error.__cause__


def find_or_read(
    root: Path,
    path: str,
    limit_bytes: int,
    *,
    allow_outside: bool,
    span: Span,
    find: Callable[[FileIdentity], _Found | None],
) -> _Found | tuple[bytes, FileIdentity | None]:
    """Return what `find` knows of a file, else its content and identity; for the rest it does what `read_file` does.

    The identity is None if the file changed while it was read.
    """
    return _retried(lambda: _find_or_read_once(root, path, limit_bytes, allow_outside, span, find))


def _retried(read: Callable[[], _Found]) -> _Found:
    tries = len(_BACKOFF_S) + 1
    for left in reversed(range(tries)):
        try:
            return read()
        except OSError as error:
            if error.errno not in _TRANSIENT:
                raise ItemError(_REASONS.get(error.errno or 0) or f"cannot read: {error.strerror or error}") from error
            if not left:
                raise ItemError(f"cannot read, {tries} times tried: {error.strerror or error}") from error
            time.sleep(_BACKOFF_S[-left])
    raise AssertionError("unreachable")


def _read_once(root: Path, path: str, limit_bytes: int, *, allow_outside: bool, span: Span) -> bytes:
    descriptor = _open_named(root, path, allow_outside=allow_outside)
    try:
        return _content(descriptor, _checked_size(descriptor, limit_bytes, span))
    finally:
        os.close(descriptor)


def _read_parts_once(
    root: Path,
    path: str,
    spans: Sequence[tuple[int, int]],
    part: Callable[[int, int, tuple[int, int]], bytes | ItemError],
    *,
    allow_outside: bool,
) -> list[bytes | ItemError]:
    """Open a file, and return what `part` reads from its descriptor and size for each part. Raises OSError."""
    descriptor = _open_named(root, path, allow_outside=allow_outside)
    try:
        begin, end = min(offset for offset, _ in spans), max(offset + length for offset, length in spans)
        if end - begin <= 2 * sum(length for _, length in spans):  # they are read in a run, and so is what follows
            _read_ahead(descriptor, begin, end - begin + _AHEAD_BYTES)
        size = os.fstat(descriptor).st_size
        return [part(descriptor, size, span) for span in spans]
    finally:
        os.close(descriptor)


def _read_ahead(descriptor: int, offset: int, length: int) -> None:
    """Ask the kernel to read a part of a file meanwhile, where the system can be asked."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)


def _part(limit_bytes: int, descriptor: int, size: int, span: tuple[int, int]) -> bytes | ItemError:
    offset, length = span
    try:
        if length > limit_bytes or not 0 < length <= size - offset:
            _checked_size(descriptor, limit_bytes, span)
        content = os.pread(descriptor, length, offset)
        if len(content) < length:  # the kernel stops at 2 GiB, and at the new end of a file that shrank
            os.lseek(descriptor, offset + len(content), os.SEEK_SET)
            content = _read_rest(descriptor, content, length)
    except ItemError as error:
        return error
    return content


class _Apart:
    """Reads parts of a file each by itself: one that cannot be read is an error of its own, for a bounded time."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._failing_s = 0.0
        self._last: ItemError | None = None

    def __call__(self, descriptor: int, size: int, span: tuple[int, int]) -> bytes | ItemError:
        if self._last is not None and self._failing_s >= _APART_S:
            return self._last
        began = time.monotonic()
        try:
            return _part(self._limit_bytes, descriptor, size, span)
        except OSError as error:
            self._failing_s += time.monotonic() - began
            self._last = ItemError(f"cannot read: {error.strerror or error}")
            return self._last


def _find_or_read_once(
    root: Path,
    path: str,
    limit_bytes: int,
    allow_outside: bool,  # noqa: FBT001 - by position, from the one call above
    span: Span,
    find: Callable[[FileIdentity], _Found | None],
) -> _Found | tuple[bytes, FileIdentity | None]:
    descriptor = _open_named(root, path, allow_outside=allow_outside)
    try:
        identity = _identity(descriptor)
        size = _checked_size(descriptor, limit_bytes, span)
        if (found := find(identity)) is not None:
            return found
        content = _content(descriptor, size)
        return content, identity if _identity(descriptor) == identity else None
    finally:
        os.close(descriptor)


def _open_named(root: Path, path: str, *, allow_outside: bool) -> int:
    try:
        return _open(os.fsencode(root), path.encode(), allow_outside=allow_outside)
    except ValueError as error:  # a NUL character, or a lone surrogate
        raise ItemError(f"not a possible path: {error}") from error


def _identity(descriptor: int) -> FileIdentity:
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _checked_size(descriptor: int, limit_bytes: int, span: Span) -> int:
    """Return how many bytes are to be read from where the descriptor stands now. Raises ItemError."""
    size = os.fstat(descriptor).st_size
    if span is not None:
        size = _size_of_part(descriptor, size, *span)
    elif size == 0:
        raise ItemError("the file is empty")
    if size > limit_bytes:
        raise ItemError(f"{size} bytes is over the limit of {limit_bytes} bytes (transform.max_file_mb)")
    return size


def _content(descriptor: int, size: int) -> bytes:
    content = os.read(descriptor, size)
    return content if len(content) == size else _read_rest(descriptor, content, size)


def _size_of_part(descriptor: int, file_bytes: int, offset: int, length: int) -> int:
    """Seek to a part of a file and return its size. Raises ItemError if the file does not hold it."""
    if length == 0:
        raise ItemError("the item is empty")
    if offset + length > file_bytes:
        raise ItemError(
            f"the file ends before the item does: it has {file_bytes} bytes, the item ends at {offset + length} (the "
            "file was cut, or the source is out of date)"
        )
    os.lseek(descriptor, offset, os.SEEK_SET)
    return length


def _read_rest(descriptor: int, content: bytes, size: int) -> bytes:
    """Go on after a short read: the kernel stops at 2 GiB, and at the new end of a file that shrank."""
    parts, done = [content], len(content)
    while part := os.read(descriptor, size - done):
        parts.append(part)
        done += len(part)
        if done == size:
            return b"".join(parts)
    raise ItemError(f"the file shrank while it was read: {done} of {size} bytes were left")


def _open(root: bytes, path: bytes, *, allow_outside: bool) -> int:
    """Return a descriptor of a regular file; what is none, or lies outside, is found and never opened."""
    found = os.open(root + b"/" + path, FIND_FLAGS)
    try:
        if not allow_outside:
            _check_inside(root, found, path)
        kind = stat.S_IFMT(os.fstat(found).st_mode)
        if kind != stat.S_IFREG:
            raise ItemError(f"not a file but {_KINDS.get(kind, 'something else')}")
        return reopen(found, _FLAGS)  # the very file that was checked, whatever its name is now
    finally:
        os.close(found)


def _check_inside(root: bytes, found: int, path: bytes) -> None:
    # The kernel says where the open file lies, so no link can be swapped after the check.
    place = os.fsencode(opened_path(found, os.fsdecode(root + b"/" + path)))
    if _inside(place, _resolve(root)):
        return
    _resolve.cache_clear()  # the root may have been mounted or linked anew since it was resolved
    if not _inside(place, _resolve(root)):
        raise ItemError("leads outside its root (by a symbolic link or '..'); allow_outside = true permits it")


@lru_cache(maxsize=64)
def _resolve(root: bytes) -> bytes:
    return os.path.realpath(root)


def _inside(path: bytes, root: bytes) -> bool:
    return path == root or path.startswith(root.rstrip(b"/") + b"/")
