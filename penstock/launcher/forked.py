"""Services that a fork server starts, as processes: the supervisor's end of `fork_server.py`."""

import errno
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from penstock.launcher.fork_server import MOST_BYTES
from penstock.launcher.service_command import is_service_command, service_of
from penstock.launcher.supervisor import Process, start_command

#: Longest that the fork server may take to import a service and start it (s).
_START_S = 60.0
#: Longest that the status of an ended process may take to arrive (s).
_STATUS_S = 0.1
#: Longest that the fork server may take to leave (s).
_LEAVE_S = 1.0
#: How often a process that is waited for is looked at (s), in addition to what the kernel tells.
_LOOK_S = 0.5


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


class ForkServer:
    """Starts the fork server when the first service is wanted, and again if it has ended."""

    def __init__(self) -> None:
        """Start nothing yet."""
        #: The collector may stop a supervisor on any thread, its own included.
        self._lock = threading.RLock()
        self._server: _Server | None = None

    def start(self, command: Sequence[str], output: IO[bytes] | None, environment: Mapping[str, str]) -> Process:
        """Start a service by its `service_command`, as `start_command` would; give that all else. Raises OSError."""
        if not is_service_command(command):
            return start_command(command, output, environment)
        with self._lock:
            if self._server is None or self._server.ended:
                self._server = _Server(environment)
            try:
                return self._server.fork(command, output, environment)
            except ConnectionError:  # it was killed
                self._server = _Server(environment)
                return self._server.fork(command, output, environment)

    def close(self) -> None:
        """End the fork server; its processes should have ended."""
        with self._lock:
            if self._server:
                self._server.close()
                self._server = None


class ForkedProcess:
    """A process of a fork server. Its methods are those of `subprocess.Popen`."""

    def __init__(self, server: "_Server", number: int, pid: int, descriptor: int) -> None:
        """Take over `descriptor`, which the kernel gave for the process."""
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._number, self._descriptor = server, number, descriptor

    def __del__(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        if self.returncode is None and self._has_ended(0):
            self.returncode = self._server.status(self._number)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the process has ended. Raises subprocess.TimeoutExpired."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if (left := deadline - time.monotonic()) < 0:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self._has_ended(min(left, _LOOK_S))
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _has_ended(self, seconds: float) -> bool:
        return _is_readable(self._descriptor, seconds)


class _Server:
    """One running fork server, and what it has said."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._environment, self._pid = dict(environment), os.getpid()
        self._lock = threading.RLock()
        self._asked = 0
        #: What became of each request that waits: a process and its descriptor, or why there is none.
        self._answers: dict[int, tuple[int, int] | OSError] = {}
        self._statuses: dict[int, int] = {}
        #: Whether it is gone.
        self.ended = False
        with theirs:
            command = [sys.executable, "-P", "-m", "penstock.launcher.fork_server", str(os.getpid())]
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), env=self._environment, start_new_session=True
            )

    def __del__(self) -> None:
        """Close the descriptors; not in `close`, which the collector may call while this thread waits for an answer."""
        self._socket.close()
        for answer in self._answers.values():
            if not isinstance(answer, OSError):
                os.close(answer[1])

    def fork(self, command: Sequence[str], output: IO[bytes] | None, environment: Mapping[str, str]) -> ForkedProcess:
        """Start a service. Raises ConnectionError if the fork server has ended, and OSError."""
        service, arguments = service_of(command)
        changed = {name: value for name, value in environment.items() if self._environment.get(name) != value}
        gone = {name: None for name in self._environment if name not in environment}
        descriptors = _working_folder() | ({"log": output.fileno()} if output else {})
        request: dict[str, Any] = {"service": service, "arguments": arguments, "environment": changed | gone}
        try:
            with self._lock:
                self._asked += 1
                number = self._asked
                request |= {"id": number, "descriptors": list(descriptors)}
                socket.send_fds(self._socket, [json.dumps(request).encode()], [*descriptors.values()])
                self._receive_until(lambda: number in self._answers, _START_S)
                answer = self._answers.pop(number, None)
        finally:
            if "folder" in descriptors:
                os.close(descriptors["folder"])
        if isinstance(answer, OSError):
            raise answer
        if answer is None and self.ended:
            raise ConnectionResetError("the process that starts services has ended")
        if answer is None:
            self.close()  # no process may start later, of which nothing is known
            raise OSError(f"the process that starts services has not answered in {_START_S} s")
        return ForkedProcess(self, number, *answer)

    def status(self, number: int) -> int | None:
        """Return the exit status of an ended process; None if it is not here yet."""
        with self._lock:
            self._receive_until(lambda: number in self._statuses, _STATUS_S)
            # A fork server that was killed tells no process how its children ended, or lets them end by themselves.
            return self._statuses.get(number, -signal.SIGKILL if self.ended else None)

    def close(self) -> None:
        """End it; does nothing in a forked process."""
        if self._pid != os.getpid():
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._wait()

    def _wait(self) -> None:
        if self.ended:
            return
        self.ended = True
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive_until(self, condition: Callable[[], bool], seconds: float) -> None:
        if self._pid != os.getpid():  # a fork of the program must not take what its parent waits for
            return
        deadline = time.monotonic() + seconds
        while not condition() and not self.ended and (left := deadline - time.monotonic()) > 0:
            if _is_readable(self._socket.fileno(), left):
                self._receive()

    def _receive(self) -> None:
        message, descriptors = b"", list[int]()
        with suppress(ConnectionError):
            message, descriptors, _, _ = socket.recv_fds(self._socket, MOST_BYTES, 1)
        if not message:
            self._wait()
            return
        for each in descriptors:
            os.set_inheritable(each, False)  # noqa: FBT003 - its only form
        reply = json.loads(message)
        number = reply["id"]
        if "status" in reply:
            self._statuses[number] = reply["status"]
        elif "error" in reply:
            self._answers[number] = OSError(f"the process that starts services cannot start one: {reply['error']}")
        elif descriptors:
            self._answers[number] = (reply["pid"], descriptors[0])
        else:  # the kernel drops a descriptor that finds no room here
            with suppress(ProcessLookupError):
                os.kill(reply["pid"], signal.SIGKILL)
            self._answers[number] = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _working_folder() -> dict[str, int]:
    try:
        return {"folder": os.open(".", os.O_PATH)}
    except PermissionError:  # it may not be entered; the fork server began in it
        return {}


def _is_readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
