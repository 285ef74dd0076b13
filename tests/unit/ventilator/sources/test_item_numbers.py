"""The items of tasks, found many at a time."""

from hypothesis import given
from hypothesis import strategies as st
from support.plans import make_plan

from penstock.protocol.messages import TaskKey
from penstock.ventilator.sources.item_numbers import ItemNumbers


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


def test_they_are_kept_for_some_runs_only() -> None:
    """Memory stays bounded however far a stream goes."""
    numbers = ItemNumbers(make_plan(items=500_000, task_items=1))
    for ordinal in range(0, 500_000, 1000):
        numbers.of(TaskKey(stream="train", ordinal=ordinal))
    assert len(numbers._runs) <= 16
