"""What a rank claims: exactly what it is sent, if all that failed is known; and nobody else's."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import ExpectedBatch, expected, make_plan, whole_source

from penstock.protocol import ranges
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.shared import claims as module
from penstock.sink.core.shared.claims import claims, survivors

_EPOCHS = 3


@st.composite
def _plans(draw: st.DrawFn) -> tuple[StreamPlan, frozenset[int]]:
    mix = draw(st.sampled_from((1, 2, 4, 8)))
    plan = make_plan(
        items=draw(st.integers(1, 30)),
        patches=draw(st.integers(1, 3)),
        mix=mix,
        task_items=draw(st.sampled_from((1, 2, 4, 8))),
        batch_size=draw(st.integers(1, 7)),
        drop_remainder=draw(st.booleans()),
    )
    dead = draw(st.sets(st.integers(0, plan.items - 1), max_size=plan.items))
    return plan, frozenset(whole_source(plan, item) for item in dead)


def lost(plan: StreamPlan, dead: frozenset[int], epochs: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the positions at which the samples of dead items stand."""
    geometry = plan.geometry
    places = [
        geometry.positions(ordinal)[[item in dead for item in plan.indices(ordinal).tolist()]].ravel()
        for ordinal in range(epochs * geometry.tasks_per_epoch)
    ]
    return np.sort(np.concatenate(places))


def delivered(plan: StreamPlan, dead: frozenset[int], position: int, rank: int, world_size: int) -> list[int]:
    """Return the positions of the samples that a rank gets, from the definition of a batch."""
    size, found = plan.geometry.samples_per_epoch, list[int]()
    for each in expected(plan, dead, position, rank, world_size):
        if each.stop > _EPOCHS * size or (not isinstance(each, ExpectedBatch) and each.stop == _EPOCHS * size):
            return found
        if isinstance(each, ExpectedBatch):
            found += [each.epoch * size + sample.place for sample in each.samples]
    raise AssertionError


@given(_plans(), st.integers(1, 9), st.data())
def test_a_rank_claims_what_it_is_sent(
    drawn: tuple[StreamPlan, frozenset[int]], world_size: int, data: st.DataObject
) -> None:
    """With all failures known, over several epochs, from any position, for each rank: neither more nor less."""
    plan, dead = drawn
    end = _EPOCHS * plan.geometry.samples_per_epoch
    position = data.draw(st.integers(0, end - 1))
    gone = lost(plan, dead, _EPOCHS)
    for rank in range(world_size):
        claimed, stop = claims(plan, rank, world_size, position, gone, end)
        assert end == stop
        kept = [each for each in ranges.members(claimed) if each not in set(gone.tolist())]
        assert delivered(plan, dead, position, rank, world_size) == kept


@given(_plans(), st.integers(1, 9), st.data())
def test_no_position_is_claimed_by_two_ranks(
    drawn: tuple[StreamPlan, frozenset[int]], world_size: int, data: st.DataObject
) -> None:
    """Whatever is known to have failed so far, and whatever the window."""
    plan, dead = drawn
    end = _EPOCHS * plan.geometry.samples_per_epoch
    position, limit = sorted(data.draw(st.tuples(st.integers(0, end), st.integers(0, end))))
    gone = lost(plan, dead, _EPOCHS)
    known = np.array([each for each in gone.tolist() if data.draw(st.booleans())], np.int64)
    spans = sorted(
        span for rank in range(world_size) for span in claims(plan, rank, world_size, position, known, limit)[0]
    )
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    assert all(position <= start < stop <= limit for start, stop in spans)


def test_a_claim_moves_with_a_failure_before_it() -> None:
    """The second of two ranks trains on one position further for each failure before its share."""
    plan = make_plan(items=100, batch_size=4)
    assert (((4, 8), (12, 16)), 16) == claims(plan, 1, 2, 0, np.array([], np.int64), 16)
    assert (((5, 9), (13, 16)), 16) == claims(plan, 1, 2, 0, np.array([2]), 16)
    assert (((4, 8), (13, 16)), 16) == claims(plan, 1, 2, 0, np.array([9]), 16)


def test_a_claim_looks_ahead_so_many_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says up to where it looked; a round is claimed whole or not at all."""
    monkeypatch.setattr(module, "_MOST_ROUNDS", 2)
    plan = make_plan(items=100, batch_size=4)
    assert (((4, 8), (12, 16)), 16) == claims(plan, 1, 2, 0, np.array([], np.int64), 100)


@given(st.sets(st.integers(0, 60)), st.integers(0, 60))
def test_survivors_are_numbered_without_the_failed(gone: set[int], cursor: int) -> None:
    """By formula as by counting."""
    known = np.array(sorted(each for each in gone if each >= cursor), np.int64)
    counted = [position for position in range(cursor, 100) if position not in gone][:20]
    assert counted == survivors(cursor, known, np.arange(20)).tolist()
