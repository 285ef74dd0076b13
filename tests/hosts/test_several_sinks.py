"""Two nodes, each with a sink and a rank of its own: the same bytes, whatever becomes of one of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hosts.cluster import Cluster
from hosts.ranks import Node
from support.streams import digest, epochs, make_spec, run_stack, until

pytestmark = pytest.mark.hosts

#: Batches of each rank: two epochs.
EACH = 24


@pytest.fixture(scope="module")
def alone(photos: Path) -> list[dict[str, Any]]:
    """Return what both ranks say that have two epochs of one sink, which nothing disturbed."""
    with run_stack(make_spec(photos), workers=2) as stack:
        feeds = [stack.feed(rank=rank, world_size=2) for rank in range(2)]
        found = [epochs(feed, 2) for feed in feeds]
    assert [EACH, EACH] == [len(batches) for batches in found]
    return [{"batches": len(batches), "digest": digest(batches)} for batches in found]


@pytest.fixture
def nodes(cluster: Cluster) -> Sequence[Node]:
    """Return two nodes with two workers elsewhere, all of which have found each other and read the first batches."""
    cluster.start_ventilator()
    for name in ("a", "b"):
        cluster.add(name, "worker")
        cluster.start_worker(name)
    found = [Node(cluster, f"node-{rank}", rank, 2) for rank in range(2)]
    until(lambda: ["node-0", "node-1"] == cluster.status("ventilator").get("sinks"), "both sinks")
    for node in found:
        node.ask(2)
    assert [2, 2] == [node.answer()["batches"] for node in found]
    return found


def lost(cluster: Cluster) -> Callable[[], bool]:
    """Return what says whether the ventilator knows the first node's sink alone."""
    return lambda: ["node-0"] == cluster.status("ventilator").get("sinks")


def test_a_node_that_drops_off_comes_back(cluster: Cluster, nodes: Sequence[Node], alone: list[dict[str, Any]]) -> None:
    """Its cable is pulled out until the ventilator has noticed: the other rank trains on, then both have everything."""
    for node in nodes:
        node.ask(EACH - 2)
    nodes[1].host.plug(into_switch=False)
    until(lost(cluster), "the ventilator to notice")
    assert alone[0] == nodes[0].answer()
    nodes[1].host.plug(into_switch=True)
    assert alone[1] == nodes[1].answer()


def test_a_sink_without_a_ventilator_serves_what_it_has(
    cluster: Cluster, nodes: Sequence[Node], alone: list[dict[str, Any]]
) -> None:
    """It is cut off from the ventilator, not from its trainer and workers; nobody trains on anything twice."""
    nodes[1].host.filter("OUTPUT", "-p", "tcp", "--dport", "5555", "-j", "DROP")
    nodes[1].host.filter("INPUT", "-p", "tcp", "--sport", "5555", "-j", "DROP")
    nodes[0].ask(EACH - 2)
    nodes[1].ask(1)
    until(lost(cluster), "the ventilator to notice")
    assert 3 == nodes[1].answer()["batches"]
    assert alone[0] == nodes[0].answer()
    nodes[1].host.open()
    nodes[1].ask(EACH - 3)
    assert alone[1] == nodes[1].answer()
