"""Results that arrive: counted once, checked against plan and schema, failures included."""

from typing import Any

import pytest
from support.cores.assembly_harness import CoreHarness, items_of
from support.plans import (
    leased,
    make_plan,
    make_result,
    make_task,
)

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import (
    Credit,
    Failure,
    TaskKey,
)
from penstock.sink.core.assembly import VENTILATOR


def test_a_repeated_result_is_counted_and_changes_nothing() -> None:
    """Hedged and lost work comes twice: whichever copy is first counts."""
    harness = CoreHarness(make_plan(items=20, task_items=4, batch_size=20))
    harness.subscribe()
    for ordinal in (0, 0, 1, 0):
        harness.result(ordinal)
    assert {"accepted": 2, "duplicate": 2} == dict(harness.core.results)


def test_parts_of_a_task_make_the_batch_of_the_whole() -> None:
    """In any order, one twice, one beside items of its own: the samples lie as if the task had come at once."""
    whole, parts = (CoreHarness(make_plan(items=8, task_items=8, batch_size=8)) for _ in range(2))
    for harness in (whole, parts):
        harness.subscribe()
    whole.result(0)
    parts.result(0, (1, 2, 6))
    need = parts.need()
    assert need is not None
    assert ((0, (1, 2, 6)),) == need.partial
    parts.result(0, (1, 2, 6))
    parts.result(0, 4)
    parts.result(0, (0, 4, 5, 7))
    assert b"t" not in parts.got
    parts.result(0, 3)
    assert whole.got == parts.got
    assert {"accepted": 4, "duplicate": 1} == dict(parts.core.results)


def test_failures_of_a_part_are_those_of_its_items() -> None:
    """By their offsets in the whole task; its other items are delivered."""
    plan = make_plan(items=8, task_items=8, batch_size=8)
    harness = CoreHarness(plan)
    harness.subscribe()
    items = plan.indices(0).tolist()
    harness.result(0, (1, 4, 6), failing=frozenset({items[4]}))
    harness.result(0, (0, 2, 3, 5, 7))
    assert [items[4]] == [entry.item for entry in harness.ledger]
    batch = harness.got[b"t"][0]
    assert isinstance(batch, tuple)
    assert [items[place] for place in (0, 1, 2, 3, 5, 6, 7)] == batch[1]


