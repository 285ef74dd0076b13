"""A failure that would stop a stream counts once a second worker has confirmed it; a lie costs the liar its credit."""

from typing import Any

import pytest
from support.cores.assembly_harness import CoreHarness, items_of
from support.plans import leased, make_plan, make_result, make_task

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Credit, LeaseKey, SinkWelcome, TaskKey
from penstock.sink.core.assembly import VENTILATOR

LIAR: dict[str, Any] = {"worker": "liar", "holder": 1000}


def report(
    harness: CoreHarness, ordinal: int, failing: frozenset[int], changes: dict[str, Any], **by: Any
) -> list[Any]:
    """Let a task's result arrive whose failures are changed before they are sent."""
    plan = harness.plans["train"]
    task = leased(make_task(plan, TaskKey(stream="train", ordinal=ordinal)), **by)
    result, arrays = make_result(plan, task, failing, by.get("worker", "w"))
    failures = tuple(failure.replaced(**changes) for failure in result.failures)
    return harness.hear(b"", result.model_copy(update={"failures": failures}), arrays)


def doubted(harness: CoreHarness) -> list[tuple[int, int, tuple[int, ...]]]:
    """Return what the ventilator is asked a second word on."""
    need = harness.need()
    return list(need.doubted) if need else []


def contradictions(harness: CoreHarness) -> dict[str, int]:
    """Return how often each worker was contradicted."""
    return dict(harness.core.statistics.contradicted)


