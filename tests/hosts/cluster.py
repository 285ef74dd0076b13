"""A stack over hosts for tests: ventilator, sink, workers and trainer, each on one of its own, with keys.

Owns who runs where and what each is told: as little as a user would have to say. Knows no part's inside.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hosts.lab import Host, Job, Lab
from support.streams import INTERVALS, until

from penstock.commands.keys import main as keys_command
from penstock.protocol.runtime.health import query

#: The tests' folder, for the training program.
_TESTS = Path(__file__).resolve().parent.parent
#: Settings of the ventilator besides paths: losses are noticed soon, and kills do not add up to poison.
_VENTILATOR: Mapping[str, float] = {**INTERVALS, "confirm_s": 1.0, "hedge_s": 0.5, "attempts": 50}


class Cluster:
    """The stack; start its parts in any order."""

    def __init__(self, lab: Lab, photos: Path, spec: Mapping[str, Any], keys: Path) -> None:
        """Make the hosts and give each its own keys and its own copy of the images; start nothing."""
        self.lab, self.spec, self.photos = lab, dict(spec), photos
        self.hosts: dict[str, Host] = {}
        self._keys = keys
        for name in ("ventilator", "sink", "trainer"):
            self.add(name, name)
        self.jobs: dict[str, Job] = {}
        self.trainer: Job | None = None
        self._answers = 0
        self._six = False

    def add(self, name: str, key: str) -> Host:
        """Plug in a host with the key called `key`."""
        host = self.hosts[name] = self.lab.host(name)
        self.export(key, self.keys(name))
        return host

    def export(self, key: str, folder: Path) -> Path:
        """Make a key folder for the key called `key`; return it."""
        assert 0 == keys_command(["export", key, str(folder), "--keys", str(self._keys)])
        return folder

    def keys(self, host: str) -> Path:
        """Return the key folder of a host."""
        return self.lab.folder / f"{host}-keys"

    def images(self, host: str) -> Path:
        """Return a host's own copy of the images."""
        folder = self.lab.folder / f"{host}-photos"
        if not folder.exists():
            shutil.copytree(self.photos, folder)
        return folder

    def at(self, host: str, port: int) -> str:
        """Return an address on a host."""
        found = self.hosts[host]
        return f"tcp://[{found.address6}]:{port}" if self._six else f"tcp://{found.address}:{port}"

    @property
    def ventilators(self) -> str:
        """The address of the ventilator, and if there is one that of the host `standby`."""
        return ",".join(self.at(host, 5555) for host in ("ventilator", "standby") if host in self.hosts)

    def start_ventilator(self, on: str = "ventilator", wrapped: Iterable[str] = (), **settings: object) -> Job:
        """Start the ventilator; its spec names folders of its own host."""
        spec = self.lab.folder / "spec.json"
        spec.write_text(json.dumps(self.spec | {"roots": {"photos": str(self.images("ventilator"))}}))
        flags = {**_VENTILATOR, **settings}
        return self.start(on, "ventilator", {"spec": spec, "bind": "tcp://*:5555", **flags}, wrapped=wrapped)

    def use_six(self) -> None:
        """Let all addresses be of IPv6 from now on."""
        self._six = True

    def start_sink(self, on: str = "sink", *, env: Mapping[str, str] | None = None, **settings: object) -> Job:
        """Start the sink; it is not told what its address is."""
        where = {"ventilator": self.ventilators, "results": "tcp://*:5556", "bind": "tcp://*:5557"}
        own = {"keys": self.keys("sink"), "health": self.lab.folder / "sink.sock"}
        return self.start(on, "sink", where | own | settings, env=env)

    def start_worker(self, host: str, **more: Any) -> Job:
        """Start a worker with all that a second machine needs: one address, where its images lie, and its keys."""
        flags = {"ventilator": self.ventilators, "root": f"photos={self.images(host)}"}
        return self.start(host, "worker", flags | more.pop("settings", {}), **more)

    def start(
        self, host: str, part: str, settings: Mapping[str, object], *, wrapped: Iterable[str] = (), **more: Any
    ) -> Job:
        """Start a service on a host, by a command that runs what stands behind it if it is `wrapped` in one."""
        flags = {"keys": self.keys(host), "health": self.lab.folder / f"{host}.sock", **settings}
        given = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        job = self.hosts[host].start(part, [*wrapped, sys.executable, "-m", f"penstock.{part}", *given], **more)
        self.jobs[host] = job
        return job

    def start_trainer(self, sink: str = "sink") -> Job:
        """Start the training program; it reads nothing until it is told to."""
        self.trainer = self.start_rank("trainer", sink)
        return self.trainer

    def start_rank(self, host: str, sink: str, *rank: int) -> Job:
        """Start the training program on a host; `rank`: which of how many it is, and how many batches it prefetches."""
        script = Path(__file__).with_name("trainer.py")
        command = [sys.executable, str(script), self.at(sink, 5557), str(self.keys(host)), *map(str, rank)]
        return self.hosts[host].start("trainer", command, env={"PYTHONPATH": str(_TESTS)})

    def start_all(self, workers: Iterable[str], *, six: bool = False, **settings: Any) -> None:
        """Start everything, each worker on a host of its own, and wait until all have found each other.

        `six`: all addresses are of IPv6. `settings`: more for the ventilator.
        """
        self._six = six
        self.start_ventilator(**settings)
        self.start_sink()
        for name in workers:
            self.add(name, "worker")
            self.start_worker(name)
        self.start_trainer()
        for name in workers:
            until(lambda name=name: self.status(name).get("ready"), f"worker {name} to be welcomed")  # type: ignore[misc]

    def status(self, host: str) -> dict[str, Any]:
        """Return what the service of a host says of its health, as soon as it answers."""

        def answer() -> dict[str, Any]:
            said = query(str(self.lab.folder / f"{host}.sock"))
            return said if "service" in said else {}

        return until(answer, f"{host} to answer")

    def ask(self, batches: int) -> None:
        """Tell the trainer to read so many more."""
        assert self.trainer
        self._answers += 1
        self.trainer.tell(str(batches))

    def answer(self, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until the trainer has read what it was told to; return how many batches it has, and their digest."""
        trainer = self.trainer
        assert trainer

        def answers() -> list[dict[str, Any]]:
            assert trainer.runs, trainer.said
            lines = trainer.said.splitlines()
            return [json.loads(line) for line in lines if line.startswith('{"batches"')]

        until(lambda: len(answers()) >= self._answers, "batches", seconds)
        return answers()[-1]

    def read(self, batches: int, seconds: float = 60.0) -> dict[str, Any]:
        """Let the trainer read; return what it has then."""
        self.ask(batches)
        return self.answer(seconds)
