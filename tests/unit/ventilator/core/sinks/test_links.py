"""Several sinks at one ventilator: who joins, what is leased for whom, and what each is told."""

from typing import Any

import pytest
from support.cores.sinks_by_hand import Stack

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import (
    Destination,
    Failing,
    Failure,
    Goodbye,
    Heartbeat,
    Made,
    Outcomes,
    Progress,
    SinkHello,
    StreamNeed,
    WorkerWelcome,
)
from penstock.ventilator.core.sinks import patience


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A ventilator and a worker; no task waits for other sinks' reports, which `test_patience.py` tests."""
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.0)
    return Stack()


def names(stack: Stack) -> list[str]:
    """Return the names of the connected sinks."""
    return [sink.name for sink in stack.leases.observe(stack.now).sinks]


def made(*ordinals: int) -> tuple[Made, ...]:
    """Return what a sink reports of tasks that were made whole."""
    return tuple(Made(ordinal=ordinal, issuer="v", holder=1) for ordinal in ordinals)


def outcomes(sent: list[tuple[bytes, Any]]) -> dict[bytes, Outcomes]:
    """Return what sinks are told."""
    return {peer: message for peer, message in sent if isinstance(message, Outcomes)}


def test_sinks_with_names_stand_beside_each_other(stack: Stack) -> None:
    """One of the same name takes the place of a silent one; workers hear of all of them."""
    sent = stack.join("b", "a")
    assert ["a", "b"] == names(stack)
    welcome = [message for _, message in sent if isinstance(message, WorkerWelcome)][-1]
    assert [("a", "results a"), ("b", "results b")] == [(sink.name, sink.results) for sink in welcome.sinks]
    stack.claim(b"another b", SinkHello(incarnation="new", name="b", results="elsewhere", version="1.0"))
    assert ["a", "b"] == names(stack)
    assert [b"a", b"another b"] == sorted(stack.leases.peers())[:2]


def test_each_sink_gets_what_it_lacks(stack: Stack) -> None:
    """A task is made once; a sink that lacks nothing of it hears nothing, unless nobody lacks anything."""
    stack.join("a", "b")
    stack.need("a", (0, 3), lacks=((0, 2), (4, 6)))
    stack.need("b", (0, 3), lacks=((2, 4),))
    whole, other, outcome = stack.deal()
    assert (
        Destination(sink="a", positions=((0, 2),)),
        Destination(sink="b", positions=((2, 4),)),
    ) == whole.destinations
    assert (Destination(sink="a", positions=((4, 6),)),) == other.destinations
    assert (Destination(sink="a", positions=()),) == outcome.destinations


def test_what_is_settled_is_told_to_all_until_they_know(stack: Stack) -> None:
    """At once to each sink that asks for it, and again with each heartbeat, since any message may be lost."""
    stack.join("a", "b")
    stack.need("a", (0, 2), lacks=((0, 2),))
    stack.need("b", (0, 2), lacks=((2, 4),))
    told = outcomes(stack.need("a", (0, 2), made=made(0)))
    assert {b"a": ((0, 1),), b"b": ((0, 1),)} == {peer: message.settled for peer, message in told.items()}
    assert {} == outcomes(stack.need("a", (0, 2)))
    stack.now += 1.0
    stack.hear(b"b", Heartbeat())
    told = outcomes(stack.take(stack.leases.tick(stack.now)))
    assert {b"a": ((0, 1),), b"b": ((0, 1),)} == {peer: message.settled for peer, message in told.items()}
    stack.need("b", (1, 2), lacks=((2, 4),))
    stack.hear(b"w", Heartbeat(running=(), sinks=("ia", "ib")))
    assert [0, 1] == [task.key.ordinal for task in stack.deal()]


