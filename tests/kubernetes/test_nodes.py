"""Nodes that are emptied by an administrator, or lost: what runs on them moves, and a trainer notices nothing."""

import threading
from collections.abc import Callable

import pytest
from kubernetes.deployed import Deployed, Trainer
from kubernetes.namespaces import COMMAND_S
from support.streams import until

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

MakeTrainer = Callable[[], Trainer]
#: Batches of two epochs.
ALL = 46


def test_a_drain_takes_one_worker_of_four_at_a_time(
    deployed: Deployed, trainer: MakeTrainer, reference: list[str]
) -> None:
    """The disruption budget holds while a node is emptied: three of four workers are ready at any time."""
    deployed.scale(4)
    mine = trainer()
    mine.take(5)
    workers = [pod["spec"]["nodeName"] for pod in deployed.pods("worker")]
    node = max(deployed.cluster.nodes, key=workers.count)
    assert 2 <= workers.count(node), "workers are spread over the nodes"
    fewest: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            found = deployed.cluster.get("deployment/worker", "--namespace=penstock")
            fewest.append(found["status"].get("availableReplicas", 0))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        drain = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=200s")
        deployed.cluster.kubectl(*drain, seconds=240)
    finally:
        over.set()
        watching.join()
    assert 3 == min(fewest), "one at a time, and never more"
    assert node not in {
        pod["spec"]["nodeName"] for part in ("ventilator", "sink", "worker") for pod in deployed.pods(part)
    }
    deployed.cluster.kubectl("uncordon", node)
    mine.take(ALL - 5)
    assert reference == mine.taken()
    deployed.rolled_out()


def test_a_lost_node_is_done_without(deployed: Deployed, trainer: MakeTrainer, reference: list[str]) -> None:
    """The node of the sink loses its power; once the administrator has removed it, the other one runs everything."""
    deployed.scale(2)
    mine = trainer()
    mine.take(7)
    lost = deployed.pods("sink")[0]["spec"]["nodeName"]
    deployed.cluster.lose(lost)

    def is_ready() -> bool:
        known = deployed.cluster.get(f"node/{lost}")["status"]["conditions"]
        return any("Ready" == each["type"] and "True" == each["status"] for each in known)

    until(lambda: not is_ready(), "the cluster to notice", COMMAND_S)
    deployed.cluster.kubectl("delete", "node", lost)
    mine.take(ALL - 7, seconds=300)
    assert reference == mine.taken()
    deployed.rolled_out()
    until(lambda: 2 == len(deployed.pods("worker")), "no more pods of workers than are wanted", COMMAND_S)
