"""The process that starts services, begun before a stack is ready to use it, and kept for the program's next stack.

It spends its first half second on imports (`fork_server.py`), in which the program reads its spec. A program that
starts one stack after another, as a notebook or a test suite, pays for that once. There is at most one such idle
process; it leaves with the program, or when it was not wanted for a minute.

This module imports only what every program has imported anyway: it is called first.
"""

import atexit
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Generator, Hashable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

#: What of /proc/thread-self/status a process inherits from the one that starts it.
_STATUS = (
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "SigBlk",
    "SigIgn",
    "Cap",
    "NoNewPrivs",
    "Seccomp",
    "Cpus_allowed",
    "Mems_allowed",
)
#: What services need to know, and none of what they inherit.
_OF_SERVICES = "PENSTOCK_"
#: Else pydantic reads the metadata of every installed package, in search of plugins for our models.
_UNLESS_GIVEN = {"PYDANTIC_DISABLE_PLUGINS": "1"}
#: Longest that it may take to leave (s).
_LEAVE_S = 1.0


def can_fork() -> bool:
    """Return whether services can be forked here: on Linux, where the kernel gives descriptors of processes."""
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        return False
    try:
        descriptor = os.pidfd_open(os.getpid())
    except OSError:  # forbidden in some sandboxes
        return False
    try:
        signal.pidfd_send_signal(descriptor, 0)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def service_environment() -> dict[str, str]:
    """Return the environment of services: this process's, less what is about its own settings."""
    # One thread each: cores are shared out by the number of workers, not by libraries within them.
    environment = _UNLESS_GIVEN | os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PENSTOCK_CONFIG", None)
    return environment


class Begun:
    """A running fork server, and this end of the socket to it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start the process. Raises OSError."""
        self.environment = dict(environment)
        #: All that it inherits.
        self.inherited = _inherited(environment)
        #: Requests that were made so far.
        self.asked = 0
        #: The process that began it.
        self.owner = os.getpid()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Once this is gone, the process leaves. Not by `__del__`: the collector may end the socket before this.
        weakref.finalize(self, self.socket.close)
        with theirs:
            # -P: the working folder is not on the path of imports; it may hold a random.py.
            command = [sys.executable, "-P", "-m", "penstock.launcher.fork_server", str(os.getpid())]
            self.process = subprocess.Popen(
                command, stdin=theirs.fileno(), env=self.environment, start_new_session=True
            )

    def end(self) -> None:
        """End it, and wait until it is gone."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


#: The collector may stop a stack on any thread, one that holds this included.
_lock = threading.RLock()
#: The idle one, if there is one.
_spare: list[Begun] = []


def prepare() -> None:
    """Begin a fork server, unless there is one to spare: a stack is about to be started."""
    with _lock:
        if can_fork() and not _usable(_inherited(service_environment())):
            with suppress(OSError):  # `take` raises it
                give(Begun(service_environment()))


@contextmanager
def prepared(*, called: bool = True) -> Generator[None]:
    """Do as `prepare`, and keep the cycle collector from running while the caller imports the rest.

    Imports leave hardly any garbage, and each run looks at everything that the program has, such as all of PyTorch.
    With `called` false, nothing asks for a stack yet, but a module is imported that is only good for that. Processes
    that import the program's modules to work for it then begin none.
    """
    if called or not _is_helper():
        prepare()
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _is_helper() -> bool:
    """Return whether this process is one of `multiprocessing`, or a worker, which imports datasets of the program."""
    processes = sys.modules.get("multiprocessing.process")
    return "penstock.worker.service" in sys.modules or bool(processes and processes.parent_process())


def take(environment: Mapping[str, str]) -> Begun:
    """Return the fork server to spare if a new one would be like it, else a new one. Raises OSError."""
    with _lock:
        if _usable(_inherited(environment)):
            return _spare.pop()
    return Begun(environment)


def give(begun: Begun) -> None:
    """Keep a fork server without children for the next stack, in place of the one to spare."""
    with _lock:
        end()
        _spare.append(begun)


@atexit.register
def end() -> None:
    """End the one to spare, at once: it has nothing to save. A forked process leaves its parent's alone."""
    with _lock:
        while _spare:
            begun = _spare.pop()
            if begun.owner == os.getpid():
                begun.process.kill()
                begun.process.wait()


def _usable(inherited: Hashable) -> bool:
    """Return whether the one to spare would serve; one that would not is ended."""
    if _spare and (_spare[0].inherited != inherited or _spare[0].process.poll() is not None):
        end()
    return bool(_spare) and _spare[0].owner == os.getpid()


def _inherited(environment: Mapping[str, str]) -> Hashable:
    """Return all that a process which is begun now inherits and services would show, the working folder excepted.

    Each request brings the folder and what changed in the environment; but much of that is read at imports only.
    """
    variables = tuple(sorted(pair for pair in environment.items() if not pair[0].startswith(_OF_SERVICES)))
    status, limits, groups = (_lines(f"/proc/{name}") for name in ("thread-self/status", "self/limits", "self/cgroup"))
    kept = tuple(line for line in status if line.startswith(_STATUS))
    priority = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)) if status else ()
    return variables, kept, limits, groups, priority, _stream(1), _stream(2), sys.executable


def _lines(path: str) -> tuple[str, ...]:
    try:
        return tuple(Path(path).read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:  # not Linux, or hidden
        return ()


def _stream(number: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino
