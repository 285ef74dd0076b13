"""Restarts processes that die, gives up with the end of their log if they cannot run, stops them within a deadline.

Works for any command; `stack.py` supplies those of a stack.
"""

import os
import select
import signal
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from penstock.launcher.logs import limit_log
from penstock.launcher.spare import service_environment
from penstock.protocol.errors import DeadlineError, StackError
from penstock.protocol.transport.own_files import open_own

#: Exit status of a service that has explained why it cannot run: a restart would not help.
_REFUSED = 2
#: A process that dies this many times within `_WITHIN_S` seconds is not started again.
_DEATHS, _WITHIN_S = 20, 60.0
#: First and longest pause (s) before a dead process is started again; it doubles with every recent death.
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
#: How often processes are checked (s): while one waits for its restart, and if the kernel reports each end.
_LOOK_S, _LONG_LOOK_S = 0.02, 0.5
#: How often a sign is looked for (s) that what is waited for is there.
_SHORT_LOOK_S = 0.002
#: How much of the end of a log (bytes) is read for a process's last message.
_LAST_BYTES = 8192
#: Seconds for the first to stop on SIGTERM, then for the others, before SIGKILL.
_DRAIN_S, _STOP_S = 2.0, 1.0
#: Longest wait (s) for a process to be gone after SIGKILL.
_KILLED_S = 5.0


class Process(Protocol):
    """A running process, as `subprocess.Popen` and `forked.ForkedProcess` give it."""

    pid: int
    #: None while it runs.
    returncode: int | None

    def poll(self) -> int | None: ...  # noqa: D102
    def wait(self, timeout: float | None = None) -> int: ...  # noqa: D102
    def send_signal(self, number: int, /) -> None: ...  # noqa: D102
    def terminate(self) -> None: ...  # noqa: D102
    def kill(self) -> None: ...  # noqa: D102


#: Starts a process by its command, with a file for what it prints (None: where this process prints) and an environment.
Start = Callable[[Sequence[str], IO[bytes] | None, Mapping[str, str]], Process]


@dataclass(slots=True)
class Child:
    """One supervised process."""

    name: str
    command: Sequence[str]
    process: Process
    log: Path | None
    #: When it died lately (monotonic s).
    deaths: deque[float] = field(default_factory=deque)
    restarts: int = 0
    restart_at: float | None = None
    given_up: bool = False

    def last_words(self) -> str:
        """Return the end of its log file: its error message if there is one, rather than log lines."""
        if self.log is None:
            return "see its log above"
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _LAST_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        words = [line for line in lines[-10:] if not line.startswith("{")]
        return "\n".join(words or lines[-3:]) or "it said nothing"


