"""Ventilator, sink, workers and trainer on hosts of their own: the same bytes, whatever becomes of the network."""

import pytest
from hosts.cluster import Cluster
from hosts.conftest import BATCHES

pytestmark = pytest.mark.hosts


def test_one_address_one_root_and_a_key_make_a_worker(cluster: Cluster, reference: str) -> None:
    """Nobody was told where the sink is but the trainer; no name can be resolved; no path is the ventilator's."""
    cluster.start_all(["a", "b"])
    assert {"batches": BATCHES, "digest": reference} == cluster.read(BATCHES)
