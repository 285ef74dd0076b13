"""One of several sinks, played by hand: what it reports, when it serves, and what it tells another ventilator."""

from typing import Any

import pytest
from support.cores.assembly_harness import CoreHarness
from support.plans import leased, make_plan, make_result, make_task, shares_of

from penstock.protocol.messages import (
    Destination,
    Failed,
    Failure,
    LeaseKey,
    Outcomes,
    Refused,
    SinkHello,
    SinkWelcome,
    StreamNeed,
    TaskKey,
)
from penstock.protocol.ranges import Ranges
from penstock.sink.core.assembly import VENTILATOR

HELLO = SinkHello(incarnation="i", name="a", results="results", version="1.0")


@pytest.fixture
def harness() -> CoreHarness:
    """The second of two ranks reads here: batches of 4, so positions 4 to 7, 12 to 15 and 18 to 19 of 20 are its."""
    harness = CoreHarness(make_plan(items=20, task_items=4, window_samples=20), hello=HELLO)
    harness.subscribe(b"t", rank=1, world_size=2)
    return harness


def bring(harness: CoreHarness, ordinal: int, share: Ranges, *failing: int, holder: int = 1) -> list[Any]:
    """Let this sink's share of a result come, of which the items at some offsets failed."""
    plan = harness.plans["train"]
    task = leased(make_task(plan, TaskKey(stream="train", ordinal=ordinal)), holder=holder)
    task = task.replaced(destinations=(Destination(sink="a", positions=share),))
    items = plan.indices(ordinal).tolist()
    dead = frozenset(items[offset] for offset in failing)
    [(_, result, arrays)] = shares_of(plan, task, *make_result(plan, task, dead))
    return harness.hear(b"", result, arrays)


def publish(harness: CoreHarness, *settled: tuple[int, int], failed: tuple[Failed, ...] = (), **more: Any) -> list[Any]:
    """Let the ventilator say what failed."""
    told = {"stream": "train", "heard": 0, "settled": settled, "failed": failed} | more
    return harness.hear(VENTILATOR, Outcomes.checked(told))


def broken(harness: CoreHarness, ordinal: int, offset: int) -> Failed:
    """Return a failure that counts."""
    item = harness.plans["train"].indices(ordinal).tolist()[offset]
    return Failed(ordinal=ordinal, failure=Failure(offset=offset, item=item, path=f"{item}.jpg", reason="broken"))


def items_sent(harness: CoreHarness) -> list[int]:
    """Return the items of all batches that the trainer got."""
    return [item for each in harness.got[b"t"] if isinstance(each, tuple) for item in each[1]]


def need(harness: CoreHarness) -> StreamNeed:
    """Return what the sink reports."""
    found = harness.need()
    assert found is not None
    return found


def test_it_lacks_the_samples_of_its_rank_and_all_outcomes(harness: CoreHarness) -> None:
    """Whether a failure moves its claims concerns it in every task."""
    told = need(harness)
    assert ((0, 6),) == told.missing, "the window is 24 samples"
    assert ((4, 8), (12, 16), (18, 20)) == told.lacks


def test_a_batch_is_sent_once_its_outcomes_are_known_and_its_samples_here(harness: CoreHarness) -> None:
    """In whatever order these come."""
    bring(harness, 1, ((4, 8),))
    assert [(1, ())] == [(each.ordinal, each.offsets) for each in need(harness).made]
    publish(harness, (0, 2))
    assert ([(0, 8)], harness.plans["train"].indices(1).tolist()) == (harness.spans(), items_sent(harness))
    publish(harness, (2, 5))
    assert 1 == len(harness.got[b"t"])
    bring(harness, 3, ((12, 16),))
    bring(harness, 4, ((18, 20),))
    assert ([(0, 8), (8, 16), (16, 20)], 1) == (harness.spans(), len(harness.ends()))


def test_a_failure_before_its_share_moves_its_claims(harness: CoreHarness) -> None:
    """It lacks a sample more at the end of its share, and sends the batch once that is here."""
    bring(harness, 1, ((4, 8),))
    publish(harness, (0, 2), failed=(broken(harness, 0, 2),))
    assert (8, 9) in need(harness).lacks
    assert b"t" not in harness.got
    publish(harness, (2, 3))
    bring(harness, 2, ((8, 9),))
    order = [item for ordinal in range(5) for item in harness.plans["train"].indices(ordinal).tolist()]
    assert ([(0, 9)], order[5:9]) == (harness.spans(), items_sent(harness))
    assert [(0, order[2])] == [(line.epoch, line.item) for line in harness.ledger]


def test_failures_are_reported_until_they_count(harness: CoreHarness) -> None:
    """With the worker that reported them; nothing is decided here."""
    bring(harness, 1, ((4, 8),), 1, holder=7)
    told = need(harness)
    assert [(1, 1, 7, False)] == [(e.ordinal, e.failure.offset, e.holder, e.vouched) for e in told.failing]
    assert [(1, (0, 2, 3))] == [(each.ordinal, each.offsets) for each in told.made]
    assert [] == harness.ledger
    publish(harness, (1, 2), failed=(broken(harness, 1, 1),))
    assert ((), ()) == (need(harness).failing, need(harness).made)
    assert 1 == len(harness.ledger)


