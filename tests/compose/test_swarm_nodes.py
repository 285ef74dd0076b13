"""A swarm of two nodes: a sink on each of them for a rank each; and, at the end, one loses its power in mid-epoch."""

import itertools
import os
import shutil
import socket
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose.project import COMMAND_S, docker
from compose.swarm import SecondNode, change, deployed
from support.streams import Batch, digest, read_in_step, take, until

pytestmark = [pytest.mark.compose, pytest.mark.slow]

#: Batches of two epochs, and ranks.
ALL, RANKS = 46, 2


@pytest.fixture(scope="module")
def second(images: tuple[str, ...]) -> Iterator[SecondNode]:
    """Return the second node of a swarm, which has the images. The last test ends it."""
    if missing := [
        each for each in ("dockerd", "docker-init", "ip", "nsenter", "unshare") if shutil.which(each) is None
    ]:
        pytest.skip(f"NOT TESTED ON TWO NODES: {', '.join(missing)} are not installed here")
    if os.geteuid() or "inactive" not in docker("info", "--format", "{{.Swarm.LocalNodeState}}"):
        pytest.skip("NOT TESTED ON TWO NODES: needs root, and an engine that is in no swarm yet")
    with tempfile.TemporaryDirectory(prefix="penstock-node-") as folder, SecondNode(Path(folder)) as node:
        node.take(tuple(image for image in images if "trainer" not in image))
        yield node


@pytest.fixture
def references(spec: Path, data: Path) -> list[str]:
    """Return the digest of each rank's batches of an epoch in an undisturbed local run, which has one sink."""
    local = tomllib.loads(spec.read_text()) | {"roots": {"images": str(data)}}
    return list(map(digest, read_in_step(local, RANKS, 1)))


def test_each_node_has_a_sink_for_its_rank(
    second: SecondNode, root: Path, data: Path, spec: Path, tmp_path: Path, references: list[str]
) -> None:
    """Each rank gets from the sink of its node what one sink would give it, though one of them is killed.

    Workers know the node that they run on, and make samples for the sink there.
    """
    with deployed(root, tmp_path, DATA=data, SPEC=spec, WORKERS=2, SINKS=RANKS) as swarm:
        hosts, nodes = ("127.0.0.1", second.THERE), {socket.gethostname(), second.HOST}
        until(
            lambda: nodes == {worker.host for worker in swarm.look(second.THERE).workers},
            "a worker on each node",
            COMMAND_S,
        )
        with swarm.feed(hosts[0], 0, RANKS) as one, swarm.feed(hosts[1], 1, RANKS) as other:
            rounds = zip(one, other, strict=True)
            got = list(itertools.islice(rounds, 4))
            swarm.kill("sink")
            got += rounds
        until(
            lambda: nodes == {each.host for each in swarm.look(second.THERE).workers if each.stats.near_bytes},
            "workers to make samples for the sink of their node",
            COMMAND_S,
        )
    assert references == [digest(batches) for batches in zip(*got, strict=True)]


def test_a_node_of_two_loses_its_power(
    second: SecondNode, root: Path, data: Path, spec: Path, tmp_path: Path, reference: list[Batch]
) -> None:
    """It runs the ventilator and some of the workers: the swarm runs them on the other one, and no byte differs."""
    there = f"--host={second.host}"
    mine = docker("info", "--format", "{{.Swarm.NodeID}}").strip()
    docker("node", "update", "--availability", "pause", mine)  # what begins now begins on the other node
    with deployed(root, tmp_path, DATA=data, SPEC=spec, WORKERS=2) as swarm:
        until(lambda: "_ventilator." in docker(there, "ps"), "the ventilator on the second node", COMMAND_S)
        docker("node", "update", "--availability", "active", mine)
        change("update", "--detach", "--constraint-add", f"node.id!={second.name}", f"{swarm.name}_sink")
        swarm.scale(4)
        with swarm.feed() as feed:
            got = take(feed, 6)
            until(lambda: "_worker." in docker("ps"), "workers on this node", COMMAND_S)
            names = docker(there, "ps")
            assert "_ventilator." in names
            assert "_worker." in names
            got += take(feed, 5)
            second.lose()
            got += take(feed, ALL - len(got))
    assert digest(reference) == digest(got)
