"""Where an endpoint connects to, as the name in its address is looked up; the clock is the test's."""

import math
import threading
import time

import pytest

from penstock.protocol.transport.links.names import Answer, Names, Tell
from penstock.protocol.transport.links.target import Target

GIVEN = "tcp://sink:5556"


class Script(Names):
    """Look-ups that end when the test says so."""

    def __init__(self) -> None:
        """Be asked nothing yet."""
        super().__init__()
        self.asking: list[Tell] = []

    def look_up(self, name: str, tell: Tell) -> None:
        """Keep the question."""
        assert "sink" == name
        self.asking.append(tell)

    def answer(self, *hosts: str, problem: str = "") -> None:
        """End the one look-up that there is."""
        [tell] = self.asking
        self.asking.clear()
        tell(Answer(hosts, problem))


class Woken:
    """Counts the calls."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.times = 0

    def __call__(self) -> None:
        """Count one."""
        self.times += 1


@pytest.fixture
def script() -> Script:
    """Return look-ups that the test ends."""
    return Script()


@pytest.fixture
def target(script: Script) -> Target:
    """Return a target that has asked at time 0."""
    made = Target(GIVEN, script, Woken())
    assert math.inf == made.tend(0.0, linked=False), "the answer wakes"
    assert 1 == len(script.asking)
    return made


def test_it_is_known_once_there_is_an_answer(script: Script) -> None:
    """Until then there is nothing to connect to; the answer wakes who waits."""
    woken = Woken()
    target = Target(GIVEN, script, woken)
    target.tend(0.0, linked=False)
    assert ("", 0) == (target.where, woken.times)
    script.answer("10.0.0.5")
    assert 1 == woken.times
    target.tend(0.1, linked=False)
    assert "tcp://10.0.0.5:5556" == target.where


@pytest.mark.parametrize("given", ["tcp://10.0.0.5:5556", "tcp://[fd00::5]:5556", "ipc:///tmp/a"])
def test_what_is_no_name_needs_no_answer(given: str, script: Script) -> None:
    """Nothing is asked, and nothing changes."""
    target = Target(given, script, Woken())
    assert given == target.where
    assert math.inf == target.tend(0.0, linked=False)
    target.broke()
    target.failed()
    target.next()
    assert (given, math.inf) == (target.where, target.tend(9.0, linked=False))
    assert not script.asking


def test_an_unknown_name_is_asked_for_ever_less_often(script: Script, target: Target) -> None:
    """And for ever, once a second in the end; meanwhile it says why."""
    now, pauses = 0.0, []
    for _ in range(6):
        script.answer(problem="no such name")
        again = target.tend(now, linked=False)
        pauses.append(round(again - now, 3))
        assert not script.asking
        now = again
        assert math.inf == target.tend(now, linked=False)
    assert [0.1, 0.2, 0.4, 0.8, 1.0, 1.0] == pauses
    assert ("", "no such name") == (target.where, target.problem)
    script.answer("10.0.0.5")
    target.tend(now, linked=False)
    assert ("tcp://10.0.0.5:5556", "") == (target.where, target.problem)


def test_a_link_needs_no_answers(script: Script, target: Target) -> None:
    """Once it was made; when it breaks, and only then, the name is looked up again."""
    script.answer("10.0.0.5")
    assert 1.0 == target.tend(0.0, linked=False)
    assert math.inf == target.tend(0.1, linked=True)
    assert math.inf == target.tend(1000.0, linked=True)
    assert not script.asking
    target.broke()
    target.tend(1000.5, linked=False)
    assert 1 == len(script.asking)
    assert "tcp://10.0.0.5:5556" == target.where, "it is tried meanwhile"


def test_a_link_that_broke_is_looked_after_even_if_it_was_made_again(script: Script, target: Target) -> None:
    """The address may be another host's by now: the answer decides."""
    script.answer("10.0.0.5")
    target.tend(0.0, linked=True)
    target.broke()
    target.tend(5.0, linked=True)
    script.answer("10.0.0.12")
    target.tend(5.1, linked=True)
    assert "tcp://10.0.0.12:5556" == target.where


