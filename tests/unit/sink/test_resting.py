"""How long the sink leaves messages unread: a small part of what its trainers have in hand."""

import pytest
from support.cores.assembly_harness import CoreHarness
from support.plans import make_plan

from penstock.protocol.messages import Credit
from penstock.sink.resting import Resting


def rest(harness: CoreHarness, resting: Resting, heartbeat_s: float = 1.0) -> float:
    """Return for how long messages may wait now."""
    return resting.rest_s(harness.core.streams.readers, harness.now, heartbeat_s)


def flowing(
    limit: int, each_s: float = 0.04, batches: int = 40, window_samples: int = 4000
) -> tuple[CoreHarness, Resting]:
    """Return a harness of which a trainer with so much credit has taken batches at this pace, all of them by now."""
    harness = CoreHarness(make_plan(items=4000, task_items=4, batch_size=4, window_samples=window_samples))
    harness.subscribe(limit=limit)
    resting = Resting()
    assert 0.0 == rest(harness, resting)
    for ordinal in range(batches):
        harness.now += each_s
        harness.result(ordinal)
        harness.hear(b"t", Credit(consumed=ordinal + 1, limit=ordinal + 1 + limit))
        rest(harness, resting)
    assert batches == len(harness.spans(b"t"))
    return harness, resting


def test_messages_wait_for_a_third_of_what_the_trainer_has_credit_for() -> None:
    """At 25 batches a second and credit for six, a rest is a third of 0.24 s."""
    harness, resting = flowing(6)
    assert pytest.approx(0.08, rel=0.05) == rest(harness, resting)


def test_no_rest_is_longer_than_a_fifth_of_a_second() -> None:
    """However much credit there is, a trainer that joins, or a command, waits no longer."""
    harness, resting = flowing(100)
    assert pytest.approx(0.2) == rest(harness, resting)


def test_rests_are_shorter_than_the_time_between_heartbeats() -> None:
    """Else heartbeats would be late, and messages that say that a peer lives be read late."""
    harness, resting = flowing(100)
    assert pytest.approx(0.1) == rest(harness, resting, heartbeat_s=0.4)


def test_a_small_window_allows_short_rests_only() -> None:
    """Else the ventilator would hear too late of what may be leased."""
    harness, resting = flowing(100, window_samples=120)
    rounds = harness.plans["train"].window() / 4
    assert pytest.approx(rounds / 12 / 25, rel=0.05) == rest(harness, resting)
    assert rest(harness, resting) < 0.2


def test_a_trainer_that_has_just_subscribed_is_not_kept_waiting() -> None:
    """Its first batches are to be there soon, whatever another trainer does."""
    harness, resting = flowing(100)
    harness.subscribe(b"u")
    assert 0.0 == rest(harness, resting)


def test_a_slow_stream_is_not_made_slower() -> None:
    """Where hardly two messages would meet, each is handled at once; a trainer that has left counts no more."""
    harness, resting = flowing(100, each_s=0.5)
    assert 0.0 == rest(harness, resting)
    harness, resting = flowing(8)
    harness.core.gone(b"t")
    assert 0.0 == rest(harness, resting)
