"""Those who only look at the sink: they see what is there, and no reader is served otherwise because of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cores.previews import LOOK, check, hear, make_core, result, shown, subscribe
from support.plans import (
    SAMPLE_BYTES,
    leased,
    make_plan,
    make_result,
    make_task,
)

from penstock.protocol.instructions import Send
from penstock.protocol.messages import (
    Batch,
    Credit,
    Failure,
    Goodbye,
    Refused,
    TaskKey,
)
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.instructions import SinkInstruction
from penstock.sink.core.sample_previews import MOST_WAITING, sample_reply
from penstock.sink.core.store import Store


def test_an_onlooker_sees_the_first_samples_that_are_held() -> None:
    """At the lowest positions, in their order; as many as it asked for."""
    plan = make_plan(items=40, task_items=4, window_samples=20)
    core = make_core(plan)
    subscribe(core, limit=0)
    for ordinal in (3, 1, 4):
        result(core, plan, ordinal)
    [seen] = shown(hear(core, b"eye", LOOK))
    assert (4, 5, 6, 7, 12, 13, 14) == check(plan, seen)
    assert 1 == seen[0].readers


@pytest.mark.parametrize("patches", [1, 3])
@pytest.mark.parametrize("offsets", [(0,), (1, 2), (1, 2, 6)])
def test_an_onlooker_sees_the_samples_of_a_part_of_a_task(patches: int, offsets: tuple[int, ...]) -> None:
    """At once if the part is here, and as soon as it comes if the onlooker waits for it; each at its own position."""
    plan = make_plan(items=8, task_items=8, batch_size=8, patches=patches)
    part = leased(make_task(plan, TaskKey(stream="train", ordinal=0, offsets=offsets)), vouched=True)
    if len(offsets) == 1:
        part = leased(make_task(plan, TaskKey(stream="train", ordinal=0, item_offset=offsets[0])), vouched=True)
    core = make_core(plan)
    subscribe(core, limit=0)
    assert [] == shown(hear(core, b"waits", LOOK), b"waits")
    [waited] = shown(hear(core, b"", *make_result(plan, part)), b"waits")
    [seen] = shown(hear(core, b"eye", LOOK))
    expected = sorted(plan.geometry.positions(0)[list(offsets)].ravel().tolist())[: LOOK.count]
    assert tuple(expected) == check(plan, seen) == check(plan, waited)


def test_an_onlooker_may_go_on_after_what_it_has_seen() -> None:
    """From a position on; where nothing is held beyond it, with the next result."""
    plan = make_plan(items=40, task_items=4, window_samples=20)
    core = make_core(plan)
    subscribe(core, limit=0)
    for ordinal in (1, 3):
        result(core, plan, ordinal)
    [seen] = shown(hear(core, b"eye", LOOK.model_copy(update={"position": 6})))
    assert (6, 7, 12, 13, 14, 15) == check(plan, seen)
    assert [] == hear(core, b"eye", LOOK.model_copy(update={"position": 16}))
    assert [] == shown(result(core, plan, 2))
    assert [(16, 17, 18, 19)] == [check(plan, seen) for seen in shown(result(core, plan, 4))]


@given(
    mix=st.sampled_from([1, 2, 8]),
    patches=st.integers(1, 3),
    failing=st.frozensets(st.integers(0, 39)),
    ordinals=st.permutations(range(5)),
    count=st.integers(1, 60),
)
def test_whatever_came_each_sample_shown_is_the_one_at_its_position(
    mix: int, patches: int, failing: frozenset[int], ordinals: list[int], count: int
) -> None:
    """With mix windows, several patches, failures and tasks in any order, complete blocks or not."""
    plan = make_plan(items=40, task_items=4, window_samples=1000, mix=mix, patches=patches)
    core = make_core(plan)
    subscribe(core, limit=0)
    held = 0
    for ordinal in ordinals[:3]:
        result(core, plan, ordinal, failing)
        task = make_task(plan, TaskKey(stream="train", ordinal=ordinal))
        held += patches * sum(item.item not in failing for item in task.items)
    seen = shown(hear(core, b"eye", LOOK.model_copy(update={"count": count})))
    if not held:
        assert [] == seen
        return
    positions = check(plan, seen[0])
    assert min(count, held) == len(positions)
    assert list(positions) == sorted(set(positions))


def test_what_is_shown_is_a_copy() -> None:
    """Memory that workers lend may be used again once the readers are done with it."""
    plan = make_plan(items=8, task_items=4)
    core = make_core(plan)
    subscribe(core, limit=0)
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    message, arrays = make_result(plan, task)
    hear(core, b"", message, arrays)
    [(_, copies)] = shown(hear(core, b"eye", LOOK))
    for array, copy in zip(arrays, copies, strict=True):
        assert not np.shares_memory(array, copy)
        assert copy.flags.c_contiguous


def test_where_nothing_is_held_the_next_result_is_shown_before_it_leaves() -> None:
    """Batches leave as soon as they are complete: a hungry trainer's sink holds nothing in between."""
    plan = make_plan(items=40, task_items=4, batch_size=4)
    core = make_core(plan)
    subscribe(core)
    assert [] == hear(core, b"eye", LOOK)
    out = result(core, plan, 0)
    assert [(0, 1, 2, 3)] == [check(plan, seen) for seen in shown(out)]
    assert 1 == sum(isinstance(each, Send) and isinstance(each.message, Batch) for each in out)
    assert [] == shown(result(core, plan, 1)), "one answer for each question"