class Supervisor:
    """A set of children and the thread that watches them."""

    def __init__(self, gave_up: Callable[[str, str], None], log_dir: Path | None, start: Start) -> None:
        """Start without processes. `gave_up(name, why)` is called once; logs go to `log_dir`, or else to stderr."""
        self._start = start
        self.children: dict[str, Child] = {}
        #: Those that were removed and have not left yet.
        self._leaving: list[Child] = []
        self.failure: tuple[str, str] | None = None
        self._gave_up = gave_up
        self._log_dir = log_dir
        self._lock = threading.RLock()
        #: Neither an event nor a condition: the collector may stop a supervisor on its own thread, inside their locks.
        self._stopping = False
        self._woken, self._waker = os.pipe()
        for half in (self._woken, self._waker):
            os.set_blocking(half, False)
            weakref.finalize(self, os.close, half).atexit = False  # `stop` may be called at exit, and needs them
        self._thread = threading.Thread(target=self._watch, name="penstock supervisor", daemon=True)
        self._thread.start()

    def add(self, name: str, command: Sequence[str], start: Start | None = None) -> None:
        """Start a process, the first time by `start` if that is given, and keep it running.

        Raises StackError while all are being stopped.
        """
        log = self._log_dir / f"{name}.log" if self._log_dir else None
        with self._lock:
            if self._stopping:
                raise StackError(f"{name} is not started: the stack is being stopped")
            self.children[name] = Child(name, command, self._spawn(command, log, 0, start), log)
        self._wake()

    def remove(self, name: str) -> None:
        """Ask a process to drain and leave; it is not started again."""
        with self._lock:
            child = self.children.pop(name)
            child.process.terminate()
            self._leaving.append(child)

    def drain(self, seconds: float, first: str = "") -> None:
        """Ask processes whose name starts so to drain and leave; return when they have, or after `seconds`."""
        with self._lock:
            names = [name for name in self.children if name.startswith(first)]
            processes = [self.children[name].process for name in names]
            for name in names:
                self.remove(name)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(each.poll() is None for each in processes):
            time.sleep(_LOOK_S)

    def wait(
        self, condition: Callable[[], bool], seconds: float, what: str, sign: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until `condition` holds. Raises StackError if a process gives up, DeadlineError after `seconds`.

        `sign` says, at less cost, that it is time to look at the condition again.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if self.failure:
                raise StackError(" ".join(self.failure))
            if time.monotonic() > deadline:
                died = [f"{child.name} died {child.restarts} times: {child.last_words()}" for child in self._dying()]
                raise DeadlineError(
                    "; ".join([f"waited {seconds} s for {what}", *died, f"the logs in {self._log_dir} say more"])
                )
            again = time.monotonic() + _LOOK_S
            time.sleep(_SHORT_LOOK_S)
            while time.monotonic() < again and not sign():
                time.sleep(_SHORT_LOOK_S)

    def stop(self, first: str) -> None:
        """Stop all, processes whose name starts with `first` before the others; none is left after a deadline."""
        self._stopping = True
        self._wake()
        if self._thread is not threading.current_thread():
            self._thread.join()
        with self._lock:
            early = [child for name, child in self.children.items() if name.startswith(first)]
            late = [child for name, child in self.children.items() if not name.startswith(first)]
            early += self._leaving
        _end(early, _DRAIN_S)
        _end(late, _STOP_S)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # the pipe is full: it will wake up
            os.write(self._waker, b".")

    def _watch(self) -> None:
        while not self._wait():
            with self._lock:
                self._leaving = [child for child in self._leaving if child.process.poll() is None]
                for child in self.children.values():
                    if not child.given_up and not self._stopping:
                        self._look_after(child)
                        if child.log:
                            limit_log(child.log)

    def _wait(self) -> bool:
        """Wait until a process ends or may be started again, or a while; return whether to stop watching.

        The kernel tells when a process ends: polling many times a second would take time from the workers.
        """
        with self._lock:
            pending = any(child.restart_at is not None for child in self.children.values())
            known = [*self.children.values(), *self._leaving]
            running = [child.process for child in known if child.process.returncode is None]
        opened: list[int] = []
        seconds = _LOOK_S
        try:
            if not pending and hasattr(os, "pidfd_open"):
                opened.extend(os.pidfd_open(process.pid) for process in running)
                seconds = _LONG_LOOK_S
        except OSError:  # reaped meanwhile, or no descriptors left
            pass
        try:
            self._sleep(seconds, opened)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        return self._stopping

    def _sleep(self, seconds: float, processes: Sequence[int]) -> None:
        """Sleep until a process ends (seen by its descriptor), `_wake` is called, or `seconds` have passed."""
        poll = select.poll()
        for descriptor in (self._woken, *processes):
            poll.register(descriptor, select.POLLIN)
        if (self._woken, select.POLLIN) in poll.poll(seconds * 1000):
            os.read(self._woken, select.PIPE_BUF)

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.restart_at is not None:
            if now >= child.restart_at:
                child.restart_at = None
                child.restarts += 1
                try:
                    child.process = self._spawn(child.command, child.log, child.restarts)
                except OSError as error:
                    self._give_up(child, f"cannot be started again: {error}")
                if self._stopping:  # the collector stopped everything on this very thread meanwhile
                    _end([child], _STOP_S)
            return
        status = child.process.poll()
        if status is None:
            return
        child.deaths.append(now)
        while child.deaths[0] < now - _WITHIN_S:
            child.deaths.popleft()
        if status == _REFUSED:
            self._give_up(child, f"cannot run: {child.last_words()}")
        elif len(child.deaths) >= _DEATHS:
            self._give_up(
                child, f"died {_DEATHS} times within {_WITHIN_S:.0f} s, last with status {status}: {child.last_words()}"
            )
        else:
            child.restart_at = now + min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** (len(child.deaths) - 1))

    def _dying(self) -> list[Child]:
        with self._lock:
            return [child for child in self.children.values() if child.restarts]

    def _give_up(self, child: Child, why: str) -> None:
        child.given_up = True
        if self.failure is None:
            self.failure = (child.name, why)
            self._gave_up(child.name, why)

    def _spawn(self, command: Sequence[str], log: Path | None, restarts: int, start: Start | None = None) -> Process:
        environment = service_environment() | {"PENSTOCK_RESTARTS": str(restarts)}
        with open_own(log, "ab") if log else nullcontext() as output:
            return (start or self._start)(command, output, environment)


def start_command(command: Sequence[str], output: IO[bytes] | None, environment: Mapping[str, str]) -> Process:
    """Start a process of its own interpreter."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**environment, "PENSTOCK_PARENT": str(os.getpid())},
        start_new_session=True,  # a terminal's Ctrl-C is for this process, which stops the others in order
    )


def _end(children: Sequence[Child], seconds: float) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            with suppress(subprocess.TimeoutExpired):  # it waits for a dead file server, or its status is not told
                child.process.wait(_KILLED_S)
