"""The items of tasks, found many at a time."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from support.plans import make_plan

from penstock.protocol.messages import Item, TaskKey
from penstock.ventilator.sources.item_numbers import ItemNumbers, TaskItems


@given(
    st.integers(1, 9000),
    st.sampled_from([1, 3, 16]),
    st.sampled_from(["1/1", "2/3"]),
    st.lists(st.integers(0, 20_000), min_size=1, max_size=8),
    st.integers(0, 15),
)
def test_they_are_those_of_the_plan(items: int, task_items: int, shard: str, ordinals: list[int], at: int) -> None:
    """Whatever is asked for in whatever order, in any epoch: whole tasks, one item of them, or several."""
    plan = make_plan(items=items, task_items=task_items, shard=shard)
    numbers = ItemNumbers(plan)
    for ordinal in ordinals:
        whole = plan.indices(ordinal).tolist()
        offset = at % len(whole)
        offsets = tuple(range(0, len(whole), 2))
        assert whole == list(numbers.of(TaskKey(stream="train", ordinal=ordinal)))
        assert [whole[offset]] == list(numbers.of(TaskKey(stream="train", ordinal=ordinal, item_offset=offset)))
        part = TaskKey(stream="train", ordinal=ordinal, offsets=offsets)
        assert [whole[each] for each in offsets] == list(numbers.of(part))


@given(
    st.integers(1, 900),
    st.sampled_from([1, 3, 64]),
    st.sampled_from(["1/1", "2/3"]),
    st.lists(st.integers(0, 2000), min_size=1, max_size=8),
    st.integers(0, 63),
)
def test_what_tasks_tell_of_their_items_is_found_together(
    items: int, task_items: int, shard: str, ordinals: list[int], at: int
) -> None:
    """Each task gets its own, across the ends of epochs too; few are looked up that are not asked for."""
    plan = make_plan(items=items, task_items=task_items, shard=shard)
    looked_up: list[int] = []

    def look_up(indices: Sequence[int]) -> list[Item]:
        looked_up.extend(indices)
        return [Item(index, f"{index}.jpg", 0) for index in indices]

    told = TaskItems(plan, look_up)
    for ordinal in ordinals:
        whole = plan.indices(ordinal).tolist()
        offset = at % len(whole)
        assert whole == [item.item for item in told.of(TaskKey(stream="train", ordinal=ordinal))]
        [alone] = told.of(TaskKey(stream="train", ordinal=ordinal, item_offset=offset))
        assert (whole[offset], f"{whole[offset]}.jpg") == (alone.item, alone.path)
    assert len(looked_up) <= len(ordinals) * (max(64, task_items) + 1)


def test_they_are_kept_for_some_runs_only() -> None:
    """Memory stays bounded however far a stream goes."""
    numbers = ItemNumbers(make_plan(items=500_000, task_items=1))
    for ordinal in range(0, 500_000, 1000):
        numbers.of(TaskKey(stream="train", ordinal=ordinal))
    assert len(numbers._runs) <= 16
    told = TaskItems(make_plan(items=500_000, task_items=1), lambda indices: [Item(n, "", 0) for n in indices])
    for ordinal in range(0, 500_000, 1000):
        told.of(TaskKey(stream="train", ordinal=ordinal))
    assert len(told._runs) <= 64


def test_large_targets_are_kept_for_fewer_runs() -> None:
    """A megabyte a task: what is kept for a stream has some tens of megabytes, whatever is asked for again."""
    cells = ("x" * 2**16,)
    told = TaskItems(
        make_plan(items=8000, task_items=16), lambda indices: [Item(n, "", 0, cells=cells) for n in indices]
    )
    for ordinal in [*range(500), *range(0, 500, 7), *range(490, 500)]:
        assert 16 == len(told.of(TaskKey(stream="train", ordinal=ordinal)))
        kept = sum(len(cell) for run in told._runs.values() for task in run for item in task for cell in item.cells)
        assert kept <= 32_000_000
        assert told._text_kept == kept
        assert len(told._text) == len(told._runs)
    assert len(told._runs) > 4
