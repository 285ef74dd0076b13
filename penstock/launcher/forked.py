"""Services that a fork server starts, as processes: the supervisor's end of `fork_server.py`."""

import errno
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from penstock.launcher.fork_server import MOST_BYTES, is_readable
from penstock.launcher.service_command import is_service_command, service_of
from penstock.launcher.spare import Begun, give, take
from penstock.launcher.supervisor import Process, start_command

#: Modules that this process has imported for the kinds of sources and steps that its specs name.
_OF_SPECS = ("penstock.sources.", "penstock.worker.imaging.operations.")
#: Longest that the fork server may take to import a service and start it (s).
_START_S = 60.0
#: Longest that the status of an ended process may take to arrive (s).
_STATUS_S = 0.1
#: Seconds after a stack's start in which workers begin after its first batch.
_START_OF_STACK_S = 10.0
#: How often a process that is waited for is looked at (s), in addition to what the kernel tells.
_LOOK_S = 0.5


class FirstBatch:
    """Tells workers that a stack has more of than cores when to begin: once its first batch is there, or a while later.

    All that start and decode at once share the cores, and the first batch, which is the work of a few, takes the longer
    the more there are. So the others are forked, and wait: `fork_server.py` has their side. Those that start long after
    the stack do not: its trainers may be elsewhere, and their batches are not seen here.
    """

    def __init__(self) -> None:
        """Begin before the first batch. Raises OSError if there are too many files."""
        self._until = time.monotonic() + _START_OF_STACK_S
        self._waited_for, self._told = os.pipe()
        os.set_blocking(self._told, False)
        self._came = False
        for each in (self._waited_for, self._told):
            weakref.finalize(self, os.close, each).atexit = False

    def descriptor(self) -> int | None:
        """Return what becomes readable at the first batch; None if that came, or the stack has run for a while."""
        return None if self._came or time.monotonic() > self._until else self._waited_for

    def came(self) -> None:
        """Let all begin that wait. It takes no lock, so that a training program never waits for it."""
        if not self._came:
            self._came = True
            os.write(self._told, b".")


class ForkServer:
    """Takes a fork server when the first service is wanted, and another if it has ended; gives it back in the end."""

    def __init__(self) -> None:
        """Start nothing yet."""
        #: The collector may stop a supervisor on any thread, its own included.
        self._lock = threading.RLock()
        self._server: _Server | None = None

    def start(
        self,
        command: Sequence[str],
        output: IO[bytes] | None,
        environment: Mapping[str, str],
        after: FirstBatch | None = None,
    ) -> Process:
        """Start a service by its `service_command`, as `start_command` would; give that all else. Raises OSError.

        The process is there at once. It begins `after` the first batch, if that is given.
        """
        if not is_service_command(command):
            return start_command(command, output, environment)
        with self._lock:
            if self._server is None or self._server.ended:
                self._server = _Server(take(environment))
            try:
                return self._server.fork(command, output, environment, after)
            except ConnectionError:  # it was killed, or left because it was idle
                self._server = _Server(take(environment))
                return self._server.fork(command, output, environment, after)

    def close(self) -> None:
        """Give the fork server back if its processes have ended; else end it."""
        with self._lock:
            if self._server:
                self._server.give_back()
                self._server = None


class ForkedProcess:
    """A process of a fork server. Its methods are those of `subprocess.Popen`."""

    def __init__(self, server: "_Server", number: int, pid: int, descriptor: int) -> None:
        """Take over `descriptor`, which the kernel gave for the process."""
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._number, self._descriptor = server, number, descriptor

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Close the descriptor; `close` is a default, since at the interpreter's end this module may have no `os`."""
        close(self._descriptor)

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
        return is_readable(self._descriptor, seconds)


