"""Batches for JAX: numpy arrays, or global arrays over a mesh of devices, in one process and in two."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.streams import held_ports

from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.torch]

#: Sums every batch on all devices, resumes after 4 batches, and writes what this process got. Its arguments: ADDRESS
#: FOLDER, and in a job of several processes COORDINATOR COUNT INDEX.
PROGRAM = """
import sys
import numpy as np, jax, penstock
from jax.sharding import Mesh, NamedSharding, PartitionSpec
address, folder, *job = sys.argv[1:]
if job:
    jax.distributed.initialize(job[0], int(job[1]), int(job[2]))
sharding = NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch"))
total = jax.jit(lambda image: image.astype("float32").sum(), donate_argnums=0)
feed = penstock.connect(address, "full")
loader, sums, items = feed.jax(sharding), [], []
def train(batches, most=None):
    for batch in batches:
        assert batch["image"].shape[0] == 8 * jax.process_count(), batch["image"].shape
        assert len(batch["image"].sharding.device_set) == jax.device_count()
        items.extend(int(i) for shard in batch["item"].addressable_shards for i in np.asarray(shard.data))
        sums.append(float(total(batch["image"])))
        if len(sums) == most:
            return
train(loader, 4)
state = loader.state_dict()
feed.close()
feed = penstock.connect(address, "full")
loader = feed.jax(sharding)
loader.load_state_dict(state)
train(loader)
feed.close()
np.savez(f"{folder}/{jax.process_index()}.npz", sums=sums, items=items)
"""


def run(arguments: list[list[str]], devices: int) -> None:
    """Run one process for each list of arguments, with so many simulated devices each, until all have ended."""
    environ = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, *each], env=environ, stderr=subprocess.PIPE, text=True)
        for each in arguments
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(said)[-3000:]


def test_batches_are_sharded_over_the_devices_of_a_mesh(stack: LocalStack, tmp_path: Path) -> None:
    """Each batch over four devices, resumed in mid-epoch to the very next batch: the sums of the plain feed."""
    expected = [int(batch["image"].sum()) for batch in stack.feed("full")]
    run([[stack.address, str(tmp_path)]], devices=4)
    assert expected == np.load(tmp_path / "0.npz")["sums"].tolist()


def test_two_processes_are_two_ranks(stack: LocalStack, tmp_path: Path) -> None:
    """Neither is told its rank: both compute the sums over global batches, and each item comes once."""
    with held_ports(1) as [port]:
        run([[stack.address, str(tmp_path), f"127.0.0.1:{port}", "2", str(index)] for index in range(2)], devices=2)
    parts = [np.load(tmp_path / f"{index}.npz") for index in range(2)]
    assert np.array_equal(parts[0]["sums"], parts[1]["sums"])
    items = np.concatenate([part["items"] for part in parts])
    assert len(items) == len(np.unique(items)) == 16 * len(parts[0]["sums"])


def test_without_a_sharding_batches_are_numpy_arrays(stack: LocalStack) -> None:
    """Those of the feed, as tuples of the fields that were asked for."""
    expected = next(iter(stack.feed("train")))
    image, label = next(iter(stack.feed("train").jax(fields=("image", "label"))))
    assert np.array_equal(expected["image"], image)
    assert np.array_equal(expected["label"], label)
