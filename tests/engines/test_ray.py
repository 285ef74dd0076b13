"""`penstock.ray` on a real cluster of Ray: raylets and services are killed, workers move, ranks of Ray Train read.

Whatever happens, the trainer gets the batches of an undisturbed local run, each exactly once.
"""

import dataclasses
import json
import os
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray  # pyright: ignore[reportMissingImports]
from engines.conftest import ALONE, EPOCHS, OF_TWO, PATIENCE_S, SETTINGS, References
from engines.ray_actors import call_inside, digests, lost, node_of, pid_of, sinks_of, spoil, workers_of
from engines.recording_trainer import Recorder
from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]
from ray.train import FailureConfig, RunConfig, ScalingConfig  # pyright: ignore[reportMissingImports]
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # pyright: ignore[reportMissingImports]
from support.streams import take, until

import penstock.ray
from penstock.protocol.errors import SpecError, StackError

pytestmark = [pytest.mark.engines, pytest.mark.slow]

#: What each node but the first has.
NODE: dict[str, Any] = {"num_cpus": 4, "resources": {"place": 2}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Return three raylets, of which the first runs the services and this program."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(f"PENSTOCK_{name}", value)
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))  # workers of Ray Train import this module
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "300")  # they take their time on a busy machine
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default: other programs of this machine would starve them
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        for _ in range(2):
            found.add_node(**NODE)
        ray.init(address=found.address)
        yield found
        ray.shutdown()
        found.shutdown()


def test_a_killed_node_costs_nothing(cluster: Cluster, spec: Path, reference: References) -> None:
    """A raylet dies in mid-epoch with all that runs there; its worker comes back on another node."""
    with penstock.ray.start(spec, workers=4) as stack:
        until(lambda: 4 == len(stack.snapshot().workers), "all workers", PATIENCE_S)
        places = [node_of(actor) for actor in workers_of(stack)]
        feed = stack.feed(prefetch=2)
        got = take(feed, 20)
        others = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]
        killed = max(others, key=lambda node: places.count(node.node_id))
        there = places.count(killed.node_id)
        assert there > 0, "the first node has room for two"
        cluster.remove_node(killed, allow_graceful=False)
        until(lambda: there <= lost(stack), "the loss to be noticed", PATIENCE_S)
        got += take(feed, 40)
        until(lambda: 4 == len(stack.snapshot().workers), "all workers again", PATIENCE_S)
        assert killed.node_id not in [node_of(actor) for actor in workers_of(stack)]
        got += take(feed, ALONE - len(got))
        feed.close()
    cluster.add_node(**NODE)
    assert reference[1][0] == digests(got)


def test_killed_services_are_started_again(cluster: Cluster, spec: Path, reference: References) -> None:
    """The actor with ventilator and sink is killed, and its services with it: a feed goes on by itself.

    As many workers as were asked for come back, not as many as the stack was started with.
    """
    del cluster
    with penstock.ray.start(spec, workers=1) as stack:
        stack.scale(2)
        feed = stack.feed(prefetch=2)
        got = take(feed, 20)
        os.kill(pid_of(stack._actor), signal.SIGKILL)
        got += take(feed, ALONE - len(got))
        feed.close()
        until(lambda: 2 == len(stack.snapshot().workers), "both workers again", PATIENCE_S)
        assert 2 == len(workers_of(stack))
    assert reference[1][0] == digests(got)


def test_workers_that_cannot_run_give_their_place_back_and_are_told(cluster: Cluster, spec: Path) -> None:
    """Keys that no worker can read, keys that an actor cannot even write, an error of Ray itself.

    Each is told; actors that fail go and are made anew, so workers come once nothing hinders them.
    """
    del cluster

    def fail(own: Any) -> None:
        def refuse(_: int) -> None:
            raise ray.exceptions.RpcError("the GCS restarts")

        own._workers.set = refuse

    def repair(own: Any) -> None:
        del own._workers.set

    def inside(act: Callable[..., Any], *given: object) -> Any:
        return call_inside(stack, act, *given)

    def told(words: str) -> None:
        until(lambda: words in stack.failure(), f"{words}: {stack.failure()}", PATIENCE_S)

    with penstock.ray.start(spec, workers=0) as stack:
        keys = inside(lambda own: own._workers._settings.keys["worker"])
        inside(spoil, "no keys\n")
        stack.scale(1)
        told("workers cannot run: worker-0 cannot run: ")
        inside(spoil, 7)
        told("workers cannot run: TypeError: ")
        inside(spoil, keys)
        until(lambda: 1 == len(stack.snapshot().workers), "a worker", PATIENCE_S)
        assert 1 == len(workers_of(stack))
        inside(fail)
        stack.scale(2)
        log = Path(inside(lambda _: ray._private.worker._global_node.get_session_dir_path()), "logs")
        said = "the workers stay as they are for now: RpcError: the GCS restarts"
        until(lambda: any(said in path.read_text() for path in log.glob("worker-*.out")), said, PATIENCE_S)
        inside(repair)
        until(lambda: 2 == len(stack.snapshot().workers), "both workers", PATIENCE_S)


