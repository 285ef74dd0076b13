"""One Compose project of a test: the repository's docker-compose.yml under a name of its own, and what is done to it.

Owns the `docker` command line and its deadlines. What is asked here is asked as a user would.
"""

import json
import os
import random
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from support.streams import until

import penstock
from penstock.trainer.client.feed import Feed

#: Longest that a command of the engine may take (s); a build, which installs TensorFlow, more.
COMMAND_S, BUILD_S = 240.0, 900.0
#: What the images of the tests are called; the layers are shared with the user's own.
TAG = "test"
IMAGES = ("ventilator", "worker", "sink", "trainer")
#: Ports that no kernel gives to a program that asks for any: the engine binds them later, and again after each kill.
_PORTS = iter(random.sample(range(20_000, 32_000), 12_000))
#: With what Compose begins the lines of a log, on a terminal or not.
_ERASE = "\x1b[2K"


def docker(*arguments: str | Path, check: bool = True, seconds: float = COMMAND_S) -> str:
    """Run `docker …`; return what it said. With `check`, AssertionError with its words if it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=seconds, check=False)
    assert not check or 0 == done.returncode, f"docker {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
    return done.stdout


def free_port() -> int:
    """Return a TCP port that is not in use, and that this was not called for before."""
    for port in _PORTS:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


class Project:
    """A stack in containers; a context manager that leaves nothing behind."""

    def __init__(self, root: Path, name: str, scratch: Path, files: Iterable[Path] = (), **variables: object) -> None:
        """Start nothing. `variables` are those of docker-compose.yml, `files` change it."""
        self.name, self.scratch = name, scratch
        self.port, self.dashboard_port = free_port(), free_port()
        self._root = root
        self._files = [part for file in (root / "docker-compose.yml", *files) for part in ("-f", str(file))]
        ports = {"PORT": str(self.port), "DASHBOARD_PORT": str(self.dashboard_port)}
        known = {"TAG": TAG, "LOG_STYLE": "json"} | ports
        self._environment: Mapping[str, str] = {
            **os.environ,
            **known,
            **{name: str(value) for name, value in variables.items()},
        }
        self.profiles: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        """Return the project."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove containers, networks and volumes."""
        self.run("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "3", check=False)

    def run(self, *arguments: str | Path, check: bool = True, seconds: float = COMMAND_S) -> str:
        """Run `docker compose …`; return what it said. With `check`, AssertionError with its words if it fails."""
        chosen = [part for profile in self.profiles for part in ("--profile", profile)]
        command = ["docker", "compose", "--project-name", self.name, *self._files, *chosen, *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=self._root,
            env=dict(self._environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or 0 == done.returncode, f"{' '.join(command)}: {done.stdout}"
        return done.stdout

    def up(self, *services: str, workers: int) -> None:
        """Start services and those that they need; of workers, as many as are wanted. Returns when all have started."""
        self.run("up", "--detach", "--no-build", "--timeout", "40", "--scale", f"worker={workers}", *services)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        return self.run("ps", "--quiet", service).split()

    def container(self, service: str) -> str:
        """Return the id of a service's first running container."""
        return self.containers(service)[0]

    def inspect(self, service: str) -> dict[str, Any]:
        """Return all that the engine knows of a service's container, running or not."""
        found: dict[str, Any] = json.loads(docker("inspect", self.run("ps", "--all", "--quiet", service).split()[0]))[0]
        return found

    def logs(self, service: str) -> str:
        """Return what a service's containers said."""
        return self.run("logs", "--no-log-prefix", service).replace(_ERASE, "")

    def events(self, service: str, event: str) -> list[dict[str, Any]]:
        """Return the log lines of a service that tell of an event."""
        lines = [json.loads(line) for line in self.logs(service).splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def health(self, service: str) -> dict[str, Any]:
        """Return what a service's /healthz says, ready or not, as soon as it answers."""

        def answer() -> dict[str, Any]:
            said = self.run("exec", "--no-TTY", service, "python", "-IS", "/app/deploy/probe.py", check=False)
            status: dict[str, Any] = json.loads(said.splitlines()[0]) if said.startswith("{") else {}
            return status

        return until(answer, f"{service} to answer", COMMAND_S)

    def healthy(self, service: str) -> None:
        """Wait until a service says that it is ready, and the engine knows: without that, `up` starts nothing else."""
        until(lambda: self.health(service).get("ready"), f"{service} to be ready", COMMAND_S)
        until(
            lambda: "healthy" == self.inspect(service)["State"]["Health"]["Status"],
            f"{service} to be healthy",
            COMMAND_S,
        )

    def keys(self, name: str = "trainer") -> Path:
        """Return a copy of the key folder of a role, as a user would take it out."""
        target = self.scratch / f"keys-{name}"
        if not target.exists():
            self.run("cp", f"keys:/keys/{name}/stack", str(target))
        return target

    def feed(self, stream: str = "train", *, keys: Path | None = None, timeout_s: float = COMMAND_S) -> Feed:
        """Return a trainer on this machine, outside the containers, which asks for no more than two batches ahead."""
        address = f"tcp://127.0.0.1:{self.port}"
        return penstock.connect(address, stream, prefetch=2, keys=keys or self.keys(), timeout_s=timeout_s)


#: Makes a project of a test; all are removed with what they hold when the fixture's scope ends.
MakeProject = Callable[..., Project]
