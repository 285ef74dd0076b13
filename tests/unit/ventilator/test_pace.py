"""How many tasks a turn of the ventilator leases: many where that is quick, so that they share messages."""

from collections.abc import Callable

import pytest
from support.cores.leases_harness import CoreHarness

from penstock.protocol.instructions import Send
from penstock.protocol.messages import Tasks
from penstock.ventilator.pace import MOST_A_TURN, Pace


@pytest.fixture
def harness() -> CoreHarness:
    """Return a harness with a sink that misses more tasks than a turn leases, and workers that can hold all of them."""
    harness = CoreHarness()
    harness.sink()
    for number in range(80):
        harness.join(b"w%d" % number, slots=256)
    harness.miss((0, 20_000))
    return harness


def costing(seconds: float) -> Callable[[], float]:
    """Return a clock by which every call of the core takes so long."""
    times = iter(range(10**6))
    return lambda: seconds * next(times)


def leased(pace: Pace, harness: CoreHarness) -> list[int]:
    """Return how many tasks each message of one turn holds."""
    sent = [each.message for each in pace.dispatch(harness.leases, harness.now) if isinstance(each, Send)]
    return [len(message.tasks) for message in sent if isinstance(message, Tasks)]


def test_what_is_quickly_looked_up_is_leased_in_large_turns(harness: CoreHarness) -> None:
    """With many workers, a turn must hold several tasks for each: one message for each task costs twice as much."""
    pace = Pace(costing(0.001))
    leased(pace, harness)
    assert MOST_A_TURN == sum(leased(pace, harness))
    assert min(leased(pace, harness)) > 1


def test_what_takes_long_to_look_up_is_leased_in_small_turns(harness: CoreHarness) -> None:
    """Peers hear from the ventilator between two turns, so a turn must not take seconds; it always leases some."""
    pace = Pace(costing(0.4))
    assert 1024 == sum(leased(pace, harness))
    assert 256 == sum(leased(pace, harness))


def test_a_turn_that_leases_little_changes_nothing(harness: CoreHarness) -> None:
    """What is always done, however few tasks there are, says nothing of what a task takes."""
    for peer in list(harness.leases.workers):
        harness.leases.gone(peer, harness.now)
    harness.join(b"few", slots=200)
    pace = Pace(costing(1.0))
    assert 200 == sum(leased(pace, harness))
    for number in range(10):
        harness.join(b"again%d" % number, slots=256)
    assert 1024 == sum(leased(pace, harness))