def test_nothing_is_decided_before_others_could_say_what_they_know() -> None:
    """An earlier ventilator may have published another outcome to a sink that is not back yet."""
    stack = Stack()
    stack.join("a")
    stack.now = 1.0
    assert {} == outcomes(stack.need("a", (0, 2), lacks=((0, 8),), made=made(0)))
    lost = {"ordinal": 0, "failure": Failure(offset=1, item=1, path="1.jpg", reason="broken")}
    stack.hear(b"b", SinkHello(incarnation="b", name="b", results="r", version="1.0"))
    answer = outcomes(stack.need("b", (1, 2), settled=((0, 1),), failed=(lost,)))
    assert [1] == [each.failure.offset for each in answer[b"a"].failed]
    stack.now = 4.0
    stack.need("a", (1, 2), lacks=((0, 8),), made=made(0))
    assert ((0, 2),) == stack.leases.queues["train"].missing
    assert "" == stack.leases.queues["train"].stopped


def test_losing_one_sink_ends_only_what_it_needed(stack: Stack) -> None:
    """The work that another one needs goes on."""
    stack.join("a", "b")
    stack.need("a", (0, 2), lacks=((0, 8),))
    stack.need("b", (1, 3), lacks=((8, 12),))
    stack.hear(b"a", Goodbye())
    assert ((1, 3),) == stack.leases.queues["train"].missing
    assert [(1, ()), (2, ((8, 12),))] == [(task.key.ordinal, task.destinations[0].positions) for task in stack.deal()]


def test_a_few_samples_that_a_sink_lacks_are_made_alone(stack: Stack) -> None:
    """A failure moved its claim after the task was settled: only that item is made again, for this sink only."""
    stack.join("a", "b")
    stack.need("a", (0, 1), lacks=((0, 4),))
    [task] = stack.deal()
    stack.finish(task)
    stack.need("a", made=made(0))
    stack.need("a", (0, 1), made=made(0))
    stack.need("a")
    stack.need("b", lacks=((2, 3),))
    [again] = stack.deal()
    assert (0, 2) == (again.key.ordinal, again.key.item_offset)
    assert (Destination(sink="b", positions=((2, 3),)),) == again.destinations


def test_what_is_under_way_and_not_for_a_sink_is_leased_again_at_once(stack: Stack) -> None:
    """Not only after the time that a result is waited for: it will never come to this sink."""
    stack.join("a", "b")
    stack.need("a", (0, 1), lacks=((0, 2),))
    [task] = stack.deal()
    stack.finish(task)
    assert [] == stack.deal()
    stack.need("b", (0, 1), lacks=((2, 3),))
    assert [] == stack.deal(), "what it brings to others is under way, and says what failed"
    stack.need("a", (0, 1), made=made(0))
    [again] = stack.deal()
    assert 2 == again.key.item_offset
    assert ["b"] == [each.sink for each in again.destinations]


def test_failures_count_once_for_all_sinks(stack: Stack) -> None:
    """The first outcome is told to every sink; a sink does not get samples of what failed."""
    stack.join("a", "b")
    failure = Failure(offset=1, item=stack.plan.indices(0).tolist()[1], path="x", reason="broken")
    stack.need("b", (0, 1), lacks=((1, 3),))
    failing = Failing(ordinal=0, failure=failure, issuer="v", holder=1)
    report = {"made": (Made(ordinal=0, offsets=(0, 2, 3), issuer="v", holder=1),), "failing": (failing,)}
    told = outcomes(stack.need("a", (0, 1), **report))
    assert [[failure], [failure]] == [[each.failure for each in message.failed] for message in told.values()]
    [task] = stack.deal()
    assert (2, (Destination(sink="b", positions=((2, 3),)),)) == (task.key.item_offset, task.destinations)


