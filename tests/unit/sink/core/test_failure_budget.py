"""How many items may fail before a stream stops."""

from typing import Any

import pytest
from support.cores.assembly_harness import CoreHarness, items_of
from support.plans import (
    leased,
    make_plan,
    make_result,
    make_task,
)

from penstock.protocol.messages import (
    TaskKey,
)


def test_too_many_failures_stop_the_stream_in_words() -> None:
    """The budget, the most frequent reasons and what to do; later requests get the same answer."""
    plan = make_plan(items=20, task_items=4, failure_budget=0.1)
    harness = CoreHarness(plan)
    harness.subscribe()
    harness.subscribe(b"u", position=20)
    failing = frozenset(items_of(plan, 0)[:3])
    assert [] == harness.result(0, failing=failing)  # not on the word of one worker
    refusals = harness.result(0, failing=failing)
    assert ["budget", "budget"] == [message.kind for message in refusals]
    for word in ("'train'", "3 of 20", "failure_budget = 0.1", "(2)", "3 × cannot be decoded", "raise failure_budget"):
        assert word in refusals[0].reason
    assert {} == harness.core.streams.readers
    assert refusals[:1] == harness.subscribe(b"v")
    assert refusals[0].reason == harness.need().stopped  # type: ignore[union-attr]
    assert [] == harness.missing()


def test_a_failure_that_is_not_the_items_fault_stops_the_stream_at_once_for_its_reason() -> None:
    """Whatever the budget allows: every other item would fail as well; later requests get the same answer."""
    plan = make_plan(items=20, task_items=4, failure_budget=1.0)
    harness = CoreHarness(plan)
    harness.subscribe()
    told: list[Any] = []
    for worker in (1, 2):
        assert [] == told
        task = leased(make_task(plan, TaskKey(stream="train", ordinal=0)), holder=worker)
        result, arrays = make_result(plan, task, frozenset([task.items[1].item]))
        fatal = result.failures[0].replaced(fatal=True, reason="returned image float64(3,)")
        told = harness.hear(b"", result.model_copy(update={"failures": (fatal,)}), arrays)
    refusals = [*told, *harness.subscribe(b"late")]
    assert ["transform", "transform"] == [message.kind for message in refusals]
    for word in ("'train'", task.items[1].path, "returned image float64(3,)"):
        assert word in refusals[0].reason
    need = harness.need()
    assert need
    assert (refusals[0].reason, ()) == (need.stopped, need.missing)
    assert ["quarantined", "stream stopped"] == [note.event for note in harness.notes if note.level != "info"]


@pytest.mark.parametrize(
    ("budget", "items", "allowed"), [(0.05, 20, 1), (0.07, 100, 7), (0.07, 101, 8), (0.0, 9, 0), (1.0, 9, 8)]
)
def test_the_budget_is_rounded_up_and_never_all_items(budget: float, items: int, allowed: int) -> None:
    """0.07 of 100 is 7 and not 8, whatever binary fractions say; and an epoch without any sample never passes."""
    harness = CoreHarness(make_plan(items=items, failure_budget=budget))
    assert allowed == harness.core.streams.budgets["train"].allowed
