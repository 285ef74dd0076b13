"""`penstock.ray` on a real cluster of Ray: raylets and services are killed, workers move, ranks of Ray Train read.

Whatever happens, the trainer gets the batches of an undisturbed local run, each exactly once.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray  # pyright: ignore[reportMissingImports]
from engines.conftest import ALONE, EPOCHS
from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]
from ray.train import RunConfig, ScalingConfig  # pyright: ignore[reportMissingImports]
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # pyright: ignore[reportMissingImports]
from support.streams import digest, take, until

import penstock.ray
from penstock.protocol.errors import SpecError, StackError

pytestmark = [pytest.mark.engines, pytest.mark.slow]

#: Settings of the services that reach them as a user's would: losses are noticed within seconds.
SETTINGS = {"HEARTBEAT_S": "0.2", "SILENCE_S": "2", "CONFIRM_S": "1", "HEDGE_S": "0.5", "ATTEMPTS": "50"}
#: Longest that Ray may take to notice a loss and to start actors anew (s).
PATIENCE_S = 120.0

References = dict[int, list[list[str]]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Return three raylets, of which the first runs the services and this program."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(f"PENSTOCK_{name}", value)
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))  # workers of Ray Train import this module
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        for _ in range(2):
            found.add_node(num_cpus=3)
        ray.init(address=found.address)
        yield found
        ray.shutdown()
        found.shutdown()


def digests(batches: list[Any]) -> list[str]:
    """Return the digest of each batch."""
    return [digest([batch]) for batch in batches]


def test_a_killed_node_costs_nothing(cluster: Cluster, spec: Path, reference: References) -> None:
    """A raylet dies in mid-epoch with all that runs there; its worker comes back on another node."""
    with penstock.ray.start(spec, workers=4) as stack:
        until(lambda: 4 == len(stack.snapshot().workers), "all workers", PATIENCE_S)
        feed = stack.feed(prefetch=2)
        got = take(feed, 20)
        killed = next(node for node in cluster.list_all_nodes() if node is not cluster.head_node)
        cluster.remove_node(killed, allow_graceful=False)
        got += take(feed, 40)
        until(lambda: 4 == len(stack.snapshot().workers), "all workers again", PATIENCE_S)
        got += take(feed, ALONE - len(got))
        feed.close()
    cluster.add_node(num_cpus=3)
    assert reference[1][0] == digests(got)


def test_killed_services_are_started_again(cluster: Cluster, spec: Path, reference: References) -> None:
    """The actor with ventilator and sink is killed, and its services with it: a feed goes on by itself."""
    del cluster
    with penstock.ray.start(spec, workers=2) as stack:
        feed = stack.feed(prefetch=2)
        got = take(feed, 20)
        pid = ray.get(stack._actor.__ray_call__.remote(lambda _: os.getpid()), timeout=PATIENCE_S)
        os.kill(pid, signal.SIGKILL)
        got += take(feed, ALONE - len(got))
        feed.close()
    assert reference[1][0] == digests(got)


def train(known: dict[str, Any]) -> None:
    """Write down what this rank of Ray Train gets."""
    feed = penstock.ray.connect(prefetch=2)
    found = [digest([batch]) for _ in range(EPOCHS) for batch in feed]
    rank = ray.train.get_context().get_world_rank()
    Path(known["folder"], f"rank-{rank}.json").write_text(json.dumps(found))


# Ray Data, which Ray Train imports, warns about its own settings.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_rank_of_ray_train_gets_its_batches(
    cluster: Cluster, spec: Path, tmp_path: Path, reference: References
) -> None:
    """Two ranks of Ray Train connect without an address or a number: both come from Ray."""
    del cluster
    with penstock.ray.start(spec, workers=2):
        DataParallelTrainer(
            train,
            train_loop_config={"folder": str(tmp_path)},
            scaling_config=ScalingConfig(num_workers=2),
            run_config=RunConfig(storage_path=str(tmp_path / "ray")),
        ).fit()
    assert reference[2] == [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]


def test_what_cannot_be_is_refused_in_words(cluster: Cluster, spec: Path) -> None:
    """Several sinks, a stack that is not there, a number that follows the need."""
    del cluster
    with pytest.raises(SpecError, match="sinks = 2: several sinks are not supported yet"):
        penstock.ray.start(spec, sinks=2)
    with pytest.raises(StackError, match=r"no such stack in this Ray job: call penstock.ray.start first"):
        penstock.ray.connect(name="none")
    with penstock.ray.start(spec, workers=(0, 1)) as stack, pytest.raises(StackError, match="scales by itself"):
        stack.scale(2)
