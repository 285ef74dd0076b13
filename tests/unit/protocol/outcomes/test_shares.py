"""Which samples of a unit of work go where: worker and sink find the same rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.plans import make_plan, make_result, make_task, shares_of

from penstock.protocol import ranges
from penstock.protocol.messages import Destination, TaskKey
from penstock.protocol.outcomes.shares import positions_of, rows_in


@given(
    patches=st.integers(1, 3),
    mix=st.sampled_from((1, 2, 8)),
    ordinal=st.integers(0, 9),
    which=st.sampled_from((None, 1, (0, 3))),
    wanted=st.sets(st.integers(0, 120)),
    failing=st.sets(st.integers(0, 3)),
)
def test_each_sample_goes_where_its_position_belongs(
    patches: int, mix: int, ordinal: int, which: int | tuple[int, ...] | None, wanted: set[int], failing: set[int]
) -> None:
    """Of whole tasks and parts of them, with mix and patches, and without the items that failed."""
    plan = make_plan(items=20, patches=patches, mix=mix, task_items=4)
    key = TaskKey(
        stream="train",
        ordinal=ordinal,
        item_offset=which if isinstance(which, int) else None,
        offsets=which if isinstance(which, tuple) else (),
    )
    task = make_task(plan, key)
    items = plan.indices(ordinal).tolist()
    share = ranges.from_sorted(sorted(wanted))
    task = task.replaced(destinations=(Destination(sink="a", positions=share),))
    dead = frozenset(items[offset] for offset in failing)
    whole, arrays = make_result(plan, task, dead)
    [(sink, result, sent)] = shares_of(plan, task, whole, arrays)
    failed = {failure.offset for failure in whole.failures}
    places = positions_of(plan, key, failed)
    assert len(places) == len(arrays[0])
    kept = [position in wanted for position in places.tolist()]
    assert ("a", share) == (sink, result.shares)
    assert np.flatnonzero(kept).tolist() == rows_in(places, share).tolist()
    assert [array[kept].tolist() for array in arrays if any(kept)] == [array.tolist() for array in sent]
