"""Each item is decided once, for all sinks; and never by one worker's word alone where that would stop the stream."""

import pytest
from support.plans import make_plan

from penstock.protocol.messages import Failed, Failing, Failure, Made
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.sinks.settling import Settling

ALL = ((0, 100),)


def failed(plan: StreamPlan, ordinal: int, offset: int, *, fatal: bool = False) -> Failure:
    """Return a failure of a task's item."""
    item = plan.indices(ordinal).tolist()[offset]
    return Failure(offset=offset, item=item, path=f"{item}.jpg", reason="broken", fatal=fatal)


def said(failure: Failure, holder: int, ordinal: int = 0, *, issuer: str = "v", vouched: bool = False) -> Failing:
    """Return what a sink reports of a failure."""
    return Failing(ordinal=ordinal, failure=failure, issuer=issuer, holder=holder, vouched=vouched)


def made(*offsets: int, ordinal: int = 0, holder: int = 9) -> Made:
    """Return what a sink reports of items that were made."""
    return Made(ordinal=ordinal, offsets=offsets, issuer="v", holder=holder)


@pytest.fixture
def plan() -> StreamPlan:
    """A stream of 40 items in tasks of 4; half of them may fail."""
    return make_plan(items=40, task_items=4, failure_budget=0.5)


@pytest.fixture
def settling(plan: StreamPlan) -> Settling:
    """Nothing is decided."""
    return Settling(plan, "v", attempts=3)


def test_a_task_is_settled_once_all_its_items_are_decided(plan: StreamPlan, settling: Settling) -> None:
    """By results that came to different sinks; repeated reports change nothing."""
    for _ in range(2):
        settling.hear([made(0, 1)], [said(failed(plan, 0, 3), 1)])
        assert not settling.known.is_settled(0)
    assert (True, False) == (settling.is_decided(0, 3), settling.is_decided(0, 2))
    settling.hear([made(2)], [])
    assert {3: failed(plan, 0, 3)} == settling.known.failed(0)
    assert ((0, 1),) == settling.take_fresh()
    assert () == settling.take_fresh()


def test_what_is_made_first_is_made_whatever_fails_later(plan: StreamPlan, settling: Settling) -> None:
    """And the other way round: the first outcome holds."""
    settling.hear([made()], [])
    settling.hear([made(1, 2, 3, ordinal=1)], [said(failed(plan, 1, 0), 1, ordinal=1)])
    settling.hear([made(0, ordinal=1)], [said(failed(plan, 0, 2), 1)])
    assert {} == settling.known.failed(0)
    assert [0] == list(settling.known.failed(1))
    assert "" == settling.stopped


def test_an_item_that_was_made_and_fails_now_goes_to_other_workers(plan: StreamPlan, settling: Settling) -> None:
    """A sink lacks its samples; after three workers have failed the stream stops, in words."""
    settling.hear([made()], [])
    settling.hear([], [said(failed(plan, 0, 2), 1)])
    settling.hear([], [said(failed(plan, 0, 2), 1), said(failed(plan, 0, 2), 2)])
    assert ((0, 2, (1, 2)),) == settling.doubted(ALL)
    assert "" == settling.stopped
    assert () == settling.doubted(()), "no sink wants it any more"
    settling.hear([], [said(failed(plan, 0, 2), holder) for holder in (1, 2, 3)])
    assert "cannot be made again" in settling.stopped
    assert "outcomes" == settling.kind


def test_one_worker_alone_uses_up_half_of_the_budget_at_most(plan: StreamPlan, settling: Settling) -> None:
    """Twenty items may fail; of one worker's forty failures ten count, and the others wait for a second word."""
    everything = [said(failed(plan, n // 4, n % 4), 1, ordinal=n // 4) for n in range(40)]
    for _ in range(3):
        settling.hear([], everything)
    assert "" == settling.stopped
    assert 10 == sum(settling.is_decided(n // 4, n % 4) for n in range(40))
    assert 30 == len(settling.doubted(ALL))
    settling.hear([made(2, ordinal=5)], [])
    assert ["failure contradicted"] == [note.event for note in settling.take_notes()]
    settling.hear([], [said(failed(plan, n // 4, n % 4), 2, ordinal=n // 4) for n in range(10, 39)])
    assert "failure_budget" in settling.stopped
    assert "budget" == settling.kind


def test_a_fatal_failure_waits_for_a_second_worker(plan: StreamPlan, settling: Settling) -> None:
    """Then it stops the stream."""
    settling.hear([], [said(failed(plan, 0, 1, fatal=True), 1)])
    assert ("", ((0, 1, (1,)),)) == (settling.stopped, settling.doubted(ALL))
    settling.hear([], [said(failed(plan, 0, 1, fatal=True), 2)])
    assert ("transform", True) == (settling.kind, "broken" in settling.stopped)


def test_what_failed_at_workers_of_an_earlier_ventilator_is_not_heard(plan: StreamPlan, settling: Settling) -> None:
    """They have other numbers now: one of them would confirm its own word. What they made counts."""
    settling.hear([], [said(failed(plan, 0, 1, fatal=True), 1, issuer="before")])
    assert () == settling.doubted(ALL)
    settling.hear([], [said(failed(plan, 0, 1, fatal=True), 4)])
    assert ("", ((0, 1, (4,)),)) == (settling.stopped, settling.doubted(ALL))
    settling.hear([Made(ordinal=0, offsets=(1,), issuer="before", holder=1)], [])
    assert settling.is_decided(0, 1)


def test_what_sinks_know_is_adopted_and_never_contradicted(plan: StreamPlan, settling: Settling) -> None:
    """Failures count in the budget, too; sinks that disagree stop the stream."""
    lost = Failed(ordinal=1, failure=failed(plan, 1, 3))
    settling.adopt(((0, 2),), [lost])
    settling.adopt(((1, 3),), [lost])
    settling.hear([made(3, ordinal=1)], [])
    assert ((0, 3),) == settling.known.settled()
    assert [3] == list(settling.known.failed(1))
    assert "" == settling.stopped
    settling.adopt(((1, 2),), [])
    assert "know different items of task 1 as failed" in settling.stopped


def test_what_was_begun_with_a_task_that_a_sink_knows_is_forgotten(plan: StreamPlan, settling: Settling) -> None:
    """Else nobody would ever send the samples of an item that this ventilator alone calls failed."""
    settling.hear([], [said(failed(plan, 0, 3), 1)])
    settling.adopt(((0, 1),), [])
    assert [] == list(settling.failed(0))
    assert "" == settling.stopped


def test_an_item_that_was_given_up_counts_as_failed(plan: StreamPlan, settling: Settling) -> None:
    """Unless it was made before, for another sink: then there is no right outcome."""
    settling.hear([made(0, 1, 2)], [])
    settling.give_up(0, failed(plan, 0, 3))
    assert [3] == list(settling.known.failed(0))
    settling.give_up(0, failed(plan, 0, 3))
    assert "" == settling.stopped
    settling.give_up(0, failed(plan, 0, 0))
    assert "cannot be made again" in settling.stopped
