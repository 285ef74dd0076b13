"""Outcomes that are known for good: settled tasks as ranges, failures by task, and what is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import make_plan

from penstock.protocol import ranges
from penstock.protocol.messages import Failure
from penstock.protocol.outcomes import known as module
from penstock.protocol.outcomes.known import KnownOutcomes


def failure(offset: int, item: int = 0) -> Failure:
    """Return a failure of the item at an offset."""
    return Failure(offset=offset, item=item, path="a.jpg", reason="broken")


@given(st.lists(st.integers(0, 60), unique=True))
def test_settled_tasks_are_the_ranges_of_what_was_settled(order: list[int]) -> None:
    """In whatever order tasks are settled, and across epochs (5 tasks each)."""
    known = KnownOutcomes(make_plan(items=20, task_items=4).geometry)
    for ordinal in order:
        known.settle(ordinal)
    assert ranges.from_sorted(sorted(order)) == known.settled()
    assert [ordinal in order for ordinal in range(61)] == [known.is_settled(ordinal) for ordinal in range(61)]
    part = set(ranges.members(known.settled(13, 33)))
    assert {ordinal for ordinal in order if 13 <= ordinal < 33} <= part <= set(order)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5), st.sets(st.integers(0, 60)))
def test_many_tasks_are_settled_at_once(spans: list[tuple[int, int]], before: set[int]) -> None:
    """As one by one, whatever is settled already."""
    known = KnownOutcomes(make_plan(items=20, task_items=4).geometry)
    for ordinal in sorted(before):
        known.settle(ordinal)
    covered = ranges.normalise(spans)
    known.cover(covered)
    assert ranges.from_sorted(sorted(before | set(ranges.members(covered)))) == known.settled()


def test_of_endlessly_many_tasks_the_last_epochs_are_known() -> None:
    """Nobody can claim so many that taking them in takes long."""
    known = KnownOutcomes(make_plan(items=20, task_items=4).geometry)
    known.cover(((0, 2**61),))
    assert (True, False) == (known.is_settled(2**61 - 1), known.is_settled(0))


def test_failures_belong_to_their_task() -> None:
    """A settled task of which nothing failed has none."""
    known = KnownOutcomes(make_plan().geometry)
    known.settle(3, {1: failure(1)})
    known.settle(4)
    assert known.any_failed
    assert ({1: failure(1)}, {}) == (known.failed(3), known.failed(4))
    assert [3] == [ordinal for ordinal, _ in known.failures()]


def test_the_epochs_that_were_touched_longest_ago_are_forgotten_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task is never called settled without its failures."""
    monkeypatch.setattr(module, "_FAILURES", 10)
    known = KnownOutcomes(make_plan(items=20, task_items=4).geometry)
    for ordinal in range(40):
        known.settle(ordinal, {0: failure(0), 1: failure(1)})
    kept = [ordinal for ordinal in range(40) if known.is_settled(ordinal)]
    assert list(range(20, 40)) == kept
    assert kept == sorted(ordinal for ordinal, _ in known.failures())
    assert known.forgotten > 0
