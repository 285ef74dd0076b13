"""Groups that share an epoch by weight: exact shares, evenly used items, the same answer from any place."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.protocol.order import Geometry
from penstock.protocol.sampling.groups import Groups, Phase, whole
from penstock.protocol.sampling.order import GroupedOrder


def make(sizes: list[int], weights: list[int], items: int, *, seed: int = 1, shuffle: bool = True) -> GroupedOrder:
    """Return the order of groups in one shard."""
    geometry = Geometry(seed=seed, items=items, patches=1, mix=1, task_items=1, shuffle=shuffle)
    return GroupedOrder(geometry, Groups(sizes=tuple(sizes), phases=(Phase(weights=tuple(weights)),)), (0, 1))


def epoch_of(order: GroupedOrder, items: int, epoch: int = 0) -> list[int]:
    """Return an epoch's items."""
    found: list[int] = order.at(epoch, range(items))[0].tolist()
    return found


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=6).filter(
        lambda groups: any(weight for _, weight in groups)
    ),
    items=st.integers(1, 60),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_shares_are_those_of_the_weights_and_items_of_a_group_come_equally_often(
    groups: list[tuple[int, int]], items: int, epoch: int, *, shuffle: bool
) -> None:
    """Each share is rounded up or down, and so is each item's count in its share; what came before is counted."""
    sizes, weights = [size for size, _ in groups], [weight for _, weight in groups]
    order = make(sizes, weights, items, shuffle=shuffle)
    found, copies = (array.tolist() for array in order.at(epoch, range(items)))
    counts, start = Counter(found), 0
    for number, size in enumerate(sizes):
        each = [counts[item] for item in range(start, start + size)]
        assert abs(sum(each) - items * weights[number] / sum(weights)) < 1
        assert max(each) - min(each) <= 1
        start += size
    assert items == sum(order.shares(epoch)) == len(found)
    seen: Counter[int] = Counter()
    if shuffle:
        assert sorted(zip(found, copies, strict=True)) == sorted(set(zip(found, copies, strict=True)))
        return
    for item, copy in zip(found, copies, strict=True):
        assert copy == seen[item]
        seen[item] += 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 150), st.integers(1, 20), st.integers(0, 2))
def test_any_slots_are_those_of_the_whole_epoch(start: int, count: int, epoch: int) -> None:
    """Resumption at any place gives what an uninterrupted run had there."""
    order = make([5, 40, 1], [3, 2, 1], 180)
    stop = min(start + count, 180)
    assert epoch_of(order, 180, epoch)[start:stop] == order.at(epoch, range(start, stop))[0].tolist()


def test_slots_across_a_block_of_the_computation_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are how it is computed, and no part of the order."""
    expected = epoch_of(make([500, 70], [1, 1], 2000), 2000)
    monkeypatch.setattr("penstock.protocol.sampling.order._BLOCK", 7)
    assert expected == epoch_of(make([500, 70], [1, 1], 2000), 2000)


def test_frequencies_of_items_over_epochs_are_within_three_sigma_of_the_weights() -> None:
    """Items that share one slot in three, and shares below one slot an epoch, come as often as they should."""
    epochs, items = 400, 10
    order = make([20, 3], [9, 1], items)
    counts = Counter(item for epoch in range(epochs) for item in epoch_of(order, items, epoch))
    for item in range(23):
        expected = epochs * (9 / 20 if item < 20 else 1 / 3)
        assert abs(counts[item] - expected) <= 3 * np.sqrt(expected)
    small = make([10, 10], [99, 1], 10)
    rare = sum(item >= 10 for epoch in range(epochs) for item in epoch_of(small, items, epoch))
    assert abs(rare - 0.1 * epochs) <= 3 * np.sqrt(0.1 * epochs)


def test_epochs_and_seeds_differ_and_groups_are_mixed() -> None:
    """The order of an epoch is shuffled over all groups."""
    order = make([50, 50], [1, 1], 100)
    first = epoch_of(order, 100)
    assert first != epoch_of(order, 100, 1)
    assert first != epoch_of(make([50, 50], [1, 1], 100, seed=2), 100)
    assert 10 < sum(item < 50 for item in first[:50]) < 40


def test_the_weights_of_an_epoch_are_those_of_the_last_phase_that_began() -> None:
    """Weights may change at an epoch."""
    phases = (Phase(weights=(1, 1)), Phase(from_epoch=2, weights=(3, 1)), Phase(from_epoch=5, weights=(0, 1)))
    geometry = Geometry(seed=1, items=40, patches=1, mix=1, task_items=1, shuffle=True)
    order = GroupedOrder(geometry, Groups(sizes=(10, 10), phases=phases), (0, 1))
    assert [[20, 20], [20, 20], [30, 10], [0, 40]] == [order.shares(epoch) for epoch in (0, 1, 4, 7)]


def test_shards_divide_every_group() -> None:
    """Job k of n gets every n-th item of each group, and no two get the same."""
    geometry = Geometry(seed=1, items=60, patches=1, mix=1, task_items=1, shuffle=True)
    groups = Groups(sizes=(9, 4), phases=(Phase(weights=(1, 1)),))
    found = [set(GroupedOrder(geometry, groups, (index, 2)).at(0, range(60))[0].tolist()) for index in range(2)]
    assert [{0, 2, 4, 6, 8, 9, 11}, {1, 3, 5, 7, 10, 12}] == found


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1.0, 1.0], (1, 1)),
        ([0.1, 0.2, 0.7], (1, 2, 7)),
        ([0.5, 0.0, 1.5], (1, 0, 3)),
        ([1e-300, 1.0], (1, 500_000_000_000)),
    ],
)
def test_weights_become_whole_numbers_of_the_same_proportions(weights: list[float], expected: tuple[int, ...]) -> None:
    """Exactly where that is possible; a tiny weight stays above 0."""
    assert expected == whole(weights)


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ((Phase(weights=(1,)),), "not a weight for each of 2 groups"),
        ((Phase(weights=(0, 0)),), "not a weight for each"),
        ((Phase(weights=(-1, 2)),), "not a weight for each"),
        ((Phase(from_epoch=1, weights=(1, 1)),), "must begin at 0 and ascend"),
        ((Phase(weights=(1, 1)), Phase(weights=(1, 1))), "must begin at 0 and ascend"),
    ],
)
def test_groups_that_cannot_be_are_refused(phases: tuple[Phase, ...], words: str) -> None:
    """A plan comes off the wire."""
    with pytest.raises(ValueError, match=words):
        Groups(sizes=(1, 2), phases=phases)
