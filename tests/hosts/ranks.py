"""Nodes of a training over several hosts: each has a sink of its own and a training program that reads from it."""

import json
from typing import Any

from hosts.cluster import Cluster
from hosts.lab import Job
from support.streams import until


class Node:
    """A host with a named sink, and a host beside it with the program of one rank."""

    def __init__(self, cluster: Cluster, name: str, rank: int, world_size: int) -> None:
        """Start both; the program reads nothing until it is told to."""
        self._cluster, self.name, self.host = cluster, name, cluster.add(name, "sink")
        keys = cluster.keys(name)
        self.sink = cluster.start_sink(on=name, name=name, keys=keys, health=cluster.lab.folder / f"{name}.sock")
        cluster.add(f"{name}-train", "trainer")
        self.trainer: Job = cluster.start_rank(f"{name}-train", name, rank, world_size)
        self._asked = 0

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
