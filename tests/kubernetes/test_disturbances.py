"""A stack on a cluster that is scaled, deleted pod by pod, killed and rolled in mid-epoch.

The trainer is a pod too, and takes its batches step by step, so that each disturbance falls between two of them while
most of the epoch is still to be made. It is done with when it has the bytes of an undisturbed local run.
"""

from collections.abc import Callable

import pytest
from kubernetes.deployed import NEXT_TAG, Deployed, Trainer
from kubernetes.namespaces import COMMAND_S
from support.streams import until

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

MakeTrainer = Callable[[], Trainer]
#: Batches of two epochs.
ALL = 46


def goodbyes(deployed: Deployed) -> int:
    """Return how many workers have said goodbye to the ventilator."""
    return len(deployed.events("ventilator", "worker left"))


def test_workers_come_and_go(deployed: Deployed, trainer: MakeTrainer, reference: list[str]) -> None:
    """One worker, four, two, in mid-epoch; who is sent away drains, and none of its tasks is lost."""
    deployed.scale(1)
    left = goodbyes(deployed)
    mine = trainer()
    mine.take(4)
    deployed.scale(4)
    mine.take(12)
    deployed.scale(2)
    mine.take(ALL - 16)
    assert reference == mine.taken()
    # So none of them was waited for; one that stays may be silent for a while on a busy machine.
    until(lambda: left + 2 == goodbyes(deployed), "two workers to have said goodbye", COMMAND_S)


def test_a_deleted_pod_of_each_kind_costs_nothing(
    deployed: Deployed, trainer: MakeTrainer, reference: list[str]
) -> None:
    """A worker, the sink, the ventilator and the trainer itself are deleted one after the other, within two epochs."""
    deployed.scale(2)
    mine = trainer()
    mine.take(6)
    for part in ("worker", "sink", "ventilator"):
        deployed.kubectl("delete", "pod", deployed.pod(part))
        mine.take(8)
    deployed.kubectl("delete", "pod", f"{mine.name}-0")
    mine.take(ALL - len(mine.taken()))
    assert reference == mine.taken()
    deployed.rolled_out()


@pytest.mark.parametrize("part", ["worker", "sink", "ventilator"])
def test_a_killed_process_is_started_again(
    part: str, deployed: Deployed, trainer: MakeTrainer, reference: list[str]
) -> None:
    """It dies within its container, as in a crash: the kubelet starts it, and its pod stays the same."""
    deployed.scale(2)
    mine = trainer()
    mine.take(7)
    victim = deployed.pods(part)[0]
    name, node = victim["metadata"]["name"], victim["spec"]["nodeName"]
    for process in deployed.cluster.nodes[node].processes(name):
        process.kill()
    mine.take(ALL - 7)
    assert reference == mine.taken()

    def starts() -> int:
        [again] = [pod for pod in deployed.pods(part) if pod["metadata"]["name"] == name]
        return int(again["status"]["containerStatuses"][0]["restartCount"])

    until(lambda: 1 <= starts(), "the kubelet to have started it", COMMAND_S)
    deployed.rolled_out()


def test_another_image_of_the_workers_is_rolled_out(
    deployed: Deployed, trainer: MakeTrainer, reference: list[str]
) -> None:
    """New workers start before the old ones drain: at no time are there fewer than before."""
    deployed.scale(3)
    mine = trainer()
    mine.take(5)
    old = {pod["metadata"]["name"] for pod in deployed.pods("worker")}
    left = goodbyes(deployed)
    deployed.kubectl("set", "image", "deployment/worker", f"worker=penstock-worker:{NEXT_TAG}")
    mine.take(10)
    deployed.rolled_out("worker")
    until(
        lambda: not old & {pod["metadata"]["name"] for pod in deployed.pods("worker")}, "the old ones' end", COMMAND_S
    )
    mine.take(ALL - 15)
    assert reference == mine.taken()
    images = {pod["status"]["containerStatuses"][0]["image"] for pod in deployed.pods("worker")}
    assert {f"docker.io/library/penstock-worker:{NEXT_TAG}"} == images
    # So none of them was waited for; one that stays may be silent for a while on a busy machine.
    until(lambda: left + 3 == goodbyes(deployed), "three workers to have said goodbye", COMMAND_S)
