"""Which rows of a unit of work each sink gets: by position, for whole tasks, parts, several patches and failures."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.plans import make_plan

from penstock.protocol import ranges
from penstock.protocol.messages import TaskKey
from penstock.protocol.outcomes.shares import positions_of, rows_in
from penstock.worker.sink_links import picked


def test_rows_stand_in_the_order_of_items_and_patches() -> None:
    """Without the items that failed; of a part of a task, only the rows of its items."""
    plan = make_plan(items=20, patches=3, mix=4)
    whole = plan.geometry.positions(2)
    assert whole.ravel().tolist() == positions_of(plan, TaskKey(stream="train", ordinal=2)).tolist()
    some = positions_of(plan, TaskKey(stream="train", ordinal=2), {1, 3})
    assert whole[[0, 2]].ravel().tolist() == some.tolist()
    assert whole[3].tolist() == positions_of(plan, TaskKey(stream="train", ordinal=2, item_offset=3)).tolist()
    part = positions_of(plan, TaskKey(stream="train", ordinal=2, offsets=(0, 3)), {0})
    assert whole[3].tolist() == part.tolist()


@given(st.sets(st.integers(0, 60)), st.permutations(range(40)))
def test_a_row_is_in_a_share_if_its_position_is(wanted: set[int], order: list[int]) -> None:
    """For any ranges, and positions in any order."""
    positions = np.array(order, np.int64)
    rows = rows_in(positions, ranges.from_sorted(sorted(wanted)))
    assert [row for row, position in enumerate(order) if position in wanted] == rows.tolist()


def test_rows_that_follow_each_other_are_not_copied() -> None:
    """They are a view of the field; others are gathered."""
    field = np.arange(12).reshape(6, 2)
    [view] = picked([field], np.array([2, 3, 4]))
    [copy] = picked([field], np.array([0, 4]))
    assert np.shares_memory(field, view)
    assert [[4, 5], [6, 7], [8, 9]] == view.tolist()
    assert not np.shares_memory(field, copy)
    assert [[0, 1], [8, 9]] == copy.tolist()
