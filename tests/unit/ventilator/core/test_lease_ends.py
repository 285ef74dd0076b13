"""How leases end, and what becomes of the work."""

from support.cores.leases_harness import CoreHarness, key

from penstock.protocol.messages import (
    Goodbye,
    Heartbeat,
)


def test_the_leases_of_a_dead_worker_go_back_to_the_front(harness: CoreHarness) -> None:
    """What it held comes before all that was not leased yet."""
    harness.miss((0, 9))
    harness.deal()
    harness.die(b"a")
    harness.join(b"b", slots=3)
    for offset in range(4):
        assert {b"b": [key(0, offset)]} == harness.deal()
        harness.finish(b"b", key(0, offset))
    assert [key(1), key(2), key(3)] == harness.deal()[b"b"]


def test_a_worker_that_leaves_on_purpose_is_charged_with_nothing(harness: CoreHarness) -> None:
    """Its leases go back whole: no worker died."""
    harness.miss((0, 2))
    harness.deal()
    harness.hear(b"a", Goodbye(unstarted=(key(1),)))
    harness.join(b"b")
    assert {b"b": [key(0), key(1)]} == harness.deal()


def test_a_worker_that_cannot_reach_the_sink_gives_up_what_it_holds_until_it_can(harness: CoreHarness) -> None:
    """Others get it at once; no loss is charged; the ventilator says it in the worker's words."""
    harness.join(b"b")
    harness.miss((0, 4))
    assert [key(0), key(2)] == harness.deal()[b"a"]
    harness.finish(b"b", key(1), key(3))
    harness.hear(b"a", Heartbeat(running=(key(0),), sinks=("sink",), blocked="no way"))
    harness.hear(b"a", Heartbeat(running=(key(0),), sinks=("sink",), blocked="no way"))
    assert [{"worker": "a", "why": "no way"}] == [note.fields for note in harness.noted("worker cannot reach the sink")]
    assert {b"b": [key(0), key(2)]} == harness.deal()
    assert {} == harness.deaths()
    harness.miss((0, 8))
    harness.finish(b"a", key(0))
    assert {} == harness.deal()
    harness.beat(b"a")
    assert [key(4), key(5)] == harness.deal()[b"a"]
    assert 1 == len(harness.noted("worker reaches the sink again"))


def test_a_confirmed_task_is_forgotten_even_while_it_is_leased(harness: CoreHarness) -> None:
    """What is not missing needs no work; the late result is a duplicate for the sink."""
    harness.miss((0, 2))
    harness.deal()
    harness.miss((1, 2))
    harness.hear(b"a", Goodbye())
    harness.join(b"b", slots=9)
    assert [key(1)] == harness.deal()[b"b"]


def test_leases_that_a_worker_does_not_know_of_are_leased_again(harness: CoreHarness) -> None:
    """The message with the tasks was lost: heartbeats that do not list them say so, once it cannot be under way."""
    harness.miss((0, 1))
    harness.deal()
    harness.now = 4.0
    harness.beat(b"a")
    assert {} == harness.deal()
    harness.now = 5.1
    harness.beat(b"a")
    assert {b"a": [key(0)]} == harness.deal()


def test_items_that_the_sink_had_and_dropped_are_made_again() -> None:
    """Parts of a split task are missing again when the reader that wanted them left: absolute reports say so."""
    harness = CoreHarness()
    harness.sink()
    harness.join(b"a", slots=1)
    harness.miss((0, 1))
    harness.deal()
    harness.die(b"a")
    harness.miss((0, 1), partial=((0, (0, 1, 2)),))
    harness.miss((0, 1))
    harness.join(b"b", slots=9)
    assert {b"b": [key(0, 3)]} == harness.deal()
    harness.finish(b"b", key(0, 3))
    assert {b"b": [key(0, 0), key(0, 1), key(0, 2)]} == harness.deal()