def test_what_came_without_samples_is_only_said(harness: CoreHarness) -> None:
    """A result brings one item's samples, and says of the others that they were made: the ventilator hears which."""
    bring(harness, 1, ((5, 6),))
    assert [(True, (1,)), (False, (0, 2, 3))] == [(each.shown, each.offsets) for each in need(harness).made]
    bring(harness, 1, ((4, 8),))
    assert (True, ()) in [(each.shown, each.offsets) for each in need(harness).made]


def test_another_ventilator_hears_what_is_known_until_it_answers(harness: CoreHarness) -> None:
    """It must not decide otherwise; an answer to an earlier report is none."""
    publish(harness, (0, 2), failed=(broken(harness, 0, 2),))
    key = LeaseKey(issuer="next", secret="6" * 32)
    plans = tuple(harness.plans.values())
    harness.hear(VENTILATOR, SinkWelcome(streams=plans, intervals=harness.core.intervals, leases=key))
    told = need(harness)
    assert (((0, 2),), [2]) == (told.settled, [each.failure.offset for each in told.failed])
    publish(harness, heard=0)
    assert ((0, 2),) == need(harness).settled
    publish(harness, heard=10**6)
    assert () == need(harness).settled


def test_it_stops_when_the_ventilator_says_so(harness: CoreHarness) -> None:
    """Trainers are refused with the ventilator's words; one that comes later, too."""
    [refused] = [
        each for each in publish(harness, stopped="too many failures", kind="transform") if isinstance(each, Refused)
    ]
    assert ("transform", "too many failures") == (refused.kind, refused.reason)
    [again] = [each for each in harness.subscribe(b"u") if isinstance(each, Refused)]
    assert "too many failures" == again.reason
    assert ("too many failures", "transform") == (need(harness).stopped, need(harness).kind)


def test_outcomes_that_contradict_each_other_stop_the_stream(harness: CoreHarness) -> None:
    """Batches may have been cut by the first one: no other is right any more."""
    publish(harness, (0, 1))
    sent = publish(harness, (0, 1), failed=(broken(harness, 0, 2),))
    [refused] = [each for each in sent if isinstance(each, Refused)]
    assert "outcomes" == refused.kind
    assert "train/0" in refused.reason


def test_the_budget_is_the_ventilators(harness: CoreHarness) -> None:
    """A sink knows only what was published, and never stops a stream by itself for that."""
    every = tuple(broken(harness, ordinal, offset) for ordinal in range(5) for offset in range(4))
    sent = publish(harness, (0, 5), failed=every)
    assert not [each for each in sent if isinstance(each, Refused)]
    assert 20 == len(harness.ledger)


def test_what_no_reader_wants_is_dropped(harness: CoreHarness) -> None:
    """Samples and witnesses; what is known to have failed stays."""
    bring(harness, 1, ((4, 8),), 1)
    publish(harness, (0, 1), failed=(broken(harness, 0, 2),))
    harness.core.gone(b"t")
    store = harness.core.streams.stores["train"]
    assert (set(), 0) == (store.starts(), store.samples)
    harness.subscribe(b"u", rank=1, world_size=2)
    assert ((1, 7),) == need(harness).missing, "a failed sample takes no room"


def test_a_result_for_the_only_sink_is_taken_whole(harness: CoreHarness) -> None:
    """It was leased before this sink joined; and a share is nothing for a sink that is alone."""
    harness.result(1)
    assert 4 == harness.core.streams.stores["train"].samples
    alone = CoreHarness(make_plan(items=20, task_items=4))
    alone.subscribe(b"t")
    bring(alone, 0, ((0, 2),))
    assert 1 == alone.core.results["unwanted"]


def test_after_a_report_of_results_it_waits_for_the_answer(harness: CoreHarness) -> None:
    """The next one would say the same again. An answer to an earlier one is none, and another ventilator owes none."""
    need(harness)
    assert harness.core.answered(), "nothing has come that is to be decided"
    bring(harness, 1, ((4, 8),))
    harness.core.streams.report.changed = True
    [report] = harness.take(harness.core.progress())
    assert not harness.core.answered()
    publish(harness, heard=report.sequence - 1)
    assert not harness.core.answered()
    publish(harness, (1, 2), heard=report.sequence)
    assert harness.core.answered()
    bring(harness, 3, ((12, 16),))
    need(harness)
    assert not harness.core.answered()
    plans = tuple(harness.plans.values())
    key = LeaseKey(issuer="next", secret="6" * 32)
    harness.hear(VENTILATOR, SinkWelcome(streams=plans, intervals=harness.core.intervals, leases=key))
    assert harness.core.answered()
