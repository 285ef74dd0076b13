"""The arithmetic of `penstock plan`."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.commands.planning.capacity import BUSY, Costs, Job, plan_capacity

COSTS = Costs(
    worker_s=1e-3,
    sink_s=50e-6,
    trainer_s=20e-6,
    ventilator_s_per_task=200e-6,
    samples_per_task=50,
    sample_bytes=150_000,
    read_bytes=100_000,
)


def needs(costs: Costs, job: Job) -> dict[str, int]:
    """Return how many of each part a job needs."""
    return {need.part: need.count for need in plan_capacity(costs, job).needs}


def test_a_job_that_one_sink_can_serve_gets_one() -> None:
    """8,000 samples/s at 1 ms each keep 8 cores busy, so 10 workers at 80 %; 0.4 cores of a sink are one sink."""
    assert {"workers": 10, "sinks": 1, "ventilator": 1, "feeds": 4} == needs(COSTS, Job(1, 4, 2000, 25))


def test_the_one_sink_of_a_single_node_is_followed_by_more_on_that_node() -> None:
    """A job of several nodes is told to start one on each; where there is one node, that would change nothing."""
    [alone] = [each for each in plan_capacity(COSTS, Job(1, 4, 2000, 25)).limits if each.what == "the one sink"]
    [both] = [each for each in plan_capacity(COSTS, Job(2, 2, 2000, 25)).limits if each.what == "the one sink"]
    assert "start several sinks on the node (--sinks 2)" == alone.advice
    assert "start a sink on each node" == both.advice


def test_a_job_beyond_one_sink_gets_some_on_each_node() -> None:
    """Each of 4 nodes takes 24,000 samples/s, 1.2 cores of a sink: two sinks a node, and no sink is a limit then."""
    capacity = plan_capacity(COSTS, Job(4, 8, 3000, 100))
    assert 8 == next(need.count for need in capacity.needs if need.part == "sinks")
    assert not any("sink" in limit.what for limit in capacity.limits)


def test_one_sink_for_several_nodes_is_bounded_by_its_own_network() -> None:
    """At 150,000 bytes a sample, 10 Gbit/s are 8,333 samples/s: one sink cannot send 10,000 to two nodes."""
    slow = replace(COSTS, sink_s=1e-6)
    assert 1 == needs(slow, Job(2, 1, 4000, 10))["sinks"]
    assert 2 == needs(slow, Job(2, 1, 5000, 10))["sinks"]
    assert 1 == needs(slow, Job(1, 2, 5000, 10))["sinks"], "the trainers run where the sink does"


def test_the_first_limit_is_the_one_that_the_job_reaches_first() -> None:
    """The ventilator saturates at 0.8 / 200 µs × 50 samples/s; a job beyond that does not fit, one below it does."""
    top = BUSY / 200e-6 * 50
    small, large = (plan_capacity(COSTS, Job(100, 8, rate, 1e6)) for rate in (top / 800 * 0.99, top / 800 * 1.01))
    assert "the ventilator's core" == small.limits[0].what
    assert top == pytest.approx(small.limits[0].samples_per_s)
    assert (True, False) == (small.fits, large.fits)


def test_the_network_is_counted_in_bits() -> None:
    """1,000 samples/s of 100,000 bytes read and 150,000 bytes sent are 0.8 and 1.2 Gbit/s."""
    capacity = plan_capacity(COSTS, Job(2, 1, 500, 25))
    assert (0.8, 1.2, 0.6) == pytest.approx((capacity.read_gbit, capacity.made_gbit, capacity.node_gbit))


def test_what_a_node_s_own_workers_make_does_not_cross_the_network() -> None:
    """At 1 ms a sample, 10 workers make 8,000/s of a node's 24,000: a third; files of these come in instead."""
    capacity = plan_capacity(COSTS, Job(4, 8, 3000, 100, workers_per_node=10))
    assert pytest.approx(1 / 3) == capacity.near
    assert pytest.approx(4 * 16_000 * 150_000 * 8 / 1e9) == capacity.crossing_gbit
    assert pytest.approx((16_000 * 150_000 + 8_000 * 100_000) * 8 / 1e9) == capacity.node_gbit
    assert 30 == capacity.near_workers
    all_near = plan_capacity(COSTS, Job(4, 8, 3000, 100, workers_per_node=30))
    assert (1.0, 0.0) == pytest.approx((all_near.near, all_near.crossing_gbit))


def test_one_sink_for_several_nodes_has_no_near_workers() -> None:
    """Its samples cross the network to the other nodes in any case; on one node, all that it has are near."""
    assert 0.0 == plan_capacity(COSTS, Job(2, 1, 100, 25, workers_per_node=8)).near
    assert 1.0 == plan_capacity(COSTS, Job(1, 1, 100, 25, workers_per_node=8)).near


@pytest.mark.parametrize("workers", [0, 1, 10, 1000])
@pytest.mark.parametrize("read_bytes", [10, 100_000, 1_000_000])
def test_a_node_s_network_saturates_at_the_limit_that_is_told(workers: int, read_bytes: int) -> None:
    """At that many samples a second, exactly the link's bytes come in, whoever makes the samples."""
    costs = replace(COSTS, read_bytes=read_bytes, sink_s=1e-3)
    told = plan_capacity(costs, Job(4, 8, 3000, 25, workers)).limits
    limit = next(each.samples_per_s for each in told if "network" in each.what)
    assert pytest.approx(25.0) == plan_capacity(costs, Job(4, 8, limit / 32, 25, workers)).node_gbit


@given(st.integers(1, 1000), st.integers(1, 16), st.floats(0.1, 1e5), st.floats(0.1, 1000), st.floats(1e-6, 1.0))
def test_no_part_is_planned_to_be_busier_than_it_may_be(
    nodes: int, gpus: int, rate: float, gbit: float, worker_s: float
) -> None:
    """Workers and sinks are enough for their work at 80 %, and workers are never one too many."""
    capacity = plan_capacity(replace(COSTS, worker_s=worker_s), Job(nodes, gpus, rate, gbit))
    for need in capacity.needs:
        if need.part in ("workers", "sinks") and (need.part == "workers" or need.count > 1 or capacity.fits):
            assert need.cores <= BUSY * need.count * (1 + 1e-9), need
    workers = capacity.needs[0]
    assert workers.count == math.ceil(workers.cores / BUSY)
    rates = [limit.samples_per_s for limit in capacity.limits]
    assert sorted(rates) == rates
