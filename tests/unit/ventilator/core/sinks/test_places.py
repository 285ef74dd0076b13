"""Sinks that claim a place which another one has: of one name, or without names."""

from typing import Any

import pytest
from support.plans import LEASE_KEY, PlannedTasks, make_plan

from penstock.protocol.instructions import Note, Send
from penstock.protocol.messages import (
    AnyMessage,
    Drain,
    Goodbye,
    Heartbeat,
    Intervals,
    Progress,
    Reset,
    SinkHello,
    SinkWelcome,
    StreamNeed,
)
from penstock.ventilator.core.leases import Leases

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)


class Claimant:
    """A sink that says hello until it is welcomed, reports, and answers each reset with a hello, as a sink does."""

    def __init__(self, leases: Leases, peer: bytes, hello: SinkHello) -> None:
        """Be not started yet."""
        self.leases, self.peer, self.hello = leases, peer, hello
        self.welcomed, self.reason, self.sequence = False, "", 0
        self.notes: list[Note] = []

    def turn(self, now: float) -> None:
        """Let a heartbeat's time pass."""
        if self.reason:
            return
        self.say(Heartbeat() if self.welcomed else self.hello, now)
        if self.welcomed:
            self.sequence += 1
            need = StreamNeed(stream="train", missing=((0, 2),), lacks=((0, 8),))
            self.say(Progress(sequence=self.sequence, needs=(need,)), now)

    def say(self, message: AnyMessage, now: float) -> None:
        """Let a message arrive at the ventilator, and take its answers."""
        instructions: list[Any] = self.leases.receive(self.peer, message, now)
        self.notes += [each for each in instructions if isinstance(each, Note)]
        for answer in [each.message for each in instructions if isinstance(each, Send) and each.peer == self.peer]:
            match answer:
                case SinkWelcome():
                    self.welcomed = True
                case Reset():
                    self.welcomed = False
                    self.say(self.hello, now)
                case Drain():
                    self.reason = answer.reason
                case _:
                    pass


def hello(incarnation: str, name: str = "a", results: str = "", host: str = "") -> SinkHello:
    """Return a sink's hello; each is at an address of its own, unless it is said."""
    return SinkHello(
        incarnation=incarnation, name=name, results=results or f"of {incarnation}", host=host, version="1.0"
    )


@pytest.fixture
def leases() -> Leases:
    """A ventilator without workers."""
    return Leases(PlannedTasks(make_plan(items=40, task_items=4)), {}, INTERVALS, "1.0", LEASE_KEY)


def run(leases: Leases, *sinks: Claimant, start: float = 0.0, beats: int = 40) -> None:
    """Let so many heartbeats pass."""
    for beat in range(beats):
        for number, sink in enumerate(sinks):
            sink.turn(start + beat + 0.1 * number)
        leases.tick(start + beat + 0.9)
        leases.dispatch(start + beat + 0.9)
        leases.validate()


@pytest.mark.parametrize(
    ("name", "other"),
    [("a", "a"), ("", ""), ("a", ""), ("", "a")],
    ids=["of one name", "unnamed", "named first", "last"],
)
def test_of_two_living_sinks_the_one_that_serves_keeps_its_place(leases: Leases, name: str, other: str) -> None:
    """The other one ends, and is told why; the needs of the first are never forgotten."""
    first, second = (Claimant(leases, each.encode(), hello(each, of)) for each, of in (("one", name), ("two", other)))
    run(leases, first, beats=2)
    run(leases, first, second, start=2.0)
    assert (True, "") == (first.welcomed, first.reason)
    assert "serves at of one, and lives" in second.reason
    assert not second.welcomed
    assert ((0, 2),) == leases.queues["train"].missing
    assert ["sink joined"] == [note.event for note in first.notes]
    assert ["sink waits for a place", "sink refused"] == [note.event for note in second.notes]


@pytest.mark.parametrize("asked_before", [False, True])
def test_after_a_standstill_the_sink_that_serves_keeps_its_place(leases: Leases, *, asked_before: bool) -> None:
    """Whoever's messages are read first, and when the other one asked first: the living one is heard soon enough."""
    first, second = Claimant(leases, b"one", hello("one")), Claimant(leases, b"two", hello("two"))
    run(leases, first, beats=3)
    if asked_before:
        second.turn(2.5)
    run(leases, second, first, start=6.0)
    assert (True, "") == (first.welcomed, first.reason)
    assert "serves at of one, and lives" in second.reason
    assert ["sink joined"] == [note.event for note in first.notes]


def test_standstills_in_each_turn_cost_no_sink_its_place(leases: Leases) -> None:
    """A ventilator that turns every third heartbeat hears both in each turn, the other one first."""
    first, second = Claimant(leases, b"one", hello("one")), Claimant(leases, b"two", hello("two"))
    run(leases, first, beats=3)
    for turn in range(10):
        second.turn(6.0 + 3 * turn)
        first.turn(6.0 + 3 * turn)
    assert (True, "") == (first.welcomed, first.reason)
    assert ["sink joined"] == [note.event for note in first.notes]