def test_an_answer_from_before_the_break_does_not_count(script: Script, target: Target) -> None:
    """It may be older than what changed."""
    target.broke()
    script.answer("10.0.0.5")
    assert 1.0 == target.tend(0.0, linked=True)
    target.tend(1.0, linked=True)
    assert 1 == len(script.asking)


def test_while_there_is_no_link_it_asks_each_second(script: Script, target: Target) -> None:
    """A server that comes back elsewhere is found within that time; no answer changes nothing."""
    script.answer("10.0.0.5")
    assert 1.0 == target.tend(0.0, linked=False)
    target.tend(1.0, linked=False)
    script.answer(problem="the name server is not reached")
    assert 1.1 == target.tend(1.0, linked=False)
    assert "tcp://10.0.0.5:5556" == target.where
    target.tend(1.1, linked=False)
    script.answer("10.0.0.6")
    target.tend(1.2, linked=False)
    assert "tcp://10.0.0.6:5556" == target.where


def test_addresses_of_a_name_are_tried_one_after_the_other(script: Script, target: Target) -> None:
    """However the server mixes them from one answer to the next; one that is gone is left out."""
    script.answer("10.0.0.5", "10.0.0.12", "[fd00::7]")
    target.tend(0.0, linked=False)
    seen = []
    for _ in range(4):
        seen.append(target.where)
        target.next()
    first, second, third = (f"tcp://{host}:5556" for host in ("10.0.0.5", "10.0.0.12", "[fd00::7]"))
    assert [first, second, third, first] == seen
    target.tend(1.0, linked=False)
    script.answer("[fd00::7]", "10.0.0.5", "10.0.0.12")
    target.tend(1.0, linked=False)
    assert second == target.where
    target.next()
    assert third == target.where
    target.tend(2.0, linked=False)
    script.answer("10.0.0.12", "10.0.0.5")
    target.tend(2.0, linked=False)
    assert first == target.where


def test_a_try_that_failed_leads_to_the_next_address(script: Script, target: Target) -> None:
    """After a pause that grows, so that addresses where nothing listens cost little; one alone is left to ZeroMQ."""
    script.answer("10.0.0.5", "10.0.0.12")
    target.tend(0.0, linked=False)
    target.failed()
    assert "tcp://10.0.0.5:5556" == target.where
    target.tend(0.0, linked=False)
    assert "tcp://10.0.0.12:5556" == target.where
    target.failed()
    assert 0.1 == target.tend(0.05, linked=False)
    assert "tcp://10.0.0.12:5556" == target.where
    target.tend(0.1, linked=False)
    assert "tcp://10.0.0.5:5556" == target.where
    target.failed()
    assert pytest.approx(0.3) == target.tend(0.2, linked=False)


def test_one_can_wait_for_the_answer(script: Script, target: Target) -> None:
    """Without a hub: a pusher waits in its own thread."""
    waiter = threading.Thread(target=target.wait, args=(time.monotonic() + 60,), daemon=True)
    waiter.start()
    script.answer("10.0.0.5")
    waiter.join(30)
    assert not waiter.is_alive()


def test_one_waits_until_an_unknown_name_may_be_asked_again(script: Script) -> None:
    """Not at once again, though there was an answer: a pusher that waits in a loop would fill a core."""
    target, now = Target(GIVEN, script, Woken()), time.monotonic()
    target.tend(now, linked=False)
    script.answer(problem="unknown")
    again_at = target.tend(now, linked=False)
    assert now < again_at < now + 1.0
    target.wait(now + 60)
    assert time.monotonic() >= again_at


def test_an_address_that_was_left_fails_no_other_one(script: Script, target: Target) -> None:
    """Whoever is told to go on to the next address does not pass it over for what the last one did."""
    script.answer("10.0.0.5", "10.0.0.6", "10.0.0.7")
    target.tend(0.0, linked=False)
    for _ in range(2):
        target.failed()
        target.tend(0.01, linked=False)
    target.next()
    chosen = target.where
    target.tend(10.0, linked=False)
    assert chosen == target.where