def play(plan: StreamPlan, *, looking: bool) -> list[Any]:
    """Return all that a core says to others than an onlooker, in a fixed course of events."""
    core, out = make_core(plan), list[SinkInstruction]()
    subscribe(core, limit=2)
    for ordinal in range(plan.geometry.tasks_per_epoch):
        if looking:
            hear(core, b"eye", LOOK)
        out += result(core, plan, ordinal)
        if looking:
            hear(core, b"eye", LOOK)
        out += hear(core, b"t", Credit(consumed=ordinal, limit=ordinal + 2))
        out += core.progress()
    told = [(each.peer, each.message) if isinstance(each, Send) else each for each in out]
    return [each for each in told if not isinstance(each, tuple) or each[0] != b"eye"]


def test_readers_get_the_same_whether_somebody_looks_or_not() -> None:
    """Message by message, and the ventilator hears the same too."""
    plan = make_plan(items=24, task_items=4, batch_size=5, window_samples=12)
    told = [play(plan, looking=looking) for looking in (False, True)]
    assert told[0] == told[1]
    assert 4 <= sum(isinstance(entry[1], Batch) for entry in told[0] if isinstance(entry, tuple))


def test_nothing_is_made_for_who_only_looks() -> None:
    """Without a reader the stream needs nothing, and the onlooker is told at once that there is no reader."""
    plan = make_plan()
    core = make_core(plan)
    [seen] = shown(hear(core, b"eye", LOOK))
    assert ((), 0) == (seen[0].positions, seen[0].readers)
    [report] = core.progress()
    assert isinstance(report, Send)
    assert () == report.message.needs  # type: ignore[union-attr]
    assert {} == core.streams.readers


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"stream": "test"}, "stream", "no stream 'test' here; there are: train"),
        ({"version": "0.9"}, "version", "this command runs Penstock 0.9, the sink 1.0: install the same"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(changes: dict[str, Any], kind: str, words: str) -> None:
    """As it is to trainers."""
    [send] = hear(make_core(make_plan()), b"eye", LOOK.model_copy(update=changes))
    assert isinstance(send, Send)
    assert Refused.model_validate({"kind": kind, "reason": words}) == send.message


def test_of_a_stream_that_stopped_the_reason_is_told() -> None:
    """There will never be more of it."""
    plan = make_plan(failure_budget=0.0)
    core = make_core(plan)
    subscribe(core)
    items = make_task(plan, TaskKey(stream="train", ordinal=0)).items
    for _ in range(2):  # the second one confirms the first
        result(core, plan, 0, frozenset([items[0].item]))
    [send] = hear(core, b"eye", LOOK)
    assert isinstance(send, Send)
    assert isinstance(send.message, Refused)
    assert "failure_budget" in send.message.reason


def test_who_asks_before_the_ventilator_has_answered_hears_nothing_yet() -> None:
    """It asks again."""
    assert [] == hear(make_core(None), b"eye", LOOK)


def test_a_result_without_a_sample_shows_nothing() -> None:
    """The onlooker waits for the next."""
    plan = make_plan(items=40, task_items=4)
    core = make_core(plan)
    subscribe(core)
    hear(core, b"eye", LOOK)
    items = frozenset(item.item for item in make_task(plan, TaskKey(stream="train", ordinal=0)).items)
    assert [] == shown(result(core, plan, 0, items))
    assert 1 == len(shown(result(core, plan, 1)))


def test_onlookers_that_wait_are_few_and_are_forgotten_when_they_leave() -> None:
    """Of too many, the one that asked first; each has one request, however often it asks."""
    plan = make_plan(items=40, task_items=4)
    core = make_core(plan)
    subscribe(core)
    for number in range(MOST_WAITING + 3):
        for _ in range(2):
            hear(core, f"eye{number}".encode(), LOOK)
        assert len(core.trainers.previews) <= MOST_WAITING
    hear(core, b"eye5", Goodbye())
    core.gone(b"eye6")
    out = result(core, plan, 0)
    seen = [number for number in range(MOST_WAITING + 3) if shown(out, f"eye{number}".encode())]
    assert [3, 4, *range(7, MOST_WAITING + 3)] == seen
    assert 0 == len(core.trainers.previews)


@pytest.mark.parametrize(("most_bytes", "expected"), [(100 * SAMPLE_BYTES, 12), (4 * SAMPLE_BYTES - 1, 3), (1, 1)])
def test_a_glimpse_has_a_size_limit(monkeypatch: pytest.MonkeyPatch, most_bytes: int, expected: int) -> None:
    """However much is asked for, the sink's thread copies no more; one sample is always shown."""
    monkeypatch.setattr("penstock.sink.core.sample_previews.MOST_BYTES", most_bytes)
    plan = make_plan(items=40, task_items=4)
    store = Store(plan)
    for ordinal in range(3):
        task = make_task(plan, TaskKey(stream="train", ordinal=ordinal))
        store.add(task.key, (), (), make_result(plan, task)[1])
    assert expected == len(sample_reply(store, LOOK.model_copy(update={"count": 100}), 1)[0].positions)


def test_failures_are_not_shown() -> None:
    """Only samples are; a quarantined item is in the ledger."""
    plan = make_plan(items=8, task_items=4)
    core = make_core(plan)
    subscribe(core, limit=0)
    failed = make_task(plan, TaskKey(stream="train", ordinal=0)).items[1]
    result(core, plan, 0, frozenset([failed.item]))
    [seen] = shown(hear(core, b"eye", LOOK))
    assert (0, 2, 3) == check(plan, seen)
    assert Failure not in map(type, seen[1])