def test_a_failure_is_forgotten_though_some_workers_wait_for_a_node(cluster: Cluster, spec: Path) -> None:
    """After a while without another one. A number of workers that cannot be kept for a restart holds nevertheless."""
    del cluster

    def make_larger_than_nodes(own: Any) -> None:
        own._workers._settings = dataclasses.replace(own._workers._settings, workers_per_actor=NODE["num_cpus"] + 1)

    def hurry(_: object) -> None:
        vars(sys.modules["penstock.ray.workers"])["_WELL_S"] = 1.0

    def keep_nowhere(own: Any) -> None:
        own._kept.path = Path("/dev/null/workers")

    with penstock.ray.start(spec, workers=0) as stack:
        keys = call_inside(stack, lambda own: own._workers._settings.keys["worker"])
        call_inside(stack, spoil, "no keys\n")
        call_inside(stack, keep_nowhere)
        stack.scale(1)
        until(stack.failure, "the failure", PATIENCE_S)
        call_inside(stack, spoil, keys)
        until(lambda: 1 == len(stack.snapshot().workers), "a worker", PATIENCE_S)
        call_inside(stack, make_larger_than_nodes)
        stack.scale(6)
        until(lambda: 2 == len(workers_of(stack)), "an actor that waits for a node", PATIENCE_S)
        call_inside(stack, hurry)
        until(lambda: not stack.failure(), "the failure to be forgotten", PATIENCE_S)
        folder = call_inside(stack, lambda _: ray._private.worker._global_node.get_session_dir_path())
        said = "the number of workers, 6, cannot be kept in /dev/null/workers: Not a directory"
        logs = Path(folder, "logs")
        until(lambda: any(said in path.read_text() for path in logs.glob("worker-*.out")), said, PATIENCE_S)


def test_options_reach_the_workers(cluster: Cluster, tmp_path: Path, spec: Path, reference: References) -> None:
    """Two workers in one actor, a root at another place than the spec says, a cache folder; the logs are Ray's."""
    del cluster
    given = tomllib.loads(spec.read_text())
    photos, given["roots"]["photos"] = given["roots"]["photos"], str(tmp_path / "none")
    given["streams"]["train"]["cache"] = {"gb": 0.1}
    cache = tmp_path / "cache"
    options: dict[str, Any] = {"workers": 2, "workers_per_actor": 2, "roots": {"photos": photos}, "cache": str(cache)}
    with penstock.ray.start(given, **options) as stack, stack.feed() as feed:
        got = take(feed, 20)
        until(lambda: 2 == len(stack.snapshot().workers), "two workers", PATIENCE_S)
        [actor] = workers_of(stack)
        number = actor._actor_id.hex()[:12]
        logs = Path(ray._private.worker._global_node.get_session_dir_path(), "logs/penstock")
        assert any(path.is_file() for path in cache.rglob("*"))
    assert reference[1][0][:20] == digests(got)
    # The raylets of this machine share a session's folder.
    texts = [(logs / f"workers-{number}" / f"worker-{n}.log").read_text() for n in range(2)]
    assert [True, True] == ['"event": "draining"' in text for text in texts]
    services = logs / f"stack-{stack._actor._actor_id.hex()[:12]}"
    assert {"ventilator.log", "sink.log"} == {path.name for path in services.iterdir()}


def train(known: dict[str, Any]) -> None:
    """Write down what this rank of Ray Train gets, after what an earlier start of it has written."""
    rank = ray.train.get_context().get_world_rank()
    with penstock.ray.connect(prefetch=2) as feed:
        Recorder(Path(known["folder"]), known["holds"], rank).record(feed, EPOCHS)


def fit(folder: Path, ranks: int, *holds: int, failures: int = 0) -> None:
    """Run ranks of Ray Train, each at a place of its own on any node but the first."""
    DataParallelTrainer(
        train,
        train_loop_config={"folder": str(folder), "holds": list(holds)},
        scaling_config=ScalingConfig(num_workers=ranks, resources_per_worker={"CPU": 1, "place": 1}),
        run_config=RunConfig(storage_path=str(folder / "ray"), failure_config=FailureConfig(max_failures=failures)),
    ).fit()


