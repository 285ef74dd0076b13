"""A worker that holds up the stream: other workers get its tasks too."""

from support.cores.leases_harness import CoreHarness, key


def test_a_stalled_worker_is_hedged_and_gets_nothing_more(harness: CoreHarness) -> None:
    """When the head of the stream is far older than its peers, another worker gets all that the stalled one holds."""
    harness.miss((0, 9))
    harness.join(b"b")
    harness.deal()
    for ordinal in (1, 3):
        harness.finish(b"b", key(ordinal))
        harness.wait(0.25, b"a", b"b")
    harness.miss((0, 1), (2, 3), (4, 9))
    assert [] == harness.noted("hedged")
    harness.wait(2.0, b"a", b"b")
    assert [0] == [note.fields["task"] for note in harness.noted("hedged")]
    assert {b"b": [key(0), key(2)]} == harness.deal()
    harness.finish(b"b", key(0), key(2))
    assert {b"b": [key(4), key(5)]} == harness.deal()
    harness.finish(b"a", key(0))
    assert {b"a": [key(6)]} == harness.deal()


def test_what_is_hedged_never_goes_to_who_holds_it_already(harness: CoreHarness) -> None:
    """A worker that recovers goes on with what it holds, and also gets other work."""
    harness.miss((0, 4))
    harness.deal()
    harness.wait(3.0, b"a")
    assert 1 == len(harness.noted("hedged"))
    harness.finish(b"a", key(0))
    assert {b"a": [key(2)]} == harness.deal()
    harness.join(b"b")
    assert {b"b": [key(1), key(3)]} == harness.deal()


def test_a_worker_that_is_slow_like_all_others_is_not_hedged(harness: CoreHarness) -> None:
    """Patience grows with the time that a task typically takes."""
    harness.miss((0, 9))
    harness.deal()
    harness.now += 10.0
    harness.finish(b"a", key(0), took_s=10.0)
    harness.miss((1, 9))
    harness.wait(30.0, b"a")
    assert [] == harness.noted("hedged")
    harness.wait(12.0, b"a")
    assert 1 == len(harness.noted("hedged"))


def test_a_worker_that_lies_about_its_times_stops_no_hedging(harness: CoreHarness) -> None:
    """No task took longer than the worker had it: one lie of 30,000 years would let a stream stand still for ever."""
    harness.miss((0, 9))
    harness.deal()
    harness.wait(0.5, b"a")
    harness.finish(b"a", key(0), took_s=1e12)
    harness.miss((1, 9))
    harness.wait(10.0, b"a")
    assert 1 == len(harness.noted("hedged"))


def test_what_was_hedged_and_made_is_waited_for(harness: CoreHarness) -> None:
    """Its result is on its way, over a slow line perhaps: making it again at every turn would only delay it more."""
    harness.join(b"b")
    harness.miss((0, 9))
    assert [key(0), key(2)] == harness.deal()[b"a"]
    harness.finish(b"b", key(1), key(3))
    harness.wait(3.0, b"a", b"b")
    assert [key(0), key(2)] == harness.deal()[b"b"]
    assert 1 == len(harness.noted("hedged"))
    harness.finish(b"b", key(0), key(2))
    harness.wait(3.0, b"a", b"b")
    assert 1 == len(harness.noted("hedged"))
    assert {b"b": [key(4), key(5)]} == harness.deal()
