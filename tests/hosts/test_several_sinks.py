"""Two nodes, each with a sink and a rank of its own: the same bytes, whatever becomes of one of them."""

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hosts.clock import Clock
from hosts.cluster import Cluster
from hosts.conftest import EACH
from hosts.lab import Job
from hosts.ranks import Node
from support.streams import digest, make_spec, make_stream, read_in_step, until

from penstock.protocol.runtime.health import fetch

pytestmark = pytest.mark.hosts


def start(cluster: Cluster, clock: Clock | None = None, **options: Any) -> Sequence[Node]:
    """Start two nodes with two workers elsewhere; return them once all have found each other and read two batches.

    The ventilator goes by a `clock`.
    """
    cluster.start_ventilator(
        wrapped=["env", *(f"{name}={value}" for name, value in clock.env.items())] if clock else ()
    )
    for name in ("a", "b"):
        host = cluster.add(name, "worker")
        if options.get("two_networks"):
            host.join_second()
        cluster.start_worker(name)
    found = [Node(cluster, f"node-{rank}", rank, 2, **options) for rank in range(2)]
    until(lambda: ["node-0", "node-1"] == cluster.status("ventilator").get("sinks"), "both sinks")
    for node in found:
        node.ask(2)
    assert [2, 2] == [node.answer()["batches"] for node in found]
    return found


def read_on(nodes: Sequence[Node], batches: int = EACH - 2) -> list[dict[str, Any]]:
    """Let both programs read so many more; return what they have then."""
    for node in nodes:
        node.ask(batches)
    return [node.answer() for node in nodes]


def lost(cluster: Cluster) -> Callable[[], bool]:
    """Return what says whether the ventilator knows the first node's sink alone."""
    return lambda: ["node-0"] == cluster.status("ventilator").get("sinks")


def test_a_node_that_drops_off_comes_back(cluster: Cluster, alone: list[dict[str, Any]]) -> None:
    """Its cable is pulled out until the ventilator has noticed: the other rank trains on, then both have everything."""
    nodes = start(cluster)
    for node in nodes:
        node.ask(EACH - 2)
    nodes[1].host.plug(into_switch=False)
    until(lost(cluster), "the ventilator to notice")
    assert alone[0] == nodes[0].answer()
    nodes[1].host.plug(into_switch=True)
    assert alone[1] == nodes[1].answer()


def test_a_lost_node_is_replaced_by_another_host(cluster: Cluster, alone: list[dict[str, Any]]) -> None:
    """Its sink's name and its rank go on elsewhere, from the rank's first position; once it is back, its sink ends.

    It says who has its place. The replacement goes on, and nothing is trained on twice.
    """
    nodes = start(cluster)
    nodes[0].ask(8)
    nodes[1].ask(EACH - 2)
    nodes[1].host.plug(into_switch=False)
    until(lost(cluster), "the ventilator to notice")
    other = Node(cluster, "node-2", 1, 2, name="node-1")
    other.ask(10)
    assert [10, 10] == [nodes[0].answer()["batches"], other.answer()["batches"]]
    assert nodes[1].sink.runs, nodes[1].sink.said
    nodes[1].host.plug(into_switch=True)
    until(lambda: not nodes[1].sink.runs, "the sink that was replaced to end")
    assert 2 == nodes[1].sink.wait()
    assert f"named 'node-1' serves at {cluster.at('node-2', 5556)}, and lives" in nodes[1].sink.said
    nodes[0].ask(EACH - 10)
    other.ask(EACH - 10)
    assert alone == [nodes[0].answer(), other.answer()]
    until(lambda: ["node-0", "node-1"] == cluster.status("ventilator").get("sinks"), "both sinks")
    assert 1 == cluster.jobs["ventilator"].said.count("sink refused")


def test_items_that_fail_shift_the_batches_of_both_nodes(cluster: Cluster, photos: Path, tmp_path: Path) -> None:
    """Each is the same for both, whoever had its samples; one node is lost meanwhile, and told of them when it is back.

    What fails is known to the ventilator first, and moves which samples are in whose batch.
    """
    cluster.photos = shutil.copytree(photos, tmp_path / "broken")
    for number in range(5, 60, 5):
        (cluster.photos / "cat" / f"{number:04}.jpg").write_bytes(b"no image")
    cluster.spec = make_spec(cluster.photos, train=make_stream(failure_budget=1.0))
    found = read_in_step(cluster.spec, 2, 2)
    each = len(found[0])
    assert len(found[1]) == each < EACH
    nodes = start(cluster)
    for node in nodes:
        node.ask(each - 2)
    nodes[1].host.plug(into_switch=False)
    until(lost(cluster), "the ventilator to notice")
    assert {"batches": each, "digest": digest(found[0])} == nodes[0].answer()
    nodes[1].host.plug(into_switch=True)
    assert {"batches": each, "digest": digest(found[1])} == nodes[1].answer()


def test_the_ventilator_s_host_drops_off_and_comes_back(cluster: Cluster, alone: list[dict[str, Any]]) -> None:
    """Until all have noticed: what was decided before is not decided anew, and both ranks have everything."""
    nodes = start(cluster)
    for node in nodes:
        node.ask(EACH - 2)
    cluster.hosts["ventilator"].plug(into_switch=False)
    until(
        lambda: not any(cluster.status(name).get("ready") for name in ("a", "b", "node-0", "node-1")), "all to notice"
    )
    cluster.hosts["ventilator"].plug(into_switch=True)
    assert alone == [node.answer() for node in nodes]