def lines(folder: Path, ranks: int) -> list[list[str]]:
    """Return the digests that each rank has written down."""
    texts = [path.read_text() if path.exists() else "" for path in (folder / f"rank-{n}.jsonl" for n in range(ranks))]
    whole = [text[: text.rfind("\n") + 1].splitlines() for text in texts]
    return [[json.loads(line)["digest"] for line in each] for each in whole]


# Ray Data, which Ray Train imports, warns about its own settings.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_rank_of_ray_train_gets_its_batches(
    cluster: Cluster, spec: Path, tmp_path: Path, reference: References
) -> None:
    """Two ranks of Ray Train connect without an address or a number: both come from Ray."""
    del cluster
    with penstock.ray.start(spec, workers=2):
        fit(tmp_path, 2)
    assert reference[2] == lines(tmp_path, 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ranks_read_from_the_sink_of_their_node_whatever_is_killed(
    cluster: Cluster, spec: Path, tmp_path: Path, reference: References
) -> None:
    """Four ranks on two of three nodes; one sink's actor is killed, then a node with its sink and both of its ranks.

    Ray Train starts the ranks again, on the node that was spare before.
    """
    cluster.add_node(**NODE)

    def disturb(stack: penstock.ray.RayStack) -> None:
        def reached(batches: int) -> bool:
            return all(len(each) >= batches for each in lines(tmp_path, 4))

        def readers() -> list[tuple[str, int]]:
            return [(row.name, row.trainers) for row in stack.snapshot().sinks]

        until(lambda: reached(6), "six batches of each rank", PATIENCE_S)
        sinks = sinks_of(stack)
        homes = {name: node_of(actor) for name, actor in sinks.items()}
        assert 2 == len(set(homes.values()))
        assert [(name, f"node-{node[:12]}") for name, node in sorted(homes.items())] == [
            (name, name) for name in sorted(homes)
        ]
        until(lambda: [(name, 2) for name in sorted(homes)] == readers(), "two ranks at each sink", PATIENCE_S)
        first, second = sorted(sinks)
        os.kill(pid_of(sinks[first]), signal.SIGKILL)
        (tmp_path / "go-6").touch()
        until(lambda: reached(15), "15 batches of each rank", PATIENCE_S)
        [lost] = [node for node in cluster.list_all_nodes() if node.node_id == homes[second]]
        cluster.remove_node(lost, allow_graceful=False)
        (tmp_path / "go-15").touch()

    with penstock.ray.start(spec, workers=2, sinks="per-node") as stack, ThreadPoolExecutor() as pool:
        disturbance = pool.submit(disturb, stack)
        fit(tmp_path, 4, 6, 15, failures=2)
        disturbance.result(PATIENCE_S)
        until(lambda: 2 == len(sinks_of(stack)), "the lost node's sink to be forgotten", PATIENCE_S)
    assert reference[4] == lines(tmp_path, 4)


def test_a_sink_of_a_lost_node_moves_to_another_one(cluster: Cluster, spec: Path, reference: References) -> None:
    """Of two sinks, placed as a group, one dies with its raylet; the rank that reads from it finds the new place."""

    def read(rank: int, batches: int) -> list[str]:
        return digests(take(feeds[rank], batches))

    with penstock.ray.start(spec, workers=2, sinks=2) as stack, ThreadPoolExecutor() as pool:
        feeds = [stack.feed(rank=rank, world_size=2, prefetch=2) for rank in range(2)]
        got = list(pool.map(read, range(2), [15, 15]))
        homes = {node_of(actor) for actor in sinks_of(stack).values()}
        assert 2 == len(homes)
        lost = next(
            node for node in cluster.list_all_nodes() if node.node_id in homes and node is not cluster.head_node
        )
        cluster.remove_node(lost, allow_graceful=False)
        rest = list(pool.map(read, range(2), [OF_TWO - 15] * 2))
        for feed in feeds:
            feed.close()
    cluster.add_node(**NODE)
    assert reference[2] == [first + second for first, second in zip(got, rest, strict=True)]


def test_what_cannot_be_is_refused_in_words(cluster: Cluster, spec: Path) -> None:
    """No number of sinks, a stack that is not there, a number that follows the need."""
    del cluster
    with pytest.raises(SpecError, match=r"sinks = 0: give a whole number from 1 to 64.*or 'per-node' for one on every"):
        penstock.ray.start(spec, sinks=0)
    with pytest.raises(StackError, match=r"no such stack in this Ray job: call penstock.ray.start first"):
        penstock.ray.connect(name="none")
    with penstock.ray.start(spec, workers=(0, 1)) as stack, pytest.raises(StackError, match="scales by itself"):
        stack.scale(2)
