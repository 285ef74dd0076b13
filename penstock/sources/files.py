"""Reads the bytes of one file below a root, or a part of them, with limits, confinement and retries.

Every failure is an ItemError whose message can stand in the quarantine ledger as it is: no path of this host, no
traceback.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from penstock.protocol.errors import ItemError
from penstock.protocol.storage.confined_files import FIND_FLAGS, opened_path, reopen

#: Errors that a network filesystem, a tired disk or a host short of file descriptors gives once and not again.
_TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EMFILE, errno.ENFILE})
#: Seconds to wait before each further try.
_BACKOFF_S = (0.02, 0.1, 0.5)

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
    return retried(lambda: _read_once(root, path, limit_bytes, allow_outside=allow_outside, span=span))


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
    return retried(lambda: _find_or_read_once(root, path, limit_bytes, allow_outside, span, find))


def retried(read: Callable[[], _Found]) -> _Found:
    """Return what `read` returns, after further tries if errors pass; raise ItemError for those that stay."""
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
    descriptor = open_named(root, path, allow_outside=allow_outside)
    try:
        return _content(descriptor, checked_size(descriptor, limit_bytes, span))
    finally:
        os.close(descriptor)


def _find_or_read_once(
    root: Path,
    path: str,
    limit_bytes: int,
    allow_outside: bool,  # noqa: FBT001 - by position, from the one call above
    span: Span,
    find: Callable[[FileIdentity], _Found | None],
) -> _Found | tuple[bytes, FileIdentity | None]:
    descriptor = open_named(root, path, allow_outside=allow_outside)
    try:
        identity = _identity(descriptor)
        size = _checked(descriptor, identity[1], limit_bytes, span)
        if (found := find(identity)) is not None:
            return found
        content = _content(descriptor, size)
        return content, identity if _identity(descriptor) == identity else None
    finally:
        os.close(descriptor)


def open_named(root: Path, path: str, *, allow_outside: bool) -> int:
    """Return a descriptor of a regular file below the root. Raises OSError and ItemError."""
    try:
        return _open(os.fsencode(root), path.encode(), allow_outside=allow_outside)
    except ValueError as error:  # a NUL character, or a lone surrogate
        raise ItemError(f"not a possible path: {error}") from error


def _identity(descriptor: int) -> FileIdentity:
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def checked_size(descriptor: int, limit_bytes: int, span: Span) -> int:
    """Return how many bytes are to be read from where the descriptor stands now. Raises ItemError."""
    return _checked(descriptor, os.fstat(descriptor).st_size, limit_bytes, span)


def _checked(descriptor: int, size: int, limit_bytes: int, span: Span) -> int:
    if span is not None:
        size = _size_of_part(descriptor, size, *span)
    elif size == 0:
        raise ItemError("the file is empty")
    if size > limit_bytes:
        raise ItemError(f"{size} bytes is over the limit of {limit_bytes} bytes (transform.max_file_mb)")
    return size


def _content(descriptor: int, size: int) -> bytes:
    content = os.read(descriptor, size)
    return content if len(content) == size else read_rest(descriptor, content, size)


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


def read_rest(descriptor: int, content: bytes, size: int) -> bytes:
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