def test_two_nodes_over_ipv6(cluster: Cluster, alone: list[dict[str, Any]]) -> None:
    """Each sink finds its own address towards the ventilator, and workers reach both."""
    cluster.use_six()
    nodes = start(cluster)
    assert alone == read_on(nodes)

    def reaches_both() -> bool:
        """Return whether a worker has links to both sinks; one that was lost for a moment opens them anew."""
        used = cluster.hosts["a"].run("ss", "-Htn", "state", "established")
        return all(f"[{node.host.address6}]:5556" in used for node in nodes)

    until(reaches_both, "links to both sinks")


def test_samples_take_the_network_that_is_advertised(cluster: Cluster, alone: list[dict[str, Any]]) -> None:
    """Workers and nodes are in two networks: nodes admit samples by the second one alone, and are told nothing else."""
    nodes = start(cluster, two_networks=True)
    assert alone == read_on(nodes)
    samples = [node.host.received("eth1") for node in nodes]
    assert min(samples) > sum(node.host.received("eth0") for node in nodes) / 2, samples
    assert [0, 0] == [node.host.dropped() for node in nodes]


def test_wrong_clocks_of_sinks_and_ventilator_change_nothing(cluster: Cluster, alone: list[dict[str, Any]]) -> None:
    """Their wall clocks are years apart, one goes too fast, and both jump in the midst; no deadline knows of it."""
    clock = Clock(cluster.lab.folder / "clock", "+3000d x1.5")
    other = Clock(cluster.lab.folder / "other-clock", "-2000d")
    nodes = start(cluster, other, env=clock.env)
    read_on(nodes, 10)
    clock.turn("-1000d")
    other.turn("+4000d")
    assert alone == read_on(nodes, EACH - 12)
    now = datetime.now(UTC).year
    assert max(_years(nodes[0].sink)) > now + 5, "the sink's clock was wrong"
    assert min(_years(cluster.jobs["ventilator"])) < now - 3, "the ventilator's clock was wrong"


def _years(job: Job) -> list[int]:
    """Return the years that the lines of a log bear."""
    return [int(json.loads(line)["timestamp"][:4]) for line in job.said.splitlines() if line.startswith("{")]


def test_a_sink_without_a_ventilator_serves_what_it_has(cluster: Cluster, alone: list[dict[str, Any]]) -> None:
    """It is cut off from the ventilator, not from its trainer and workers; nobody trains on anything twice.

    The trainer asks for two batches at most before it has consumed them, and gets three times as many meanwhile: what
    the other rank has trained on before was decided for both sinks.
    """
    [stream] = cluster.spec["streams"].values()
    cluster.spec["streams"] = {"train": stream | {"window_mb": 2.0}}
    nodes = start(cluster, prefetch=1)
    nodes[0].ask(8)
    assert 10 == nodes[0].answer()["batches"]
    nodes[1].host.filter("OUTPUT", "-p", "tcp", "--dport", "5555", "-j", "DROP")
    nodes[1].host.filter("INPUT", "-p", "tcp", "--sport", "5555", "-j", "DROP")
    nodes[0].ask(EACH - 10)
    until(lost(cluster), "the ventilator to notice")
    nodes[1].ask(6)
    assert 8 == nodes[1].answer()["batches"]
    assert lost(cluster)(), "it is still cut off"
    assert alone[0] == nodes[0].answer()
    nodes[1].host.open()
    nodes[1].ask(EACH - 8)
    assert alone[1] == nodes[1].answer()


def made(cluster: Cluster, which: str) -> float:
    """Return the bytes of samples that both workers say they sent, or, of them, for the sink on their node."""
    pages = [fetch(str(cluster.lab.folder / f"node-{rank}-worker.sock"), "/metrics")[1].decode() for rank in range(2)]
    name = f"penstock_worker_{which}_bytes_total "
    return sum(float(line.removeprefix(name)) for page in pages for line in page.splitlines() if line.startswith(name))


def test_samples_that_are_made_on_their_node_do_not_cross_the_network(cluster: Cluster, photos: Path) -> None:
    """Each node has a worker of its own: what comes in by the nodes' cables is no more than what was made elsewhere."""
    transform = {"patch": {"kind": "random", "height": 64, "width": 64}}
    stream = make_stream(transform=transform, patches=4, mix=1, window_mb=4.0)  # a task is a batch: it is one rank's
    cluster.spec = make_spec(photos, train=stream)
    wanted = read_in_step(cluster.spec, 2, 2)
    sizes = [sum(batch["image"].nbytes for batch in batches) for batches in wanted]
    cluster.start_ventilator()
    nodes = [Node(cluster, f"node-{rank}", rank, 2) for rank in range(2)]
    for node in nodes:
        node.start_worker()
    until(lambda: all(cluster.status(f"{node.name}-worker").get("ready") for node in nodes), "both workers")
    until(lambda: ["node-0", "node-1"] == cluster.status("ventilator").get("sinks"), "both sinks")
    for batches in wanted:
        assert 30 == len(batches)
    before = [node.host.received("eth0") for node in nodes]
    assert [digest(batches) for batches in wanted] == [answer["digest"] for answer in read_on(nodes, 30)]
    came = sum(node.host.received("eth0") for node in nodes) - sum(before)
    # How many are made near depends on how much processor time each worker got; some samples may be made twice.
    until(
        lambda: came < made(cluster, "sent") - made(cluster, "near") + 0.1 * sum(sizes), f"{came} bytes to be far ones"
    )
    assert 0 < made(cluster, "near")
