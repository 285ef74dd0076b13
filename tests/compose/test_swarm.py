"""The stack of `deploy/swarm.yml` on a real swarm of one node, as docs/swarm.md says it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose.project import COMMAND_S, docker
from compose.swarm import Swarm, change, deployed
from support.services.running import PENSTOCK, running
from support.streams import Batch, digest, take, until

pytestmark = [pytest.mark.compose, pytest.mark.slow]

#: Batches of two epochs.
ALL = 46


@pytest.fixture(scope="module")
def node(engine: None) -> Iterator[None]:
    """Make the engine a swarm of one node, unless it is in one."""
    del engine
    mine = "inactive" in docker("info", "--format", "{{.Swarm.LocalNodeState}}")
    if mine:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    yield
    if mine:
        docker("swarm", "leave", "--force")


@pytest.fixture
def swarm(root: Path, images: tuple[str, ...], node: None, data: Path, spec: Path, tmp_path: Path) -> Iterator[Swarm]:
    """Return a running stack without workers."""
    del images, node
    with deployed(root, tmp_path, DATA=data, SPEC=spec) as running_stack:
        yield running_stack


def test_a_swarm_trains_through_kills_scaling_and_a_rollout(swarm: Swarm, reference: list[Batch]) -> None:
    """Two epochs while workers come and go, while a container of each kind is killed and the workers are rolled out.

    The first worker is brought by `penstock autoscale`; the bytes are those of an undisturbed local run. Workers that
    are replaced or scaled away say goodbye: they drain.
    """
    apply = f"docker service scale --detach {swarm.name}_worker={{workers}}"
    address, bundle = f"tcp://127.0.0.1:{swarm.status_port}", swarm.bundles / "trainer.keys"
    patience = str(COMMAND_S)
    command = [
        PENSTOCK,
        "autoscale",
        address,
        "--keys",
        str(bundle),
        "--wait-s",
        patience,
        "--apply",
        apply,
        "--most",
        "1",
    ]
    with swarm.feed() as feed:
        with running(command):
            got = take(feed, 3)
            assert 1 == len(swarm.containers("worker"))
        swarm.scale(3)
        got += take(feed, 5)
        for part in ("worker", "sink", "ventilator"):
            swarm.kill(part)
            got += take(feed, 6)
        swarm.has(3)
        old = set(swarm.containers("worker"))
        change("update", "--force", "--detach", f"{swarm.name}_worker")
        got += take(feed, 6)
        until(lambda: not old & set(swarm.containers("worker")), "other workers than before", COMMAND_S)
        swarm.has(3)
        swarm.scale(1)
        got += take(feed, ALL - len(got))
        until(
            lambda: swarm.look().lost.get("worker left", 0) >= len(old) + 2, "the goodbye of all that went", COMMAND_S
        )
    assert digest(reference) == digest(got)


def test_a_stack_without_its_variables_is_refused_in_words(root: Path, engine: None) -> None:
    """A variable that is missing is named with what it is for; the engine names one of them."""
    del engine
    assert shutil.which("docker")
    command = ["docker", "stack", "deploy", "--compose-file", "deploy/swarm.yml", "penstock-test-none"]
    unset = {name: value for name, value in os.environ.items() if name not in ("DATA", "KEYS")}
    done = subprocess.run(command, cwd=root, env=unset, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert 0 != done.returncode
    assert "set DATA to the folder of images" in done.stderr or "set KEYS to the folder with" in done.stderr
