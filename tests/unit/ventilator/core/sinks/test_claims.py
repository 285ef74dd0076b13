"""Who lacks samples of a task, and which tasks hold positions: against looking at each."""

from hypothesis import given
from hypothesis import strategies as st
from support.plans import make_plan

from penstock.protocol import ranges
from penstock.ventilator.core.sinks.claims import Claims, tasks_at

_numbers = st.sets(st.integers(0, 30))


@given(st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"gone"]), _numbers))
def test_those_who_lack_a_task_are_found_by_name(lacking: dict[bytes, set[int]]) -> None:
    """Each connected sink that lacks the task, in the order of their names, and nobody else."""
    names = {b"a": "z", b"b": "y", b"c": "x"}
    claims = Claims(names, {peer: ranges.from_sorted(sorted(tasks)) for peer, tasks in lacking.items()})
    for ordinal in range(32):
        expected = [peer for peer in (b"c", b"b", b"a") if ordinal in lacking.get(peer, ())]
        assert expected == list(claims.of(ordinal))


@given(st.integers(1, 40), st.integers(1, 3), st.sampled_from([1, 2, 4]), _numbers)
def test_the_tasks_of_positions_are_those_of_their_blocks(items: int, patches: int, mix: int, at: set[int]) -> None:
    """Where the samples of a task stand together, over the ends of epochs, too."""
    geometry = make_plan(items=items, patches=patches, mix=mix, task_items=4).geometry
    positions = ranges.from_sorted(sorted(at))
    expected = ranges.normalise(geometry.tasks_between(*span) for span in positions)
    assert expected == ranges.normalise(tasks_at(geometry, positions))
    for ordinal in range(3 * geometry.tasks_per_epoch):
        held = sorted(geometry.positions(ordinal).ravel().tolist())
        assert held == list(range(*geometry.span(ordinal) or (0, 0)))


def test_no_span_is_told_of_tasks_that_share_a_mix_window() -> None:
    """Their samples stand among those of other tasks."""
    assert make_plan(items=8, mix=4, task_items=2).geometry.span(0) is None
