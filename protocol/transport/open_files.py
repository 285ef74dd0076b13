"""Turns the system's limit of open files into an error that says what to raise."""

import errno
import os
import resource
from collections.abc import Generator
from contextlib import contextmanager

from penstock.protocol.errors import StackError

#: Files that a context and one socket of ZeroMQ open: libzmq ends the whole process if some of them cannot be opened.
_NEEDED = 16


def check_room() -> None:
    """Raise StackError if this process cannot open the files that its first ZeroMQ socket takes."""
    opened: list[int] = []
    with limit_explained():
        try:
            opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(_NEEDED))
        finally:
            for descriptor in opened:
                os.close(descriptor)


@contextmanager
def limit_explained() -> Generator[None]:
    """Raise StackError in place of an OSError or ZMQError that says that too many files are open."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) not in (errno.EMFILE, errno.ENFILE):
            raise
        allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        hint = f"; its hard limit is {most}, which only root can raise" if allowed == most else ""
        raise StackError(
            f"too many open files: this process may open {allowed}, and each socket of Penstock takes several: allow "
            f"more by `ulimit -n 1024` in the shell that starts it{hint}"
        ) from error
