"""The process that starts a stack's services: it imports what they need once, then forks itself for each of them.

Importing takes a service about a second of processor time, forking a few milliseconds; a worker that is added or
started again is there at once, and the services share the memory of what was imported. This process has one thread and
opens no socket but the one to the supervisor, so that a fork copies nothing that is in use. `forked.py` is the
supervisor's end.

Requests and replies are JSON messages over a Unix socket, which is standard input. A request is `{"id", "service",
"arguments", "environment", "descriptors"}` with descriptors of the `folder` and the `log`, each where there is one. The
replies are `{"id", "pid"}` with a descriptor of the process, or `{"id", "error"}`; and `{"id", "status"}` when it has
ended.
"""

import errno
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from setproctitle import setproctitle, setthreadtitle

from penstock.protocol.runtime.streams import open_standard_streams

#: Size (bytes) of the longest request.
MOST_BYTES = 1 << 20
#: How often to look whether the supervisor's process is gone (s): a fork of it may keep the socket open.
_LOOK_S = 0.5
#: Signals that are for services and the program, and may be sent to all processes, as by systemd and Slurm: this one
#: leaves when the program does, so that services can drain.
_NOT_OURS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Server:
    """The loop that forks; it returns in each child, once, with what the child has to run."""

    control: socket.socket
    #: The supervisor's process.
    parent: int
    #: This process.
    process: int = field(default_factory=os.getpid)
    #: The running children: the request and the process, by the descriptor of the process.
    children: dict[int, tuple[int, int]] = field(default_factory=dict)

    def serve(self) -> str | None:
        """Start what is asked for. Returns the name of a service in its new process; None when all is over."""
        with suppress(ConnectionError):  # the supervisor's process is gone
            while os.getppid() == self.parent:
                poll = select.poll()
                for descriptor in (self.control.fileno(), *self.children):
                    poll.register(descriptor, select.POLLIN)
                for descriptor, _ in poll.poll(_LOOK_S * 1000):
                    if descriptor != self.control.fileno():
                        self._reap(descriptor)
                        continue
                    message, descriptors, _, _ = socket.recv_fds(self.control, MOST_BYTES, 2)
                    if not message:
                        return None
                    request = json.loads(message)
                    if self._start(request, descriptors):
                        _become(request, dict(zip(request["descriptors"], descriptors, strict=True)), self.process)
                        return str(request["service"])
        return None

    def _start(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> bool:
        """Start a service and answer; return whether this is its process."""
        reply, opened = {"id": request["id"]}, []
        with suppress(Exception):  # the service imports it again, and fails with the reason in its own log
            importlib.import_module(_module(request["service"]))
        gc.freeze()  # a collection would write to every object, and copy the memory that is shared
        try:
            if len(descriptors) < len(request["descriptors"]):  # the kernel drops those that find no room
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # noqa: TRY301 - as `fork` below
            if (pid := os.fork()) == 0:
                for each in self.children:
                    os.close(each)
                self.control.close()
                return True
            opened = [_descriptor(pid)]
            self.children[opened[0]] = (request["id"], pid)
            reply["pid"] = pid
        except OSError as error:
            reply["error"] = str(error)
        for each in descriptors:
            os.close(each)
        socket.send_fds(self.control, [json.dumps(reply).encode()], opened)
        return False

    def _reap(self, descriptor: int) -> None:
        number, pid = self.children.pop(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(descriptor)
        self.control.send(json.dumps({"id": number, "status": status}).encode())


def main() -> int:
    """Serve until the supervisor closes the socket; in a child, run the service."""
    open_standard_streams()
    signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_OURS)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where the program ignores it, no child would leave its status
    control = socket.socket(fileno=os.dup(0))
    _replace(0, os.open(os.devnull, os.O_RDONLY))
    service = Server(control, int(sys.argv[1])).serve()
    return int(importlib.import_module(_module(service)).main()) if service else 0


def _descriptor(pid: int) -> int:
    """Return a descriptor of a child. Raises OSError, and ends the child, if there are too many files."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _become(request: Mapping[str, Any], descriptors: Mapping[str, int], server: int) -> None:
    """Take on what a process started by a command has of its own."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_OURS)
    os.setsid()  # a terminal's Ctrl-C is for the supervisor's process, which stops the others in order
    if "log" in descriptors:
        os.dup2(descriptors["log"], 1)
        _replace(2, descriptors["log"])
    if "folder" in descriptors:
        os.fchdir(descriptors["folder"])
        os.close(descriptors["folder"])
    for name, value in request["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.environ["PENSTOCK_PARENT"] = str(server)
    np.random.seed()  # noqa: NPY002 - a user's transform may draw from it: not the same numbers in every worker
    sys.argv = [f"penstock.{request['service']}", *request["arguments"]]
    setproctitle(" ".join([sys.executable, "-P", "-m", *sys.argv]))
    setthreadtitle(request["service"])


def _replace(descriptor: int, by: int) -> None:
    os.dup2(by, descriptor)
    os.close(by)


def _module(service: str) -> str:
    return f"penstock.{service}.service"


if __name__ == "__main__":
    sys.exit(main())
