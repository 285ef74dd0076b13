"""One file's bytes, and nothing but: owns confinement to the root, limits, retries and what a failed read is called.

Refuses to know what the bytes mean. Every failure is an ItemError whose message can stand in the quarantine ledger as
it is: no path of this host, no traceback.
"""

import errno
import os
import stat
import time
from functools import lru_cache
from pathlib import Path

from penstock.protocol.errors import ItemError

#: Errors that a network filesystem, a tired disk or a host short of file descriptors gives once and not again.
_TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EMFILE, errno.ENFILE})
#: Seconds to wait before each further try.
_BACKOFF_S = (0.02, 0.1, 0.5)

# O_NONBLOCK: opening a named pipe returns at once. O_NOCTTY: a terminal never becomes this process's own.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

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
    errno.ENXIO: "not a file but a socket or a device",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.ENAMETOOLONG: "its path is too long for this host",
}


def read_file(root: Path, path: str, limit_bytes: int, *, allow_outside: bool) -> bytes:
    """Return the content of the regular file `path` below `root`.

    Unless `allow_outside`, the file that was opened, not just its name, must lie below the root. Transient errors are
    tried again, three times within about 0.6 s. Raises ItemError for everything else.
    """
    tries = len(_BACKOFF_S) + 1
    for left in reversed(range(tries)):
        try:
            return _read_once(root, path, limit_bytes, allow_outside=allow_outside)
        except OSError as error:
            if error.errno not in _TRANSIENT:
                raise ItemError(_REASONS.get(error.errno or 0) or f"cannot read: {error.strerror or error}") from error
            if not left:
                raise ItemError(f"cannot read, {tries} times tried: {error.strerror or error}") from error
            time.sleep(_BACKOFF_S[-left])
    raise AssertionError("unreachable")


def _read_once(root: Path, path: str, limit_bytes: int, *, allow_outside: bool) -> bytes:
    given = os.fsencode(root)
    try:
        name = given + b"/" + path.encode()
        descriptor = os.open(name, _FLAGS)
    except ValueError as error:  # a NUL character, or a lone surrogate
        raise ItemError(f"not a possible path: {error}") from error
    try:
        if not allow_outside:
            _check_inside(given, descriptor, name)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ItemError(f"not a file but {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}")
        size = status.st_size
        if size == 0:
            raise ItemError("the file is empty")
        if size > limit_bytes:
            raise ItemError(f"{size} bytes is over the limit of {limit_bytes} bytes (transform.max_file_mb)")
        content = os.read(descriptor, size)
        return content if len(content) == size else _read_rest(descriptor, content, size)
    finally:
        os.close(descriptor)


def _read_rest(descriptor: int, content: bytes, size: int) -> bytes:
    """Go on after a short read: the kernel stops at 2 GiB, and at the new end of a file that shrank."""
    parts, done = [content], len(content)
    while part := os.read(descriptor, size - done):
        parts.append(part)
        done += len(part)
        if done == size:
            return b"".join(parts)
    raise ItemError(f"the file shrank while it was read: {done} of {size} bytes were left")


def _check_inside(root: bytes, descriptor: int, name: bytes) -> None:
    opened = _opened_path(descriptor, name)
    if _inside(opened, _resolve(root)):
        return
    _resolve.cache_clear()  # the root may have been mounted or linked anew since it was resolved
    if not _inside(opened, _resolve(root)):
        raise ItemError("leads outside its root (by a symbolic link or '..'); allow_outside = true permits it")


@lru_cache(maxsize=64)
def _resolve(root: bytes) -> bytes:
    return os.path.realpath(root)


def _opened_path(descriptor: int, name: bytes) -> bytes:
    """Return where an open file lies: asked of the kernel, so that nobody can swap a link after the check."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % descriptor)  # noqa: PTH115 - bytes
    except OSError:  # no /proc here: the name is the best there is
        return os.path.realpath(name)


def _inside(path: bytes, root: bytes) -> bool:
    return path == root or path.startswith(root.rstrip(b"/") + b"/")