def test_a_fatal_lie_is_withheld_and_dropped_when_another_worker_delivers() -> None:
    """The other items of the task count at once; nothing stops, nothing is quarantined, and the liar is named."""
    plan = make_plan(items=20, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    [first, *_] = items_of(plan, 0)
    assert [] == report(harness, 0, frozenset([first]), {"fatal": True}, **LIAR)
    assert [(0, 0, (1000,))] == doubted(harness)
    assert ((0, (1, 2, 3)),) == harness.need().partial  # type: ignore[union-attr]
    assert [] == harness.spans()
    harness.result(0, 0)
    assert [(0, 4)] == harness.spans()
    assert [items_of(plan, 0)] == [items for _, items in harness.got[b"t"]]
    assert {"liar": 1} == contradictions(harness)
    assert ([], {}, []) == (harness.ledger, harness.core.streams.stopped(), doubted(harness))
    assert ["failure contradicted"] == [note.event for note in harness.notes if note.level == "warning"]


def test_its_own_word_confirms_nothing_unless_the_ventilator_vouches_for_it() -> None:
    """Further leases of the same worker change nothing; where there is no other worker, its second word counts."""
    plan = make_plan(items=20, task_items=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    failing = frozenset(items_of(plan, 0)[:1])
    for _ in range(3):
        assert [] == report(harness, 0, failing, {"fatal": True}, **LIAR)
    [refused] = report(harness, 0, failing, {"fatal": True}, **LIAR, vouched=True)
    assert "transform" == refused.kind


def test_only_half_the_budget_rests_on_single_words() -> None:
    """Of 6 failures that may come, 3 count at once; a worker that lies about all the others is uncounted with them."""
    plan = make_plan(items=120, task_items=6, failure_budget=0.05, window_samples=120)
    harness = CoreHarness(plan)
    harness.subscribe()
    assert 6 == harness.core.streams.budgets["train"].allowed
    lies = frozenset(items_of(plan, 0, 1))
    for ordinal in (0, 1):
        harness.result(ordinal, failing=lies, **LIAR)
    assert 3 == len(harness.ledger)
    assert 9 == len(doubted(harness))
    for ordinal, offset, _ in doubted(harness):
        harness.result(ordinal, offset)
    assert {"liar": 9} == contradictions(harness)
    assert 3 == harness.core.streams.budgets["train"].room(0)
    assert (3, {}) == (len(harness.ledger), harness.core.streams.stopped())


def test_a_worker_that_was_contradicted_is_not_believed_any_more() -> None:
    """Every failure of it waits for a second word, also within the budget; that of others does not."""
    plan = make_plan(items=40, task_items=4, failure_budget=1.0, window_samples=40)
    harness = CoreHarness(plan)
    harness.subscribe()
    for ordinal in range(3):
        report(harness, ordinal, frozenset(items_of(plan, ordinal)[:1]), {"fatal": True}, **LIAR)
        harness.result(ordinal, 0)
    harness.result(3, failing=frozenset(items_of(plan, 3)[:1]), **LIAR)
    assert [(3, 0, (1000,))] == doubted(harness)
    harness.result(4, failing=frozenset(items_of(plan, 4)[:1]))
    assert [(3, 0, (1000,))] == doubted(harness)
    harness.result(3, 0, failing=frozenset(items_of(plan, 3)))
    assert [] == doubted(harness)
    assert {items_of(plan, 3)[0], items_of(plan, 4)[0]} == {entry.item for entry in harness.ledger}


def test_whole_tasks_fill_only_the_gaps_that_doubts_leave() -> None:
    """Two workers fail different items of one task: each sample is kept once, from the worker that made it."""
    plan = make_plan(items=20, task_items=4, batch_size=4, failure_budget=0.0, patches=2)
    harness = CoreHarness(plan)
    harness.subscribe()
    items = items_of(plan, 0)
    harness.result(0, failing=frozenset(items[:2]))
    harness.result(0, failing=frozenset(items[1:3]))  # the first is there; the second is confirmed: too many failed
    assert "1 of 20 items failed" in harness.core.streams.stopped()["train"]
    [entry] = harness.ledger
    assert items[1] == entry.item


def test_doubts_end_with_the_readers_that_wanted_the_task() -> None:
    """Nothing is asked for a task that no reader wants, and a new reader's ventilator makes it anew."""
    plan = make_plan(items=20, task_items=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    report(harness, 0, frozenset(items_of(plan, 0)), {"fatal": True}, **LIAR)
    assert 4 == len(doubted(harness))
    assert {"withheld": 1} == dict(harness.core.results)
    harness.subscribe(position=8)
    harness.need()
    harness.subscribe(position=0)
    assert [] == doubted(harness)
    harness.result(0)
    assert {} == contradictions(harness)
    harness.hear(b"t", Credit(consumed=0, limit=200))


def test_only_leased_tasks_items_and_names_are_accepted() -> None:
    """No lease, that of another task or worker, a plain lease that says it is vouched for: each is refused in words."""
    plan = make_plan(items=20, task_items=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    other = make_task(plan, TaskKey(stream="train", ordinal=1))
    failing = frozenset([task.items[0].item])
    result, arrays = make_result(plan, task, failing)
    bare = leased(task).lease
    lies: list[tuple[str, dict[str, Any]]] = [
        ("lease", {"lease": type(bare)()}),
        ("lease", {"lease": other.lease}),
        ("lease", {"worker": "x"}),
        ("lease", {"lease": bare.replaced(vouched=True)}),
        ("lease", {"lease": bare.replaced(holder=2)}),
        ("result", {"failures": (result.failures[0].replaced(item=10**9),)}),
        ("result", {"failures": (result.failures[0].replaced(path="../a\0\x1b[2J"),)}),
        ("result", {"names": ()}),
        ("result", {"names": tuple(item.name for item in other.items)}),
    ]
    for reason, changes in lies:
        with pytest.raises(RemoteProtocolError) as caught:
            harness.core.receive(b"", result.model_copy(update=changes), arrays, 0.0)
        assert reason == caught.value.reason
        assert str(caught.value).isprintable()
    assert {} == dict(harness.core.results)
    harness.hear(b"", result, arrays)
    assert {"accepted": 1} == dict(harness.core.results)


def test_a_reason_is_made_printable_and_the_rest_is_not_the_workers_to_say() -> None:
    """Escapes, NUL and marks that turn the line around reach neither ledger nor log."""
    plan = make_plan(items=20, task_items=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    failing = frozenset(items_of(plan, 0)[:1])
    words = {"reason": "a\0b\x1b[2Jc\u202ed\n", "attempts": 2**40, "worker": "\x07other"}
    report(harness, 0, failing, words, worker="w\u2066", holder=3)
    [entry] = harness.ledger
    assert (r"a\x00b\x1b[2Jc\u202ed\n", 1, r"w\u2066") == (entry.reason, entry.attempts, entry.worker)
    [note] = [note for note in harness.notes if note.event == "quarantined"]
    assert all(str(value).isprintable() for value in note.fields.values())


def test_leases_of_the_ventilator_before_are_accepted_and_those_of_none_are_stale() -> None:
    """A restart of the ventilator loses no result that is under way; a doubt ends with it, as its numbers do."""
    plan = make_plan(items=20, task_items=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    report(harness, 0, frozenset(items_of(plan, 0)[:1]), {"fatal": True}, **LIAR)
    key = LeaseKey(issuer="next", secret="6" * 32)
    harness.hear(VENTILATOR, SinkWelcome(streams=(plan,), intervals=harness.core.intervals, leases=key))
    assert [] == doubted(harness)
    harness.result(0)
    task = make_task(plan, TaskKey(stream="train", ordinal=1))
    strange = task.replaced(lease=task.lease.replaced(issuer="never met"))
    harness.hear(b"", *make_result(plan, strange))
    assert {"accepted": 2, "stale": 1} == dict(harness.core.results)
