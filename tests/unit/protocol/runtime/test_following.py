"""Which of several ventilators a service follows: the highest term, and nothing of any other."""

import pytest
from support.plans import make_plan

from penstock.protocol.messages import (
    AnyMessage,
    Drain,
    Heartbeat,
    Hello,
    Intervals,
    LeaseKey,
    Reset,
    SinkWelcome,
    Tasks,
    WorkerWelcome,
)
from penstock.protocol.runtime.following import Following

HELLO = Hello(worker="w", incarnation="i", host="h", slots=3, version="1.0")


def welcome(term: int, *, sink: bool = False) -> AnyMessage:
    """Return the welcome of a ventilator with this term."""
    if sink:
        key = LeaseKey(issuer="v", secret="0" * 32)
        return SinkWelcome(streams=(make_plan(),), intervals=Intervals(), leases=key, term=term)
    return WorkerWelcome(streams=(make_plan(),), roots={}, intervals=Intervals(), term=term)


@pytest.mark.parametrize("sink", [False, True])
def test_the_highest_term_is_followed_and_lower_ones_are_ignored_for_good(*, sink: bool) -> None:
    """Also after the followed one has fallen silent: a stopped ventilator may go on at any time."""
    following = Following(2)
    assert following.takes(0, welcome(5, sink=sink))
    assert following.takes(0, Tasks(tasks=()))
    assert not following.takes(1, Heartbeat())
    assert following.takes(1, welcome(6, sink=sink))
    assert not following.takes(0, Tasks(tasks=()))
    assert not following.takes(0, welcome(5, sink=sink))
    following.leave()
    assert not following.takes(0, welcome(5, sink=sink))
    assert not following.takes(0, Heartbeat()), "nothing is taken of one that has not welcomed us"
    assert following.takes(0, welcome(7, sink=sink)), "it may act again, with a higher term"
    assert 2 == following.stale


def test_of_equal_terms_the_first_one_is_followed() -> None:
    """Two ventilators without a folder are two that act: a service follows one until it is silent."""
    following = Following(2)
    assert following.takes(1, welcome(0))
    assert not following.takes(0, welcome(0))
    following.leave()
    assert following.takes(0, welcome(0))


def test_greetings_go_to_all_until_one_answers_and_then_to_the_others_now_and_then() -> None:
    """So that one that begins to act is known within a heartbeat; nothing else is sent to others."""
    following = Following(3)
    assert [0, 1, 2] == list(following.targets(HELLO))
    assert [] == list(following.targets(Heartbeat()))
    following.takes(1, welcome(3))
    assert [1] == list(following.targets(HELLO))
    assert [1] == list(following.targets(Heartbeat()))
    assert [0, 2] == list(following.greet(10.0, 1.0))
    assert [] == list(following.greet(10.9, 1.0))
    assert 11.0 == following.next_timer(10.9, 1.0)
    assert [0, 2] == list(following.greet(11.0, 1.0))


def test_with_one_address_everything_goes_there() -> None:
    """Whether it has answered or not, and no greeting is sent besides."""
    following = Following()
    assert [0] == list(following.targets(Heartbeat()))
    following.takes(0, welcome(0))
    assert [] == list(following.greet(10.0, 1.0))


def test_what_says_that_we_cannot_be_served_is_taken_before_a_welcome() -> None:
    """A ventilator of another version, or one that was restarted and does not know us."""
    following = Following(2)
    assert following.takes(1, Drain(reason="install the same"))
    assert following.takes(1, Reset())
    following.takes(0, welcome(1))
    assert not following.takes(1, Reset())
