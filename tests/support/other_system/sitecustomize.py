"""Takes from Python what only Linux has, in each process with this folder on PYTHONPATH: macOS, as far as we can.

Anonymous memory, event and process descriptors, files that are found without being opened, scheduling classes, affinity
and hints about files are gone; `/proc` holds no descriptors, no kernel settings and no namespaces.
"""

import fcntl
import os
import re
import resource
import select
import socket
import sys

_LINUX = (
    r"memfd_|MFD_|eventfd|EFD_|pidfd_|sched_|SCHED_|posix_fadvise|POSIX_FADV|O_PATH|O_TMPFILE|pipe2|F_SEAL_"
    r"|F_ADD_SEALS|epoll|EPOLL|TCP_INFO|TCP_USER_TIMEOUT"
)
_HIDDEN = re.compile(r"/proc/(sys|\w+/(fd|ns))(/|$)")

for module in (os, fcntl, select, socket):
    for name in [name for name in dir(module) if re.match(_LINUX, name)]:
        delattr(module, name)

_readlink, _setrlimit = os.readlink, resource.setrlimit


def _hide(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _HIDDEN.match(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""):
        raise FileNotFoundError(arguments[0])


def _readlink_elsewhere(path: str, **options: int) -> str:
    if _HIDDEN.match(os.fsdecode(path)):
        raise FileNotFoundError(path)
    return _readlink(path, **options)


def _limit(which: int, limits: tuple[int, int]) -> None:
    if which == resource.RLIMIT_NOFILE and limits[0] > 10_240:
        raise ValueError("current limit exceeds maximum limit")
    _setrlimit(which, limits)


sys.addaudithook(_hide)
os.readlink, resource.setrlimit = _readlink_elsewhere, _limit  # type: ignore[assignment]
