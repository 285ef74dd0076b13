"""How long a worker's loop leaves messages unread, and which tasks that are done end its rest."""

import math

from penstock.worker.resting import Resting


def resting(read_s: float = 0.001, make_s: float = 0.07, held: int = 3) -> tuple[Resting, float]:
    """Return a rest that began at 10 s with three tasks, and until when it lasts."""
    found = Resting()
    found.stop()
    return found, found.begin(10.0, read_s, make_s, held)


def test_the_loop_rests_while_a_task_waits_to_be_made() -> None:
    """For 0.4 s; then it turns, since tasks of 70 ms may be done by then that it was not told of."""
    found, until = resting()
    assert 10.4 == until == found.turn_at


def test_a_rest_ends_when_the_next_heartbeat_is_due() -> None:
    """Also where the time between two heartbeats is shorter than a rest; what is done by then is told at once."""
    found = Resting()
    assert 10.15 == found.begin(10.0, 0.001, 0.07, 3, due=10.15) == found.turn_at
    assert found.ends(10.15, 5)
    assert 10.0 == found.begin(10.0, 0.001, 0.07, 3, due=9.0)


def test_tasks_that_are_done_are_reported_together_as_long_as_there_is_enough_to_do() -> None:
    """One more besides the one that begins: so the loop hears of them before there is nothing left to do."""
    found, _ = resting()
    assert not found.ends(10.07, 2)
    assert found.ends(10.14, 1)
    assert found.ends(10.14, 0)


def test_a_worker_that_holds_more_tells_while_two_are_left() -> None:
    """For as long as these take, the ventilator may leave the report unread."""
    found, _ = resting(held=6)
    assert not found.ends(10.21, 3)
    assert found.ends(10.28, 2)


def test_what_is_done_at_the_end_of_a_rest_or_after_it_is_told_at_once() -> None:
    """Else the loop, which waits for messages then, would not report it before the next one comes."""
    found, until = resting()
    assert found.ends(until - 0.001, 5)
    assert found.ends(until + 1.0, 5)


def test_a_task_longer_than_a_rest_causes_no_turn_of_its_own() -> None:
    """It is done after the rest, and told at once."""
    found, until = resting(make_s=0.5)
    assert 10.4 == until
    assert math.inf == found.turn_at
    assert found.ends(10.5, 5)


def test_where_reading_takes_long_the_loop_does_not_rest() -> None:
    """More tasks are asked for as early as can be; each that is done is told at once."""
    found, until = resting(read_s=0.05)
    assert 10.0 == until
    assert found.ends(10.0, 5)


def test_after_a_rest_was_ended_each_task_that_is_done_is_told_at_once() -> None:
    """The loop ends its rest before it looks at what is done, so nothing is done unseen between the two."""
    found, _ = resting()
    found.stop()
    assert math.inf == found.turn_at
    assert found.ends(10.01, 5)
