"""The stack of deploy/swarm.yml on a swarm, and a second node of it: another engine in namespaces of this machine."""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from compose.project import COMMAND_S, TAG, docker, free_port
from support.streams import until

import penstock
from penstock.commands.keys import main as keys
from penstock.observe.status_client import Onlooker
from penstock.protocol.messages import Snapshot
from penstock.trainer.client.feed import Feed


class Swarm:
    """A deployed stack."""

    def __init__(self, name: str, ports: tuple[int, int], bundles: Path) -> None:
        """Deploy nothing: the stack of this name is there."""
        self.name, (self.port, self.status_port), self.bundles = name, ports, bundles

    def feed(self, host: str = "127.0.0.1", rank: int = 0, ranks: int = 1) -> Feed:
        """Return a trainer on this machine, which reads from the sink on a host, no more than two batches ahead."""
        address, bundle = f"tcp://{host}:{self.port}", self.bundles / "trainer.keys"
        return penstock.connect(
            address, "train", rank=rank, world_size=ranks, prefetch=2, keys=bundle, timeout_s=COMMAND_S
        )

    def look(self, *hosts: str) -> Snapshot:
        """Return what the ventilator knows, which runs on this machine or on one of these hosts."""
        addresses = ",".join(f"tcp://{host}:{self.status_port}" for host in ("127.0.0.1", *hosts))
        with Onlooker(addresses, str(self.bundles / "trainer.keys"), COMMAND_S) as onlooker:
            return onlooker.look()

    def has(self, workers: int) -> None:
        """Wait until the ventilator knows so many workers."""
        until(lambda: workers == len(self.look().workers), f"{workers} workers", COMMAND_S)

    def scale(self, workers: int) -> None:
        """Let the swarm run a number of workers."""
        change("scale", "--detach", f"{self.name}_worker={workers}")

    def containers(self, part: str) -> list[str]:
        """Return the ids of a part's running containers."""
        return docker("ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={self.name}_{part}").split()

    def kill(self, part: str) -> None:
        """Kill a part's container, and wait until the swarm has another one."""
        [killed, *_] = self.containers(part)
        docker("kill", killed)
        until(lambda: set(self.containers(part)) - {killed}, f"another {part}", COMMAND_S)


def change(*arguments: str) -> None:
    """Run `docker service …` until it succeeds: a swarm refuses it while it changes the service itself."""
    command = ("docker", "service", *arguments)
    once = partial(subprocess.run, command, capture_output=True, timeout=COMMAND_S, check=False)
    until(lambda: 0 == once().returncode, " ".join(command), COMMAND_S)


@contextmanager
def deployed(root: Path, folder: Path, **variables: object) -> Generator[Swarm]:
    """Deploy the stack, without workers unless `variables`, those of deploy/swarm.yml, say otherwise; remove it."""
    assert 0 == keys(["init", str(folder / "keys")])
    for part in ("ventilator", "sink", "worker", "trainer"):
        assert 0 == keys(["export", part, str(folder / f"{part}.keys"), "--bundle", "--keys", str(folder / "keys")])
    name, ports = f"penstock-test-{os.getpid()}", (free_port(), free_port())
    known = {"KEYS": folder, "TAG": TAG, "WORKERS": 0, "PORT": ports[0], "STATUS_PORT": ports[1]} | variables
    given = {name: str(value) for name, value in known.items()}
    command = ["docker", "stack", "deploy", "--resolve-image", "never", "--compose-file", "deploy/swarm.yml", name]
    subprocess.run(command, cwd=root, env=os.environ | given, check=True, timeout=COMMAND_S)
    try:
        yield Swarm(name, ports, folder)
    finally:
        docker("stack", "rm", name)
        mine = f"label=com.docker.stack.namespace={name}"
        until(lambda: not docker("ps", "--quiet", "--filter", mine).strip(), "the containers' end", COMMAND_S)
        until(lambda: not docker("network", "ls", "--quiet", "--filter", mine).strip(), "the network's end", COMMAND_S)


class SecondNode:
    """An engine in a network, mounts and processes of its own, joined to the swarm of this machine's engine."""

    #: Addresses of this machine and of the node, on a network of their own.
    HERE, THERE = "10.214.7.1", "10.214.7.2"
    #: What it calls itself, unlike this machine.
    HOST = "penstock-second"
    _LINKS = ("penstock-swarm0", "penstock-swarm1")

    def __init__(self, folder: Path) -> None:
        """Start nothing. The engine's files go to a folder, whose path is short enough for a socket."""
        self._folder, self.host = folder, f"unix://{folder}/docker.sock"
        self._made: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the engine, with the link to it. This machine makes the swarm, by its end of the link."""
        try:
            self._join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the engine and all of its containers, and the swarm."""
        self.lose()
        docker("swarm", "leave", "--force", check=False)
        subprocess.run(["ip", "link", "delete", self._LINKS[0]], capture_output=True, timeout=COMMAND_S, check=False)

    def _join(self) -> None:
        here, there = self._LINKS
        command = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        command += ["sh", "-c", 'hostname "$0" && exec "$@"', self.HOST]
        engine = ["dockerd", f"--host={self.host}", f"--data-root={self._folder}/data", "--mtu=1400"]
        engine += [f"--exec-root={self._folder}/exec", f"--pidfile={self._folder}/docker.pid"]
        with (self._folder / "engine.log").open("ab") as log:
            self._made = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command, "docker-init", "--", *engine],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then end it
            )
        until(self._children, "the node's namespaces")
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", self._children()[0])
        for name, address, *inside in ((here, self.HERE), (there, self.THERE, *self._inside())):
            run(*inside, "ip", "address", "add", f"{address}/24", "dev", name)
            run(*inside, "ip", "link", "set", name, "up")
        asked = (f"--host={self.host}", "info", "--format", "{{.ServerVersion}}")
        until(lambda: docker(*asked, check=False).strip(), "the node's engine", COMMAND_S)
        docker("swarm", "init", "--advertise-addr", self.HERE, "--listen-addr", f"{self.HERE}:2377")
        token = docker("swarm", "join-token", "--quiet", "worker").strip()
        docker(
            f"--host={self.host}",
            "swarm",
            "join",
            "--advertise-addr",
            self.THERE,
            "--token",
            token,
            f"{self.HERE}:2377",
        )

    def lose(self) -> None:
        """Let the node lose its power: every process of it ends at once, and its end of the link is gone."""
        assert self._made is not None
        if self._made.poll() is None:
            for child in self._children():
                run("kill", "-KILL", child)
            self._made.wait(COMMAND_S)

    def take(self, images: tuple[str, ...]) -> None:
        """Give it images of this machine's engine."""
        archive = self._folder / "images.tar"
        docker("save", "--output", archive, *images)
        docker(f"--host={self.host}", "load", "--input", archive)
        archive.unlink()

    @property
    def name(self) -> str:
        """What the swarm calls it."""
        return docker(f"--host={self.host}", "info", "--format", "{{.Swarm.NodeID}}").strip()

    def _children(self) -> list[str]:
        assert self._made is not None
        return Path(f"/proc/{self._made.pid}/task/{self._made.pid}/children").read_text().split()

    def _inside(self) -> list[str]:
        return ["nsenter", f"--target={self._children()[0]}", "--net", "--"]


def run(*command: str) -> None:
    """Run a command to its end; AssertionError with its words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert 0 == done.returncode, f"{' '.join(command)}: {done.stdout}{done.stderr}"
