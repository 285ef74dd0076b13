"""Hosts that know each other by name: a name server that does not answer for one delays the link to that one alone."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hosts.cluster import Cluster
from hosts.conftest import EACH
from hosts.lab import Host
from hosts.ranks import Node
from support.streams import until

pytestmark = pytest.mark.hosts

#: How long a worker may be silent (s), and a little more: the system waits longer for a name server (10 s).
_SILENCE_S, _MORE_S = 6.0, 2.0


class NameServer:
    """A host with a name server."""

    def __init__(self, cluster: Cluster) -> None:
        """Start it; it knows no name."""
        self._host = cluster.add("names", "sink")
        self._path = cluster.lab.folder / "names"
        self.tell({})
        script = Path(__file__).with_name("name_server.py")
        self._job = self._host.start("names", [sys.executable, str(script), self._host.address, str(self._path)])
        until(lambda: "ready" in self._job.said, "the name server")

    def tell(self, names: Mapping[str, str]) -> None:
        """Let it know these names and no others; it never answers for those without an address."""
        self._path.with_suffix(".new").write_text("".join(f"{name} {host}\n" for name, host in names.items()))
        self._path.with_suffix(".new").replace(self._path)

    def serve(self, host: Host) -> None:
        """Let a host ask it."""
        host.ask_names_at(self._host.address)

    def unanswered(self, name: str) -> int:
        """Return how many questions for a name it has not answered."""
        lines = [line.split(" ", 2) for line in self._job.said.splitlines()]
        return sum(line[0] == name and line[-1] == "no answer" for line in lines)


def pass_silence() -> None:
    """Let so much time pass that a worker without heartbeats would have been lost."""
    later = time.monotonic() + _SILENCE_S + _MORE_S
    until(lambda: time.monotonic() > later, "a silence to pass")


def test_a_name_without_an_answer_delays_its_own_link_alone(cluster: Cluster, alone: list[dict[str, Any]]) -> None:
    """A sink is killed, and nobody answers for its name: the other rank trains on, and the worker's heartbeats go on.

    The sink that replaces it has the same name and another address, where the worker finds it.
    """
    names = NameServer(cluster)
    cluster.start_ventilator(silence_s=_SILENCE_S)
    names.serve(cluster.add("a", "worker"))
    cluster.start_worker("a")
    called = {f"node-{rank}": f"tcp://node-{rank}.test:5556" for rank in range(2)}
    nodes = [Node(cluster, name, rank, 2, advertise=where) for rank, (name, where) in enumerate(called.items())]
    known = {f"{node.name}.test": node.host.address for node in nodes}
    names.tell(known)
    for node in nodes:
        node.ask(2)
    assert [2, 2] == [node.answer()["batches"] for node in nodes]
    joined = cluster.jobs["ventilator"].said.count("worker joined")
    names.tell(known | {"node-1.test": ""})
    nodes[1].sink.kill()
    nodes[0].ask(8)
    pass_silence()
    assert 10 == nodes[0].answer()["batches"]
    other = Node(cluster, "node-2", 1, 2, name="node-1", advertise=called["node-1"])
    other.ask(EACH)
    until(lambda: names.unanswered("node-1.test"), "the worker to ask for the name of the new sink")
    pass_silence()
    names.tell(known | {"node-1.test": other.host.address})
    nodes[0].ask(EACH - 10)
    assert alone == [nodes[0].answer(), other.answer()]
    said = cluster.jobs["ventilator"].said
    assert "worker silent" not in said
    assert joined == said.count("worker joined")