def test_those_that_ask_are_remembered_for_a_while_only(leases: Leases) -> None:
    """Memory stays bounded however many ask at once, and however long."""
    run(leases, Claimant(leases, b"one", hello("one")), beats=3)
    for number in range(1000):
        Claimant(leases, b"x%d" % number, hello(f"x{number}")).turn(2.5 + number / 1000)
    assert 256 == len(leases.sinks._places._asked)
    Claimant(leases, b"y", hello("y")).turn(40.0)
    assert 1 == len(leases.sinks._places._asked)


def test_a_sink_that_comes_back_after_its_replacement_ends(leases: Leases) -> None:
    """Its host was lost: the replacement joins once it is silent, and stays when the first one is heard again."""
    first, second = Claimant(leases, b"one", hello("one")), Claimant(leases, b"two", hello("two"))
    run(leases, first, beats=3)
    run(leases, second, start=3.0, beats=5)
    assert second.welcomed
    run(leases, second, first, start=8.0)
    assert (True, "") == (second.welcomed, second.reason)
    assert "serves at of two, and lives" in first.reason
    events = [note.event for note in (*first.notes, *second.notes)]
    assert 1 == events.count("sink replaced") + events.count("sink silent")


def test_a_sink_that_is_started_again_does_not_wait(leases: Leases) -> None:
    """It is where the one before it was, which was heard just now: only one can have that address."""
    first = Claimant(leases, b"one", hello("one", results="r", host="h"))
    second = Claimant(leases, b"two", hello("two", results="r", host="h"))
    run(leases, first, beats=3)
    second.turn(3.0)
    assert second.welcomed


def test_two_living_sinks_behind_one_address_do_not_take_turns(leases: Leases) -> None:
    """One that was replaced and speaks again has its place again; the other one ends."""
    first = Claimant(leases, b"one", hello("one", results="service", host="h"))
    second = Claimant(leases, b"two", hello("two", results="service", host="h"))
    run(leases, first, beats=3)
    run(leases, first, second, start=3.0)
    assert [True, False] == [bool(second.reason), bool(first.reason)]
    assert 2 == sum(note.event == "sink replaced" for note in (*first.notes, *second.notes))


def test_of_many_living_sinks_behind_one_address_the_first_stays(leases: Leases) -> None:
    """However they take turns to begin with; each takes the place once at most, and ends."""
    first, *others = (Claimant(leases, each.encode(), hello(each, results="service", host="h")) for each in "abcd")
    run(leases, first, beats=3)
    for number, other in enumerate(others):
        other.turn(3.0 + 0.1 * number)
    assert others[-1].welcomed
    run(leases, *others, first, start=4.0)
    assert (True, "") == (first.welcomed, first.reason)
    assert all("serves at service, and lives" in other.reason for other in others)
    assert 6 >= sum(note.event == "sink replaced" for each in (first, *others) for note in each.notes)


def test_a_sink_has_its_place_again_though_the_one_that_took_it_has_left(leases: Leases) -> None:
    """And though yet another one has joined there meanwhile: the first one is not ended for living."""
    first, second, third = (
        Claimant(leases, each.encode(), hello(each, results="r", host="h")) for each in ("one", "two", "three")
    )
    run(leases, first, beats=3)
    second.turn(3.0)
    second.say(Goodbye(), 3.1)
    third.turn(3.2)
    assert third.welcomed
    run(leases, third, first, start=3.5)
    assert (True, "") == (first.welcomed, first.reason)
    assert third.reason


def test_a_link_that_was_opened_again_has_its_place_at_once(leases: Leases) -> None:
    """The sink is the same, under another identity."""
    first = Claimant(leases, b"one", hello("one"))
    run(leases, first, beats=3)
    again = Claimant(leases, b"one again", hello("one"))
    again.turn(2.5)
    assert again.welcomed
    run(leases, again, start=3.0, beats=10)
    assert "" == again.reason


def test_a_sink_without_a_name_is_alone(leases: Leases) -> None:
    """It takes the place of all others that are silent, and a named one takes its place."""
    named = [Claimant(leases, each.encode(), hello(each, each)) for each in ("a", "b", "c")]
    alone = Claimant(leases, b"alone", hello("alone", ""))
    run(leases, *named[:2], beats=3)
    run(leases, alone, start=3.0, beats=4)
    assert [""] == [sink.name for sink in leases.sinks.observe()]
    run(leases, named[2], start=7.0, beats=4)
    assert ["c"] == [sink.name for sink in leases.sinks.observe()]
    assert 3 == sum(note.event == "sink replaced" for each in (alone, *named) for note in each.notes)
