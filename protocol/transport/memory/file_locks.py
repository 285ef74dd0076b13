"""Locks of whole files that belong to an open file description (fcntl(2)), and so to all processes that share it."""

import fcntl
import os
import struct
from functools import cache

#: `struct flock` of 64-bit Linux.
READ, WRITE, NONE = (
    struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0) for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK)
)


def lock(descriptor: int, kind: bytes) -> bool:
    """Take a lock, or give it up; return false if another description has one that excludes it."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, kind)
    except OSError:
        return False
    return True


def is_free(descriptor: int) -> bool:
    """Return whether no other description has a lock on the file."""
    (kind,) = struct.unpack_from("h", fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, WRITE))
    return bool(kind == fcntl.F_UNLCK)


@cache
def have_locks() -> bool:
    """Return whether the kernel has such locks for files in memory: those that run containers in a sandbox may not."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        return False
    descriptor = os.memfd_create("penstock", os.MFD_CLOEXEC)
    try:
        return is_free(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
