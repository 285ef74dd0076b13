"""The store of one of several sinks: blocks follow from outcomes, samples come before or after them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import make_plan, make_result, make_samples, make_task, shares_of

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Destination, Failure, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.reader import gather
from penstock.sink.core.shared.store import SharedStore


def bring(store: SharedStore, ordinal: int, share: ranges.Ranges, failing: frozenset[int] = frozenset()) -> int:
    """Let the share of a task's result come; return how many samples were new."""
    plan = store.plan
    task = make_task(plan, TaskKey(stream="train", ordinal=ordinal))
    task = task.replaced(destinations=(Destination(sink="a", positions=share),))
    [(_, result, arrays)] = shares_of(plan, task, *make_result(plan, task, failing))
    store.check(result)
    count = store.take_in(result, arrays)
    store.validate()
    return count


def broken(plan: StreamPlan, ordinal: int, *offsets: int) -> dict[int, Failure]:
    """Return failures of a task's items."""
    items = plan.indices(ordinal).tolist()
    return {each: Failure(offset=each, item=items[each], path="a", reason="broken") for each in offsets}


def samples_at(plan: StreamPlan, positions: list[int]) -> list[list[int]]:
    """Return the images that stand at positions, from the order itself."""
    found: dict[int, tuple[int, int]] = {}
    for ordinal in range(plan.geometry.tasks_per_epoch):
        items, places = plan.indices(ordinal).tolist(), plan.geometry.positions(ordinal).tolist()
        for item, row in zip(items, places, strict=True):
            found |= {position: (item, patch) for patch, position in enumerate(row)}
    chosen = [found[position] for position in positions]
    images = make_samples(plan, 0, [item for item, _ in chosen], [patch for _, patch in chosen])[0]
    return images.reshape(-1, 4).tolist()


def test_a_block_is_there_once_it_is_known_what_failed() -> None:
    """Its samples may come before that or after, and only those of this sink's readers ever do."""
    store = SharedStore(make_plan(items=20, task_items=4))
    assert 2 == bring(store, 0, ((1, 3),))
    assert store.blocks.get(0) is None
    store.settle(0, {})
    block = store.blocks.get(0)
    assert block is not None
    assert (4, None, 0) == (block.count, block.first_missing(1, 3), block.first_missing(0, 3))
    assert 3 == block.first_missing(1, 4)
    assert 0 == bring(store, 0, ((1, 3),))
    assert 1 == bring(store, 0, ((1, 4),))
    assert block.first_missing(1, 4) is None
    assert ((0, 1),) == store.lacking(0, 4)


@given(
    patches=st.integers(1, 3),
    mix=st.sampled_from((1, 2, 8)),
    shares=st.lists(st.tuples(st.integers(0, 1), st.sets(st.integers(0, 23))), max_size=6),
    failing=st.sets(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=3),
)
def test_what_is_taken_is_what_stands_at_the_positions(
    patches: int, mix: int, shares: list[tuple[int, set[int]]], failing: set[tuple[int, int]]
) -> None:
    """In position order, whatever came in which pieces, twice or not at all."""
    plan = make_plan(items=8, patches=patches, mix=mix, task_items=4)
    store, came = SharedStore(plan), set[int]()
    dead = frozenset(plan.indices(ordinal).tolist()[offset] for ordinal, offset in failing)
    for ordinal, wanted in shares:
        bring(store, ordinal, ranges.from_sorted(sorted(wanted)), dead)
        came |= wanted & set(plan.geometry.positions(ordinal).ravel().tolist())
    for ordinal in range(2):
        store.settle(ordinal, broken(plan, ordinal, *(offset for task, offset in failing if task == ordinal)))
    lost = set(store.lost.tolist())
    start = 0
    while start < plan.geometry.samples_per_epoch:
        block = store.blocks.get(start)
        assert block is not None
        alive = [position for position in range(start, block.stop) if position not in lost]
        assert len(alive) == block.count
        assert alive == [block.position(index) for index in range(block.count)]
        lacking = [position for position in alive if position not in came]
        assert lacking == list(ranges.members(store.lacking(start, block.stop)))
        for low in range(block.count):
            missing = block.first_missing(low, block.count)
            high = block.count if missing is None else missing
            assert all(position in came for position in alive[low:high])
            assert missing is None or alive[missing] not in came
            got = gather(0, plan.schema[0], list(block.take(low, high)), high - low)
            assert samples_at(plan, alive[low:high]) == got.reshape(-1, 4).tolist()
        start = block.stop


@given(st.sets(st.integers(0, 19)), st.integers(0, 19), st.integers(0, 30))
def test_the_reach_counts_survivors(dead: set[int], cursor: int, room: int) -> None:
    """Samples that are known to have failed take no room."""
    plan = make_plan(items=20, task_items=4)
    store = SharedStore(plan)
    for ordinal in range(5):
        store.settle(ordinal, broken(plan, ordinal, *(each % 4 for each in dead if each // 4 == ordinal)))
    limit = store.reach(cursor, room)
    assert room == sum(position not in dead for position in range(cursor, limit))


def test_an_outcome_never_changes() -> None:
    """Another one is refused: a batch may have been cut by the first."""
    plan = make_plan()
    store = SharedStore(plan)
    assert store.settle(0, broken(plan, 0, 1))
    assert not store.settle(0, broken(plan, 0, 1))
    with pytest.raises(ValueError, match=r"train/0, items \[1\] failed, and now \[\]"):
        store.settle(0, {})


def test_frames_that_are_not_of_the_share_are_rejected() -> None:
    """The positions say how many samples there are."""
    plan = make_plan()
    store = SharedStore(plan)
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    result, _ = make_result(plan, task)
    with pytest.raises(RemoteProtocolError, match="the schema says"):
        store.check(result.model_copy(update={"shares": ((0, 2),)}))
    assert np.array_equal(np.arange(4), store.places(result))
