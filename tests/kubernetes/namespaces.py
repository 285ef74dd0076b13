"""Linux namespaces in which programs find a machine of their own: its network, its mounts, its processes.

The first process in them is the program `pause`, which reaps what others leave. When it ends the kernel ends all the
others, unmounts what they mounted and removes their interfaces; it ends at the latest with the process that made it, so
that nothing is left even after a kill.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
from support.streams import DEADLINE_S, until

#: Longest that a command may take (s), unless it is told otherwise.
COMMAND_S = 120.0


class Namespaces:
    """A machine within this one; a context manager that leaves nothing behind."""

    def __init__(self, name: str, folder: Path, pause: Path, path: str, inside: "Namespaces | None" = None) -> None:
        """Make nothing. `path` is where programs are looked for; logs are written to `folder`."""
        self.name, self.folder, self.path = name, folder, path
        self._pause, self._inside = pause, inside
        self._made: subprocess.Popen[bytes] | None = None
        self._first: psutil.Process | None = None
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Make the namespaces; their loopback is up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        around = self._inside.entering("net", "mount", "pid") if self._inside else []
        made = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", self._pause]
        self._made = self._popen(self.name, ["setpriv", "--pdeathsig", "KILL", *around, *map(str, made)])
        below = psutil.Process(self._made.pid)

        def first() -> psutil.Process | None:
            assert below.status() != psutil.STATUS_ZOMBIE, f"{shlex.join(map(str, made))}: {self.log(self.name)}"
            found = [each for each in below.children(recursive=True) if each.name() == self._pause.name]
            return found[0] if found else None

        self._first = until(first, f"the namespaces of {self.name}; see {self.folder}")
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        """End every process in them."""
        with suppress(psutil.NoSuchProcess):
            if self._first is not None:
                self._first.kill()
        for process in (self._made, *self.started.values()):
            if process is not None:
                process.wait(DEADLINE_S)

    @property
    def pid(self) -> int:
        """The number of the first process in them, outside of them."""
        assert self._first is not None
        return self._first.pid

    def entering(self, *kinds: str) -> list[str]:
        """Return the beginning of a command that runs in these of the namespaces."""
        return ["nsenter", f"--target={self.pid}", *(f"--{kind}" for kind in kinds), "--"]

    def run(
        self,
        *command: str | Path,
        kinds: tuple[str, ...] = ("net", "mount", "pid"),
        given: str = "",
        check: bool = True,
        seconds: float = COMMAND_S,
    ) -> str:
        """Run a command in them to its end; return what it said. With `check`, AssertionError if it fails."""
        done = subprocess.run(
            [*self.entering(*kinds), *map(str, command)],
            env=self._environment(),
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or 0 == done.returncode, f"{shlex.join(map(str, command))}: {done.stdout}"
        return done.stdout

    def start(self, *command: str | Path, name: str = "") -> subprocess.Popen[bytes]:
        """Start a program that runs until the namespaces' end, with a log called after it."""
        name = name or Path(command[0]).name
        self.started[name] = self._popen(name, [*self.entering("net", "mount", "pid"), *map(str, command)])
        return self.started[name]

    def until(self, condition: tuple[str | Path, ...], name: str, seconds: float = COMMAND_S) -> None:
        """Wait until a command succeeds; AssertionError with the last lines of a program's log if that ends before."""

        def answers() -> bool:
            ended = self.started[name].poll()
            assert ended is None, f"{name} ended with {ended}: {self.log(name)[-3000:]}"
            command = [*self.entering("net", "mount", "pid"), *map(str, condition)]
            return not subprocess.run(
                command, env=self._environment(), capture_output=True, timeout=seconds, check=False
            ).returncode

        until(answers, f"{name} to answer; see {self.folder}/{name}.log", seconds)

    def log(self, name: str) -> str:
        """Return what a program wrote."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _environment(self) -> Mapping[str, str]:
        return dict(os.environ) | {"PATH": self.path}

    def _popen(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=dict(self._environment()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then end these
            )
