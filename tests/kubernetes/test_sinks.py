"""Two sinks of one stream, each of which serves a rank: one of them is deleted in mid-epoch, and comes back."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes.deployed import Deployed, Trainer
from support.streams import digest, read_in_step

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

RANKS = 2


@pytest.fixture(scope="module")
def references(spec: Path, data: Path) -> list[list[str]]:
    """Return the digests of each rank's batches of two epochs in an undisturbed local run, which has one sink."""
    local = tomllib.loads(spec.read_text()) | {"roots": {"images": str(data)}}
    return [[digest([batch]) for batch in batches] for batches in read_in_step(local, RANKS, 2)]


@pytest.fixture
def sinks(deployed: Deployed) -> Iterator[list[str]]:
    """Have a sink for each rank, by their pods' names; one at the end, as the other tests expect it."""
    deployed.kubectl("scale", "statefulset/sink", f"--replicas={RANKS}")
    deployed.rolled_out("sink")
    yield [f"sink-{number}.sink" for number in range(RANKS)]
    deployed.kubectl("scale", "statefulset/sink", "--replicas=1")
    deployed.rolled_out("sink")


def test_each_rank_reads_from_a_sink_of_its_own(
    deployed: Deployed, sinks: list[str], trainer: Callable[..., Trainer], references: list[list[str]]
) -> None:
    """Each rank gets what one sink would give it, though the second sink is deleted in mid-epoch."""
    deployed.scale(2)
    assert len(sinks) == len({pod["spec"]["nodeName"] for pod in deployed.pods("sink")}), "each node has one"
    ranks = [trainer(sink, rank, RANKS) for rank, sink in enumerate(sinks)]
    for each in ranks:
        each.want(5)
    for each in ranks:
        each.wait()
    deployed.kubectl("delete", "pod", "sink-1")
    for each in ranks:
        each.want(len(references[0]))
    for each in ranks:
        each.wait(seconds=240)
    assert references == [each.taken() for each in ranks]
    deployed.rolled_out()