@pytest.mark.parametrize("offsets", [(2, 1), (1, 1), (3, 4)])
def test_a_part_that_no_task_has_is_rejected(offsets: tuple[int, ...]) -> None:
    """Offsets ascend, and lie in the task."""
    plan = make_plan(task_items=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    wrong = TaskKey(stream="train", ordinal=0, offsets=offsets)
    result, arrays = make_result(plan, task)
    lease = leased(task.replaced(key=wrong)).lease
    with pytest.raises(RemoteProtocolError, match="its task has 4 items"):
        harness.core.receive(b"", result.model_copy(update={"key": wrong, "lease": lease}), arrays, 0.0)


def test_a_result_that_nobody_wants_is_counted_and_not_kept() -> None:
    """Before any subscription, of a stream that is not there, before the cursor or beyond the window."""
    harness = CoreHarness(make_plan(items=1000, task_items=4, batch_size=4))
    harness.result(0)
    harness.subscribe(position=40)
    for ordinal in (0, 9, 200):
        harness.result(ordinal)
    assert {"unwanted": 4} == dict(harness.core.results)
    assert 10 == harness.missing()[0]


def test_a_result_of_another_plan_is_rejected() -> None:
    """A worker that was started with another spec, or other task sizes, must never fill this stream."""
    harness = CoreHarness(make_plan(task_items=4))
    harness.subscribe()
    for other in (make_plan(task_items=4, fingerprint="other"), make_plan(task_items=2)):
        result, arrays = make_result(other, make_task(other, TaskKey(stream="train", ordinal=0)))
        with pytest.raises(RemoteProtocolError, match=r"plan: .*made by plan"):
            harness.core.receive(b"", result, arrays, 0.0)
    assert {} == dict(harness.core.results)


@pytest.mark.parametrize("fault", ["short", "dtype", "name", "fields", "failure", "double", "alone"])
def test_a_result_that_does_not_fit_the_schema_is_rejected(fault: str) -> None:
    """Too few samples, another type or name, missing fields, failures of items that it does not hold."""
    plan = make_plan(task_items=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    result, arrays = make_result(plan, task)
    frame = result.frames[0]
    failure = Failure(offset=9, item=3, path="x", reason="y")
    faults: dict[str, dict[str, Any]] = {
        "short": {"frames": (frame.model_copy(update={"shape": (3, 1, 4, 1)}), *result.frames[1:])},
        "dtype": {"frames": (frame.model_copy(update={"dtype": "int8"}), *result.frames[1:])},
        "name": {"frames": (frame.model_copy(update={"name": "picture"}), *result.frames[1:])},
        "fields": {"frames": result.frames[1:]},
        "failure": {"failures": (failure,)},
        "double": {"failures": (failure.replaced(offset=0),) * 2},
        "alone": {"key": (alone := TaskKey(stream="train", ordinal=0, item_offset=4))},
    }
    faults["alone"]["lease"] = leased(task.replaced(key=alone)).lease
    with pytest.raises(RemoteProtocolError, match="result"):
        harness.core.receive(b"", result.model_copy(update=faults[fault]), arrays, 0.0)
    harness.core.validate()


def test_items_that_failed_leave_no_gap_and_are_counted_once() -> None:
    """Batches are filled from the survivors behind; the ledger gets each failure once, with its path and reason."""
    plan = make_plan(items=12, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    failing = frozenset(items_of(plan, 0)[1:3])
    for ordinal in (0, 0, 1, 2):
        harness.result(ordinal, failing=failing)
    assert [(0, 6), (6, 10), (10, 12)] == harness.spans()
    [end] = harness.ends()
    assert (12, 10, 2, 0) == (end.expected, end.delivered, end.quarantined, end.dropped)
    assert 2 == len(harness.ledger) == len([note for note in harness.notes if note.event == "quarantined"])
    assert {(item, 0, f"{item}.jpg") for item in failing} == {
        (entry.item, entry.epoch, entry.path) for entry in harness.ledger
    }
    assert {("train", "cannot be decoded", "w")} == {
        (entry.stream, entry.reason, entry.worker) for entry in harness.ledger
    }


def test_an_item_is_warned_about_once_and_counted_once_however_many_epochs_it_fails_in() -> None:
    """Its first line names path and reason first; later epochs add to the ledger, and say no more at this level."""
    plan = make_plan(items=12, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    bad = items_of(plan, 0)[1]
    for epoch in range(3):
        for ordinal in range(3):
            items = items_of(plan, epoch * 3 + ordinal)
            harness.result(epoch * 3 + ordinal, failing=frozenset({bad} & set(items)))
        harness.hear(b"t", Credit(consumed=3 * (epoch + 1), limit=100))
    notes = [note for note in harness.notes if note.event == "quarantined"]
    assert ["warning", "debug", "debug"] == [note.level for note in notes]
    assert ["path", "reason"] == list(notes[0].fields)[:2]
    assert [0, 1, 2] == [entry.epoch for entry in harness.ledger]
    harness.wait(3.0, VENTILATOR)
    [stream] = harness.core.observe(harness.now).stats.streams
    assert (1, 3) == (sum(stream.quarantined_items.values()), sum(stream.quarantined.values()))


def test_what_the_ventilator_gave_up_counts_as_failed() -> None:
    """The item that kills its workers is skipped, the rest of its task delivered, item by item."""
    plan = make_plan(items=4, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    for offset in (3, 0, 1):
        harness.result(0, item_offset=offset)
    assert (0, (0, 1, 3)) == harness.need().partial[0]  # type: ignore[union-attr]
    harness.hear(VENTILATOR, harness.failure(0, 2))
    harness.hear(VENTILATOR, harness.failure(0, 2))
    [(batch, items)] = [each for each in harness.got[b"t"] if isinstance(each, tuple)]
    assert (0, 4) == (batch.start, batch.stop)
    assert [item for n, item in enumerate(items_of(plan, 0)) if n != 2] == items
    assert 1 == len(harness.ledger)


def test_a_whole_task_replaces_the_items_that_came_alone() -> None:
    """A hedged copy may bring the task whole after some of its items came: none is delivered twice."""
    plan = make_plan(items=4, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe()
    harness.result(0, item_offset=2)
    harness.result(0)
    harness.result(0, item_offset=1)
    assert [items_of(plan, 0)] == [each[1] for each in harness.got[b"t"] if isinstance(each, tuple)]


def test_a_quarantined_message_for_another_item_is_rejected() -> None:
    """The unit of work and the failure must name the same item."""
    harness = CoreHarness()
    harness.subscribe()
    message = harness.failure(0, 2)
    wrong = message.model_copy(update={"key": TaskKey(stream="train", ordinal=0, item_offset=1)})
    with pytest.raises(RemoteProtocolError, match="quarantined"):
        harness.core.receive(VENTILATOR, wrong, (), 0.0)
