"""Results that do not arrive are made again, and their workers benched."""

from support.cores.leases_harness import CoreHarness, key


def test_a_result_that_the_sink_does_not_confirm_is_leased_again(harness: CoreHarness) -> None:
    """It was lost on its way: after confirm_s seconds the task is ready again."""
    harness.miss((0, 1))
    harness.deal()
    harness.finish(b"a", key(0))
    harness.wait(9.75, b"a")
    assert {} == harness.deal()
    harness.wait(0.5, b"a")
    assert {b"a": [key(0)]} == harness.deal()


def test_a_result_behind_others_on_a_slow_line_has_time(harness: CoreHarness) -> None:
    """Each that arrives buys those behind it confirm_s seconds; one that was overtaken is lost."""
    harness.miss((0, 2))
    harness.deal()
    harness.finish(b"a", key(0))
    harness.wait(1.0, b"a")
    harness.finish(b"a", key(1))
    harness.wait(8.0, b"a")
    harness.miss((1, 2))
    harness.wait(9.75, b"a")
    assert {} == harness.deal(), "18 s after it was sent, 10 s after the one before it arrived"
    harness.wait(0.5, b"a")
    assert {b"a": [key(1)]} == harness.deal()


def test_an_overtaken_result_is_lost_and_blames_nobody(harness: CoreHarness) -> None:
    """One link keeps its order: a message went with a connection that broke."""
    harness.miss((0, 2))
    harness.deal()
    harness.finish(b"a", key(0))
    harness.wait(1.0, b"a")
    harness.finish(b"a", key(1))
    harness.miss((0, 1))
    harness.wait(9.25, b"a")
    assert {b"a": [key(0)]} == harness.deal()
    assert [] == harness.noted("results do not arrive")


def test_what_does_not_arrive_is_waited_for_twice_as_long_each_time(harness: CoreHarness) -> None:
    """Else a line that needs more than confirm_s seconds for one result would carry repetitions only."""
    harness.miss((0, 1))
    for patience_s in (10.0, 20.0, 40.0):
        harness.deal()
        harness.finish(b"a", key(0))
        harness.wait(patience_s - 0.25, b"a")
        assert {} == harness.deal()
        harness.wait(0.5, b"a")
    assert {b"a": [key(0)]} == harness.deal()


def test_a_worker_none_of_whose_results_arrives_takes_no_work_from_others(harness: CoreHarness) -> None:  # noqa: PLR0915 - one story
    """It is benched, tried with one task, benched for twice as long; one that arrives restores it."""
    harness.join(b"b")
    harness.miss((0, 9))
    harness.deal()
    harness.finish(b"b", key(1), key(3))
    harness.wait(10.25, b"a", b"b")
    assert ["b"] == [note.fields["worker"] for note in harness.noted("results do not arrive")]
    harness.finish(b"a", key(0), key(2))
    harness.miss((1, 2), (3, 9))
    assert {b"a": [key(1), key(3)]} == harness.deal(), "b gets nothing"
    harness.finish(b"a", key(1), key(3))
    harness.miss((4, 9))
    harness.wait(9.0, b"a", b"b")
    assert [key(4), key(5)] == harness.deal()[b"a"]
    harness.wait(1.5, b"a", b"b")
    assert {b"b": [key(6)]} == harness.deal(), "one task on trial"
    harness.finish(b"b", key(6))
    harness.wait(9.5, b"a", b"b")
    assert {} == harness.deal(), "nothing more until it is known what became of that"
    harness.wait(1.0, b"a", b"b")
    assert 2 == len(harness.noted("results do not arrive"))
    harness.finish(b"a", key(4), key(5))
    harness.miss((6, 9))
    assert [key(6), key(7)] == harness.deal()[b"a"]
    harness.finish(b"a", key(6), key(7))
    harness.miss((8, 9))
    harness.wait(18.5, b"a", b"b")
    assert {b"a": [key(8)]} == harness.deal(), "benched for twice as long"
    harness.finish(b"a", key(8))
    harness.miss((10, 12))
    harness.wait(2.0, b"a", b"b")
    assert {b"a": [key(10)], b"b": [key(11)]} == harness.deal()
    harness.finish(b"b", key(11))
    harness.miss((12, 20))
    assert 1 == len(harness.noted("results arrive again"))
    assert 2 == len(harness.deal()[b"b"])


def test_another_sink_begins_anew_with_every_worker(harness: CoreHarness) -> None:
    """Who had the wrong address, or no way to the last one, may reach this one."""
    harness.join(b"b")
    harness.miss((0, 9))
    harness.deal()
    harness.finish(b"b", key(1), key(3))
    harness.wait(10.25, b"a", b"b")
    assert 1 == len(harness.noted("results do not arrive"))
    harness.sink(b"other")
    harness.miss((20, 29), peer=b"other")
    assert [key(20), key(21)] == harness.deal()[b"b"]


def test_a_worker_that_is_alone_is_not_benched(harness: CoreHarness) -> None:
    """There is no better worker: it goes on, with one task at a time."""
    harness.miss((0, 9))
    harness.deal()
    harness.finish(b"a", key(0), key(1))
    harness.wait(10.5, b"a")
    assert {b"a": [key(0)]} == harness.deal()