def test_a_claim_without_samples_is_not_believed_of_what_a_sink_lacks(stack: Stack) -> None:
    """A worker that lies says it made an item that nobody can make: what fails at others then counts, for all sinks."""
    stack.join("a", "b")
    stack.need("a", (0, 1), lacks=((0, 2),))
    claim = Made(ordinal=0, shown=False, issuer="v", holder=7)
    assert {} == outcomes(stack.need("b", (0, 1), made=(claim,)))
    failure = Failure(offset=1, item=stack.plan.indices(0).tolist()[1], path="x", reason="broken")
    came = Made(ordinal=0, offsets=(0,), issuer="v", holder=1)
    failing = Failing(ordinal=0, failure=failure, issuer="v", holder=1)
    told = outcomes(stack.need("a", (0, 1), lacks=((1, 2),), made=(came,), failing=(failing,)))
    assert [[failure], [failure]] == [[each.failure for each in message.failed] for message in told.values()]


def test_a_claim_without_samples_is_believed_of_what_no_sink_lacks(stack: Stack) -> None:
    """Nobody has samples of it, but that nothing failed is to be known."""
    stack.join("a", "b")
    told = outcomes(stack.need("b", (0, 1), made=(Made(ordinal=0, shown=False, issuer="v", holder=7),)))
    assert [((0, 1),)] == [message.settled for message in told.values()]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"lacks": ((4, 2),)},
        {"lacks": ((2**61, 2**61 + 5),)},
        {"settled": ((3, 3),)},
        {"missing": ((2**61, 2**61 + 1),)},
        {"made": (Made(ordinal=0, offsets=(4,)),)},
        {"made": (Made(ordinal=0, offsets=(1, 0)),)},
        {"made": (Made(ordinal=2**61, offsets=()),)},
        {"failing": (Failing(ordinal=0, failure=Failure(offset=9, item=0, path="", reason="")),)},
    ],
)
def test_reports_that_make_no_sense_are_rejected(stack: Stack, nonsense: dict[str, Any]) -> None:
    """Nothing that a sink says can stop the ventilator from answering others."""
    stack.join("a")
    need = StreamNeed.checked({"stream": "train", "missing": ()} | nonsense)
    with pytest.raises(RemoteProtocolError, match="progress"):
        stack.leases.receive(b"a", Progress(sequence=9, needs=(need,)), stack.now)
    stack.sequence = 9
    stack.need("a", (0, 1))
    assert 1 == len(stack.deal())


def test_tasks_are_leased_once_for_sinks_that_report_one_after_the_other() -> None:
    """Of which the first sink wants no samples wait for the report of the second; each task goes to its sink alone."""
    stack = Stack()
    stack.join("a", "b")
    stack.need("a", (0, 8), lacks=((0, 16),))
    first = stack.deal()
    stack.need("b", (0, 8), lacks=((16, 32),))
    second = stack.deal()
    assert [0, 1, 2, 3] == [task.key.ordinal for task in first]
    assert [4, 5, 6, 7] == [task.key.ordinal for task in second]
    assert {("a",)} == {tuple(each.sink for each in task.destinations) for task in first}
    assert {("b",)} == {tuple(each.sink for each in task.destinations) for task in second}


def test_workers_hear_of_a_sink_that_is_lost(stack: Stack) -> None:
    """So they drop what waits for it, and it keeps nothing from the others."""
    stack.join("a", "b")
    stack.hear(b"b", Goodbye())
    sent = stack.take(stack.leases.tick(stack.now))
    assert [["a"]] == [[sink.name for sink in told.sinks] for _, told in sent if isinstance(told, WorkerWelcome)]
    again = stack.take(stack.leases.tick(stack.now))
    assert [] == [told for _, told in again if isinstance(told, WorkerWelcome)]


def test_a_ventilator_that_is_started_again_repeats_why_a_stream_stopped(stack: Stack) -> None:
    """In the words and of the kind that an earlier one told: by the kind, trainers choose what they raise."""
    stack.join("a", "b")
    stack.need("a", stopped="2 of 5 items failed", kind="budget")
    told = outcomes(stack.need("b", (0, 1)))
    assert [("2 of 5 items failed", "budget")] == [(told[b"b"].stopped, told[b"b"].kind)]
