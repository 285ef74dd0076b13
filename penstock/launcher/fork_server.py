"""The process that starts a stack's services: it imports what they need once, then forks itself for each of them.

Importing takes a service half a second of processor time, forking a few milliseconds; a worker that is added or
started again is there at once, and the services share the memory of what was imported. This process has one thread and
opens no socket but the one to the supervisor, so that a fork copies nothing that is in use. `forked.py` is the
supervisor's end, and `spare.py` begins it.

A stack's first batch waits for these imports, so they are kept short, and other work is done at the same time: first
come those that all services share; then ventilator and sink may be forked, each of which imports its own part, on
another core; meanwhile this process imports what workers need. Then it imports the others' parts too, for the next
stack, or for the first if that comes later.

Requests and replies are JSON messages over a Unix socket, which is standard input. A request is `{"id", "service",
"arguments", "environment", "modules", "descriptors"}` with descriptors of the `folder`, the `log` and the `first_batch`
(then the service waits for that), each where there is one; `modules` are those that the spec needs, to be imported once
instead of by each service. The replies are `{"id", "pid"}` with a descriptor of the process, or `{"id", "error"}`; and
`{"id", "status"}` when it has ended.
"""

import errno
import gc
import importlib
import json
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from penstock.protocol.runtime import help_texts
from penstock.protocol.runtime.streams import open_standard_streams

#: Size (bytes) of the longest request.
MOST_BYTES = 1 << 20
#: How often to look whether the supervisor's process is gone (s): a fork of it may keep the socket open.
_LOOK_S = 0.5
#: How long it stays although it has no children and is not wanted (s).
_KEPT_S = 60.0
#: What all services import.
_SHARED = ("penstock.protocol.runtime.service", "penstock.protocol.wire", "setproctitle")
#: What workers import in addition, in steps between which another service may be forked.
_OF_WORKERS = (
    "cv2",
    "PIL.Image",
    "penstock.sources.image_formats",
    "penstock.worker.imaging.decode",
    "penstock.worker.imaging.pipeline",
    "penstock.worker.service",
)
#: What the others import, which do not wait for it.
_OF_OTHERS = ("penstock.ventilator.service", "penstock.sink.service")
#: The settings of each service, whose parsers are made before they are forked.
_SETTINGS = {
    "penstock.worker.service": ("worker", "WorkerSettings"),
    "penstock.ventilator.service": ("ventilator", "VentilatorSettings"),
    "penstock.sink.service": ("sink", "SinkSettings"),
}
#: How long it waits after a request before it goes on with imports (s): a stack's requests follow each other; and what
#: only a next stack needs would take time from the first batch of this one.
_NEXT_S, _LATER_S = 0.02, 2.0
#: Longest that a service waits for the first batch (s): trainers may be elsewhere, or come later.
FIRST_BATCH_S = 2.0
#: Most descriptors of a request.
_MOST_DESCRIPTORS = 3
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
    #: What is still to be imported.
    ahead: list[str] = field(default_factory=lambda: [*_OF_WORKERS, *_OF_OTHERS])
    #: When it was wanted last, and when something was asked of it last (monotonic s).
    wanted: float = field(default_factory=time.monotonic)
    asked: float = -math.inf

    def serve(self) -> str | None:
        """Start what is asked for. Returns the name of a service in its new process; None when all is over."""
        with suppress(ConnectionError):  # the supervisor's process is gone
            while os.getppid() == self.parent and (self.children or time.monotonic() < self.wanted + _KEPT_S):
                for descriptor in self._wait():
                    self.wanted = time.monotonic()
                    if descriptor != self.control.fileno():
                        self._reap(descriptor)
                        continue
                    message, descriptors, _, _ = socket.recv_fds(self.control, MOST_BYTES, _MOST_DESCRIPTORS)
                    if not message:
                        return None
                    request = json.loads(message)
                    if self._start(request, descriptors):
                        _become(request, dict(zip(request["descriptors"], descriptors, strict=True)), self.process)
                        return str(request["service"])
        return None

    def _wait(self) -> list[int]:
        """Return the descriptors that have something to say; imports what is ahead while none has."""
        poll = select.poll()
        for descriptor in (self.control.fileno(), *self.children):
            poll.register(descriptor, select.POLLIN)
        left = self._import_in()
        found = poll.poll(min(left, _LOOK_S) * 1000)
        if not found and left <= _LOOK_S:
            _import(self.ahead.pop(0))
        return [descriptor for descriptor, _ in found]

    def _import_in(self) -> float:
        """Return the seconds until the next import."""
        if not self.ahead:
            return math.inf
        pause = _NEXT_S if self.ahead[0] in _OF_WORKERS else _LATER_S
        return max(0.0, self.asked + pause - time.monotonic())

    def _start(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> bool:
        """Start a service and answer; return whether this is its process."""
        reply, opened = {"id": request["id"]}, []
        for module in request["modules"]:
            _import(module)
        while request["service"] == "worker" and self.ahead[:1] and self.ahead[0] in _OF_WORKERS:
            _import(self.ahead.pop(0))
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
        self.asked = time.monotonic()
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
    _import_shared()
    service = Server(control, int(sys.argv[1])).serve()
    return _run(service) if service else 0


def _import_shared() -> None:
    """Import what all services share, and spend no time on what they do without."""
    gc.disable()  # what is imported stays
    help_texts.wanted = False
    for module in _SHARED:
        _import(module)


def _run(service: str) -> int:
    """Run a service in its own process; what it imports only now is its alone."""
    main = importlib.import_module(f"penstock.{service}.service").main
    gc.enable()
    return int(main())


def _import(module: str) -> None:
    with suppress(Exception):  # the service imports it again, and fails with the reason in its own log
        imported = importlib.import_module(module)
        if module in _SETTINGS:
            service, model = _SETTINGS[module]
            importlib.import_module("penstock.protocol.runtime.settings").prepare(getattr(imported, model), service)


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
    _draw_anew()
    sys.argv = [f"penstock.{request['service']}", *request["arguments"]]
    titles = importlib.import_module("setproctitle")
    titles.setproctitle(" ".join([sys.executable, "-P", "-m", *sys.argv]))
    titles.setthreadtitle(request["service"])
    if "first_batch" in descriptors:
        is_readable(descriptors["first_batch"], FIRST_BATCH_S)
        os.close(descriptors["first_batch"])


def is_readable(descriptor: int, seconds: float) -> bool:
    """Wait until a descriptor is readable, or its other end closed, for so long; return whether it is."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _draw_anew() -> None:
    """Let what a user's transform may draw from give other numbers in every worker."""
    import numpy as np  # noqa: PLC0415 - after the collector was stopped

    np.random.seed()  # noqa: NPY002 - see above


def _replace(descriptor: int, by: int) -> None:
    os.dup2(by, descriptor)
    os.close(by)


if __name__ == "__main__":
    sys.exit(main())
