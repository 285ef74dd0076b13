"""The tier of engines that run on this machine: a stream, what an undisturbed local run of it gives, a cluster."""

import importlib.util
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import slurm_cluster
from support.streams import Batch, digest, epochs, make_images, run_stack

from penstock.trainer.client.feed import Feed

SPEC = """
seed = 11
roots = {{ photos = "{photos}" }}

[streams.train]
source = {{ kind = "directory", root = "photos" }}
patches = 3
mix = 8
task_items = 4
batch_size = 8
window_mb = 0.1

[streams.train.transform]
patch = {{ kind = "random", height = 32, width = 40 }}
augment = {{ horizontal_flip = true }}
"""
#: Other tiers do without these packages, and leave these tests out anyway.
_NEEDS = {
    "test_kubernetes_files.py": "kubernetes_validate",
    "test_ray.py": "ray",
    "test_ray_autoscaler.py": "ray",
    "test_ray_end.py": "ray",
}
collect_ignore = [test for test, package in _NEEDS.items() if not importlib.util.find_spec(package)]
#: Epochs that each test trains for; batches of one rank in them, of one rank alone and of each of two.
EPOCHS, ALONE, OF_TWO = 2, 90, 46
#: Longest that an engine may take to get anywhere (s): each asks lost nodes for half a minute before it acts.
PATIENCE_S = 300.0
#: Settings of the services that reach them as a user's would: losses are noticed within seconds.
SETTINGS = {"HEARTBEAT_S": "0.2", "SILENCE_S": "2", "CONFIRM_S": "1", "HEDGE_S": "0.5", "ATTEMPTS": "50"}

#: The digests of the batches of each rank, by world size.
References = dict[int, list[list[str]]]


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a user's spec: 120 JPEG files, 360 samples an epoch."""
    folder = tmp_path_factory.mktemp("stream")
    path = folder / "spec.toml"
    path.write_text(SPEC.format(photos=make_images(folder / "photos")))
    return path


@pytest.fixture(scope="session")
def reference(spec: Path) -> References:
    """Return the digests of the batches of each rank in an undisturbed local run, of one, two and four ranks."""
    with run_stack(spec, workers=2) as stack:  # type: ignore[arg-type] # a path is a spec, too
        return {
            world_size: _of_ranks([stack.feed(rank=rank, world_size=world_size) for rank in range(world_size)])
            for world_size in (1, 2, 4)
        }


def _of_ranks(feeds: list[Feed]) -> list[list[str]]:
    found: list[list[Batch]] = [[] for _ in feeds]

    def read(rank: int) -> None:
        found[rank] = epochs(feeds[rank], EPOCHS)

    threads = [threading.Thread(target=read, args=(rank,)) for rank in range(len(feeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for feed in feeds:
        feed.close()
    return [[digest([batch]) for batch in batches] for batches in found]


@pytest.fixture(scope="session")
def cluster() -> Iterator[slurm_cluster.Cluster]:
    """Return a Slurm cluster of three nodes, in a folder whose path is short enough for its sockets."""
    if why := slurm_cluster.missing():
        pytest.skip(f"NOT TESTED ON SLURM: {why}")
    with (
        tempfile.TemporaryDirectory(prefix="penstock-slurm-") as folder,
        slurm_cluster.Cluster(Path(folder), ("n1", "n2", "n3")) as running,
    ):
        yield running
