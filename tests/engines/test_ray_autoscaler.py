"""`penstock.ray` with Ray's own autoscaler: workers that are needed bring nodes, and those that go let nodes go."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray  # pyright: ignore[reportMissingImports]
from engines.conftest import ALONE, PATIENCE_S, SETTINGS, References
from engines.ray_autoscaler import NODE_CPUS, AutoscalingCluster
from support.streams import digest, take, until

import penstock.ray

pytestmark = [pytest.mark.engines, pytest.mark.slow]

#: Opinions on the number of workers count after seconds, as the tests' patience has it.
SCALING = {"WORKERS_UP_S": "1", "WORKERS_DOWN_S": "3"}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AutoscalingCluster]:
    """Return a cluster whose head has no processor for workers."""
    environment = {f"PENSTOCK_{name}": value for name, value in (SETTINGS | SCALING).items()}
    environment["RAY_AUTH_MODE"] = "disabled"  # `ray start` would ask for the token of a user who has one
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with AutoscalingCluster(tmp_path, environment) as running:
        until(lambda: "Ray runtime started" in running.said(), "Ray to start", PATIENCE_S)
        ray.init(address=running.address)
        yield running
        ray.shutdown()


def nodes() -> int:
    """Return how many nodes there are besides the head."""
    return sum(bool(node["Alive"]) for node in ray.nodes()) - 1


def test_workers_bring_nodes_and_let_them_go(cluster: AutoscalingCluster, spec: Path, reference: References) -> None:
    """A trainer that reads gets a worker, for which Ray adds a node; both go when it has left. So do asked for ones.

    Workers that leave are drained: the batches are those of an undisturbed run.
    """
    del cluster

    def have(workers: int, places: int) -> None:
        until(lambda: workers == len(stack.snapshot().workers), f"{workers} workers", PATIENCE_S)
        until(lambda: places == nodes(), f"{places} nodes", PATIENCE_S)

    with penstock.ray.start(spec, workers=(0, NODE_CPUS)) as stack:
        assert 0 == nodes()
        with stack.feed(timeout_s=PATIENCE_S) as feed:
            got = take(feed, 10)
            assert 1 == nodes()
        have(0, 0)  # no trainer reads
    with penstock.ray.start(spec, workers=1) as stack, stack.feed(timeout_s=PATIENCE_S) as feed:
        have(1, 1)
        again = take(feed, 20)
        stack.scale(NODE_CPUS + 1)
        have(NODE_CPUS + 1, 2)
        again += take(feed, 20)
        stack.scale(1)
        again += take(feed, 20)
        have(1, 1)
        until(
            lambda: NODE_CPUS == stack.snapshot().lost.get("worker left"),
            "the goodbye of both: neither died",
            PATIENCE_S,
        )
        again += take(feed, ALONE - len(again))
    for batches in (got, again):
        assert reference[1][0][: len(batches)] == [digest([batch]) for batch in batches]
