"""The order of `shuffle = "shards"`: every item once, shards together, windows mixed, the same from any place."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.protocol.sampling.shard_order import ShardOrder, Shards


def epoch_of(sizes: list[int], window: int, epoch: int = 0, part: tuple[int, int] = (0, 1), seed: int = 1) -> list[int]:
    """Return an epoch's items."""
    shards = Shards(sizes=tuple(sizes), window=window)
    items = sum(shards.members(part))
    found: list[int] = ShardOrder(seed, shards, part).at(epoch, range(items)).tolist()
    return found


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    window=st.integers(1, 15),
    epoch=st.integers(0, 2),
    cut=st.integers(0, 60),
)
def test_every_item_comes_once_and_any_slots_are_those_of_the_whole_epoch(
    sizes: list[int], window: int, epoch: int, cut: int
) -> None:
    """Shards of any sizes, the last window shorter; resumption at any place."""
    found = epoch_of(sizes, window, epoch)
    assert list(range(sum(sizes))) == sorted(found)
    start = min(cut, len(found) - 1)
    order = ShardOrder(1, Shards(sizes=tuple(sizes), window=window), (0, 1))
    assert found[start:] == order.at(epoch, range(start, len(found))).tolist()


def test_a_window_holds_so_many_shards_whole() -> None:
    """Only they are read while it is made; which ones meet changes from epoch to epoch."""
    met = []
    for epoch in range(3):
        found = np.array(epoch_of([50] * 12, 3, epoch))
        windows = [frozenset((found[at : at + 150] // 50).tolist()) for at in range(0, 600, 150)]
        assert [3] * 4 == [len(window) for window in windows]
        assert found.tolist() != sorted(found.tolist())
        met.append(set(windows))
    assert met[0] != met[1] != met[2]


def test_items_of_a_window_are_mixed_evenly() -> None:
    """Each shard's items spread over its whole window: in each third of it stands about a third of them."""
    for epoch in range(5):
        found = np.array(epoch_of([300] * 3, 3, epoch))
        counts = [np.bincount(found[at : at + 300] // 300, minlength=3) for at in (0, 300, 600)]
        # Hypergeometric: 300 draws from 900 items of which 300 are the shard's.
        assert np.abs(np.array(counts) - 100).max() <= 4 * np.sqrt(300 * (1 / 3) * (2 / 3) * (600 / 899))


def test_jobs_divide_every_shard() -> None:
    """Job k of n gets every n-th item of each shard; a shard that is too short gives it none."""
    parts = [epoch_of([4, 1, 3], 2, part=(index, 2)) for index in range(2)]
    assert [[0, 2, 4, 5, 7], [1, 3, 6]] == [sorted(part) for part in parts]


def test_a_block_of_the_computation_is_no_part_of_the_order() -> None:
    """Slots far apart agree with the whole, over several blocks."""
    found = epoch_of([5000] * 9, 4)
    order = ShardOrder(1, Shards(sizes=(5000,) * 9, window=4), (0, 1))
    for start in (16_380, 32_760, 44_990):
        assert found[start : start + 10] == order.at(0, range(start, start + 10)).tolist()
    assert list(range(45_000)) == sorted(found)
