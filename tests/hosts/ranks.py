"""Nodes of a training over several hosts: each has a sink of its own and a training program that reads from it."""

import json
from collections.abc import Mapping
from typing import Any

from hosts.cluster import Cluster
from hosts.lab import Job
from support.streams import until


class Node:
    """A host with a named sink, and a host beside it with the program of one rank."""

    def __init__(
        self,
        cluster: Cluster,
        host: str,
        rank: int,
        world_size: int,
        *,
        name: str = "",
        two_networks: bool = False,
        prefetch: int | None = None,
        advertise: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start both; the program reads nothing until it is told to.

        `name` is the sink's, default: the host's. `two_networks`: samples come in by the second one, nothing else.
        `prefetch`: batches, of the program. `advertise`: where workers are told to find the sink.
        """
        self.name, self.host, self._cluster = host, cluster.add(host, "sink"), cluster
        own: dict[str, object] = {"keys": cluster.keys(host), "health": cluster.lab.folder / f"{host}.sock"}
        if advertise:
            own["advertise"] = advertise
        if two_networks:
            own["advertise"] = f"tcp://{self.host.join_second()}:5556"
            self.host.filter("INPUT", "-i", "eth0", "-p", "tcp", "--dport", "5556", "-j", "DROP")
        self.sink = cluster.start_sink(on=host, name=name or host, env=env, **own)
        cluster.add(f"{host}-train", "trainer")
        self.trainer: Job = cluster.start_rank(
            f"{host}-train", host, rank, world_size, *([prefetch] if prefetch else [])
        )
        self._asked = 0

    def start_worker(self) -> Job:
        """Start a worker on the sink's own host."""
        folder = self._cluster.lab.folder
        keys = self._cluster.export("worker", folder / f"{self.name}-worker-keys")
        own = {"keys": keys, "health": folder / f"{self.name}-worker.sock"}
        return self._cluster.start_worker(self.name, settings=own)

    def ask(self, batches: int) -> None:
        """Tell the program to read so many more."""
        self._asked += 1
        self.trainer.tell(str(batches))

    def answer(self, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until the program has read what it was told to; return how many batches it has, and their digest."""

        def answers() -> list[dict[str, Any]]:
            assert self.trainer.runs, self.trainer.said
            return [json.loads(line) for line in self.trainer.said.splitlines() if line.startswith('{"batches"')]

        until(lambda: len(answers()) >= self._asked, f"batches at {self.name}", seconds)
        return answers()[-1]
