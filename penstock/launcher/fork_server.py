"""The process that starts a stack's services: it imports what they need once, then forks itself for each of them.

Importing takes a service about a second of processor time, forking a few milliseconds; a worker that is added or
started again is there at once, and the services share the memory of what was imported. This process has one thread and
opens no socket but the one to the supervisor, so that a fork copies nothing that is in use. `forked.py` is the
supervisor's end.

Requests and replies are JSON messages over a Unix socket, which is standard input. A request is `{"id", "service",
"arguments", "environment"}` with descriptors of the working folder and, where there is one, of the log. The replies are
`{"id", "pid"}` with a descriptor of the process, and `{"id", "status"}` when it has ended.
"""

import gc
import importlib
import json
import os
import select
import socket
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from setproctitle import setproctitle, setthreadtitle

#: Size (bytes) of the longest request.
MOST_BYTES = 1 << 20
#: How often to look whether the supervisor's process is gone (s): a fork of it may keep the socket open.
_LOOK_S = 0.5


@dataclass(slots=True)
class Server:
    """The loop that forks; it returns in each child, once, with what the child has to run."""

    control: socket.socket
    parent: int = field(default_factory=os.getppid)
    #: The running children: the request and the process, by the descriptor of the process.
    children: dict[int, tuple[int, int]] = field(default_factory=dict)

    def serve(self) -> str | None:
        """Start what is asked for. Returns the name of a service in its new process; None when all is over."""
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
                importlib.import_module(_module(request["service"]))
                if self._fork(request["id"]):
                    _become(request, *descriptors)
                    return str(request["service"])
                for each in descriptors:
                    os.close(each)
        return None

    def _fork(self, number: int) -> bool:
        """Return whether this is the child."""
        gc.freeze()  # a collection would write to every object, and copy the memory that is shared
        if (pid := os.fork()) == 0:
            for descriptor in self.children:
                os.close(descriptor)
            self.control.close()
            return True
        descriptor = os.pidfd_open(pid)
        self.children[descriptor] = (number, pid)
        socket.send_fds(self.control, [json.dumps({"id": number, "pid": pid}).encode()], [descriptor])
        return False

    def _reap(self, descriptor: int) -> None:
        number, pid = self.children.pop(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(descriptor)
        self.control.send(json.dumps({"id": number, "status": status}).encode())


def main() -> int:
    """Serve until the supervisor closes the socket; in a child, run the service."""
    control = socket.socket(fileno=os.dup(0))
    _replace(0, os.open(os.devnull, os.O_RDONLY))
    service = Server(control).serve()
    return int(importlib.import_module(_module(service)).main()) if service else 0


def _become(request: dict[str, Any], folder: int, log: int | None = None) -> None:
    """Take on what a process started by a command has of its own."""
    os.setsid()  # a terminal's Ctrl-C is for the supervisor's process, which stops the others in order
    os.fchdir(folder)
    os.close(folder)
    if log is not None:
        os.dup2(log, 1)
        _replace(2, log)
    for name, value in request["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.environ["PENSTOCK_PARENT"] = str(os.getppid())
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
