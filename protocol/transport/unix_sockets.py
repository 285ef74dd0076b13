"""Files of Unix sockets: which process serves one, and when a file may be removed.

ZeroMQ binds to a path even if another process serves there, or if the file is no socket; and killed processes leave
their files behind. So a service checks a path here before it binds, and removes its file after it has closed.
"""

import socket
import stat
from contextlib import suppress
from pathlib import Path

from penstock.protocol.errors import SpecError

#: Longest path (bytes) of a Unix socket on Linux, its terminating zero included.
PATH_BYTES = 108
#: Seconds that a process behind a socket has to be connected to before it counts as there but busy.
_PROBE_S = 1.0


def check_free(path: str) -> None:
    """Raise SpecError if `path` is served by a process, or is something else than a socket."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise SpecError(f"cannot bind to {path!r}: that is a file, and no socket; give another path")
        _reach(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return  # no process serves there; a killed one may have left the file
    except TimeoutError:
        pass  # its queue of connections is full: a process serves it
    except OSError as error:
        raise SpecError(f"cannot bind to {path!r}: {error.strerror or error}; give another path") from error
    raise SpecError(f"cannot bind to {path!r}: another process serves there; stop it, or give a path that is free")


def is_deserted(address: str) -> bool:
    """Return whether an address `ipc://PATH` surely leads nowhere: no such file, or no process listens there."""
    if not address.startswith("ipc:///"):
        return False
    try:
        _reach(address.removeprefix("ipc://"))
    except (FileNotFoundError, ConnectionRefusedError):
        return True
    except OSError:
        pass  # too long a path, no right to connect, a full queue: the asker will say what is wrong
    return False


def _reach(path: str) -> None:
    """Connect to a process that serves `path`, and hang up. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        probe.connect(path)


def discard(path: str) -> None:
    """Remove the file that a killed process left of a socket; one that is served is left alone."""
    with suppress(SpecError):
        check_free(path)
        Path(path).unlink(missing_ok=True)