class _Server:
    """One running fork server, and what it has said."""

    def __init__(self, begun: Begun) -> None:
        self._begun, self._pid = begun, os.getpid()
        self._lock = threading.RLock()
        #: What became of each request that waits: a process and its descriptor, or why there is none.
        self._answers: dict[int, tuple[int, int] | OSError] = {}
        #: The requests whose processes have not ended, as far as is known.
        self._running: set[int] = set()
        self._statuses: dict[int, int] = {}
        #: Whether it is gone, or another's.
        self.ended = False

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Close the descriptors; not in `close`, which the collector may call while this thread waits for an answer."""
        for answer in self._answers.values():
            if not isinstance(answer, OSError):
                close(answer[1])

    def fork(
        self,
        command: Sequence[str],
        output: IO[bytes] | None,
        environment: Mapping[str, str],
        after: FirstBatch | None,
    ) -> ForkedProcess:
        """Start a service, which may have to begin `after` the first batch.

        Raises ConnectionError if the fork server has ended, and OSError.
        """
        service, arguments = service_of(command)
        began = self._begun.environment
        changed = {name: value for name, value in environment.items() if began.get(name) != value}
        gone = {name: None for name in began if name not in environment}
        descriptors = _working_folder() | ({"log": output.fileno()} if output else {})
        if after and (descriptor := after.descriptor()) is not None:
            descriptors["first_batch"] = descriptor
        request: dict[str, Any] = {"service": service, "arguments": arguments, "environment": changed | gone}
        request["modules"] = [name for name in list(sys.modules) if name.startswith(_OF_SPECS)]
        try:
            with self._lock:
                self._begun.asked += 1
                number = self._begun.asked
                request |= {"id": number, "descriptors": list(descriptors)}
                socket.send_fds(self._begun.socket, [json.dumps(request).encode()], [*descriptors.values()])
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
            self._end()  # no process may start later, of which nothing is known
            raise OSError(f"the process that starts services has not answered in {_START_S} s")
        return ForkedProcess(self, number, *answer)

    def status(self, number: int) -> int | None:
        """Return the exit status of an ended process; None if it is not here yet."""
        with self._lock:
            self._receive_until(lambda: number in self._statuses, _STATUS_S)
            # A fork server that was killed tells no process how its children ended, or lets them end by themselves.
            return self._statuses.get(number, -signal.SIGKILL if self.ended else None)

    def give_back(self) -> None:
        """Keep it for the next stack if all its processes have ended, else end it; nothing in a forked process."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._receive_until(lambda: not self._running, _STATUS_S)
            if self.ended:
                return
            if self._running:
                self._end()
                return
            self.ended = True  # for us
            give(self._begun)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._begun.end()

    def _receive_until(self, condition: Callable[[], bool], seconds: float) -> None:
        if self._pid != os.getpid():  # a fork of the program must not take what its parent waits for
            return
        deadline = time.monotonic() + seconds
        while not condition() and not self.ended and (left := deadline - time.monotonic()) > 0:
            if is_readable(self._begun.socket.fileno(), left):
                self._receive()

    def _receive(self) -> None:
        message, descriptors = b"", list[int]()
        with suppress(ConnectionError):
            message, descriptors, _, _ = socket.recv_fds(self._begun.socket, MOST_BYTES, 1)
        if not message:
            self._end()
            return
        for each in descriptors:
            os.set_inheritable(each, False)  # noqa: FBT003 - its only form
        reply = json.loads(message)
        number = reply["id"]
        if "status" in reply:
            self._statuses[number] = reply["status"]
            self._running.discard(number)
        elif "error" in reply:
            self._answers[number] = OSError(f"the process that starts services cannot start one: {reply['error']}")
        elif descriptors:
            self._answers[number] = (reply["pid"], descriptors[0])
            self._running.add(number)
        else:  # the kernel drops a descriptor that finds no room here
            with suppress(ProcessLookupError):
                os.kill(reply["pid"], signal.SIGKILL)
            self._running.add(number)
            self._answers[number] = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _working_folder() -> dict[str, int]:
    try:
        return {"folder": os.open(".", os.O_PATH)}
    except PermissionError:  # it may not be entered; the fork server began in it
        return {}
