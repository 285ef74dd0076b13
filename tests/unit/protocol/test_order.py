"""The order: bijections that look random, block arithmetic, generators that never meet, values that never change."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.order import Geometry, permute, sample_generator

#: Sizes around every seam: one item, the sorted table's end, powers of four, the order's blocks.
_SIZES = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 100, 1000, 4095, 4096, 4097, 16_383, 16_384, 16_385, 70_000]


def geometry(
    items: int, *, seed: int = 7, patches: int = 1, mix: int = 1, task_items: int = 1, shuffle: bool = True
) -> Geometry:
    """Return a geometry with everything else plain."""
    return Geometry(seed=seed, items=items, patches=patches, mix=mix, task_items=task_items, shuffle=shuffle)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Draw any geometry whose tasks and mix windows nest."""
    small, factor = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    mix, task_items = draw(st.sampled_from([(small, small * factor), (small * factor, small)]))
    return Geometry(
        seed=draw(st.integers(0, 2**63 - 1)),
        items=draw(st.integers(1, 70)),
        patches=draw(st.integers(1, 4)),
        mix=mix,
        task_items=task_items,
        shuffle=draw(st.booleans()),
    )


@pytest.mark.parametrize("size", _SIZES)
def test_every_permutation_is_a_bijection(size: int) -> None:
    """Each place of [0, size) is met exactly once, for several keys."""
    for key in range(3):
        image = permute(np.arange(size), size, 7, key)
        assert np.array_equal(np.arange(size), np.sort(image))


@pytest.mark.parametrize("size", [10**6 + 1, 10**8, 2**40 + 3, 2**62])
def test_a_permutation_of_a_huge_range_needs_no_memory_and_never_collides(size: int) -> None:
    """Sampled places of a range that fits no memory go to distinct places inside it."""
    index = np.unique(np.random.default_rng(1).integers(0, size, 20_000))
    image = permute(index, size, 7, 1, 0)
    assert len(index) == len(np.unique(image))
    assert 0 <= image.min() <= image.max() < size
    assert abs(float(image.astype(np.float64).mean()) / size - 0.5) < 0.02


def excess(counts: npt.NDArray[np.int64], expected: float, spread: float) -> float:
    """Return how many standard deviations (`spread`) the chi-square statistic of `counts` lies above `expected`."""
    mean = counts.sum() / counts.size
    return float((((counts - mean) ** 2 / mean).sum() - expected) / spread)


@pytest.mark.parametrize("size", [2, 3, 5, 16, 64, 200])
def test_every_item_stands_at_every_place_equally_often(size: int) -> None:
    """Over many epochs the counts of (item, place) are those of a uniform shuffle."""
    counts = np.zeros((size, size), np.int64)
    for epoch in range(max(2000, 20 * size)):
        counts[np.arange(size), permute(np.arange(size), size, 11, 1, epoch)] += 1
    assert excess(counts, size * (size - 1), 2**0.5 * size) < 4


@pytest.mark.parametrize("size", [300, 4096, 4097, 20_000])
def test_parts_of_a_large_order_are_filled_from_all_parts_equally(size: int) -> None:
    """Each sixteenth of the items is spread evenly over all sixteenths of the places, sorted table or network."""
    counts, parts = np.zeros((16, 16), np.int64), np.arange(size) * 16 // size
    for epoch in range(100):
        np.add.at(counts, (parts, permute(np.arange(size), size, 11, 1, epoch) * 16 // size), 1)
    assert excess(counts, 225, 450**0.5) < 4


@pytest.mark.parametrize("size", [4, 12, 60])
def test_pairs_of_neighbours_are_as_random_as_single_items(size: int) -> None:
    """What stands after an item is any other item equally often: an order without structure from place to place."""
    counts = np.zeros((size, size), np.int64)
    for epoch in range(4000):
        order = permute(np.arange(size), size, 5, 1, epoch)
        counts[order[:-1], order[1:]] += 1
    off_diagonal = counts[~np.eye(size, dtype=bool)]
    assert 0 == counts.trace()
    assert excess(off_diagonal, off_diagonal.size, (2 * off_diagonal.size) ** 0.5) < 4


@pytest.mark.parametrize("size", [4096, 4097, 20_000])
def test_neighbours_in_a_large_order_come_from_everywhere(size: int) -> None:
    """The parts that two neighbours come from are independent of each other."""
    counts = np.zeros((16, 16), np.int64)
    for epoch in range(100):
        parts = permute(np.arange(size), size, 5, 1, epoch) * 16 // size
        np.add.at(counts, (parts[:-1], parts[1:]), 1)
    assert excess(counts, 255, 510**0.5) < 4


def test_all_orders_of_four_items_come_equally_often() -> None:
    """A small domain knows all its 24 permutations."""
    counts = np.zeros(256, np.int64)
    for epoch in range(4800):
        a, b, c, d = permute(np.arange(4), 4, 3, 1, epoch).tolist()
        counts[a * 64 + b * 16 + c * 4 + d] += 1
    seen = counts[counts > 0]
    assert 24 == len(seen)
    assert excess(seen, 23, 46**0.5) < 4


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    """Another epoch, and another seed, shares no more places with an order than chance gives."""
    base = geometry(1000).order(0, range(1000))
    for other in (geometry(1000).order(1, range(1000)), geometry(1000, seed=8).order(0, range(1000))):
        assert np.count_nonzero(base == other) < 10


def test_without_shuffling_the_order_is_the_source_s() -> None:
    """`shuffle = false` leaves every epoch as the source has it."""
    assert list(range(10, 20)) == geometry(50, shuffle=False).order(3, range(10, 20)).tolist()


@given(st.integers(1, 10_000), st.integers(0, 3), st.data())
def test_any_part_of_an_order_is_cut_from_the_whole(items: int, epoch: int, data: st.DataObject) -> None:
    """Order(slots) does not depend on where the cuts are, across the blocks that are computed at once."""
    start = data.draw(st.integers(0, items - 1))
    stop = data.draw(st.integers(start + 1, items))
    shape = geometry(items)
    assert np.array_equal(shape.order(epoch, range(items))[start:stop], shape.order(epoch, range(start, stop)))


@given(geometries(), st.integers(0, 3))
def test_positions_are_a_bijection_over_every_epoch(shape: Geometry, epoch: int) -> None:
    """The tasks of an epoch share out its positions without a gap or a repetition."""
    tasks = range(epoch * shape.tasks_per_epoch, (epoch + 1) * shape.tasks_per_epoch)
    positions = np.concatenate([shape.positions(ordinal).ravel() for ordinal in tasks])
    first = epoch * shape.samples_per_epoch
    assert list(range(first, first + shape.samples_per_epoch)) == sorted(positions.tolist())


@given(geometries(), st.integers(0, 3))
def test_a_mix_window_keeps_its_items_together_and_mixes_them(shape: Geometry, epoch: int) -> None:
    """Samples stay inside the window of `mix` items that they belong to; without mixing, they stand in order."""
    span = shape.mix * shape.patches
    for ordinal in range(epoch * shape.tasks_per_epoch, (epoch + 1) * shape.tasks_per_epoch):
        slots = shape.slots(ordinal)
        places = shape.positions(ordinal) - epoch * shape.samples_per_epoch
        for slot, row in zip(slots, places, strict=True):
            assert {slot // shape.mix} == set((row // span).tolist())
        if shape.mix == 1:
            assert np.array_equal(np.arange(places.min(), places.min() + places.size), places.ravel())


def test_a_mix_window_spreads_the_patches_of_an_item() -> None:
    """With ten patches an item and a window of eight items, a batch of ten holds patches of many items."""
    shape = geometry(80, patches=10, mix=8, task_items=8)
    item_of = np.empty(800, np.int64)
    for ordinal in range(10):
        item_of[shape.positions(ordinal)] = np.array(shape.slots(ordinal))[:, None]
    distinct = [len(set(item_of[start : start + 10].tolist())) for start in range(0, 800, 10)]
    assert sum(distinct) / len(distinct) > 5


@given(geometries(), st.data())
def test_blocks_tile_the_epoch_and_agree_with_their_tasks(shape: Geometry, data: st.DataObject) -> None:
    """block_of, block_tasks and block_start tell the same story for any position."""
    position = data.draw(st.integers(0, 3 * shape.samples_per_epoch - 1))
    start, stop = shape.block_of(position)
    assert start <= position < stop <= (position // shape.samples_per_epoch + 1) * shape.samples_per_epoch
    assert start % shape.samples_per_epoch % shape.block_samples == 0
    assert {(start, stop)} == {shape.block_of(other) for other in range(start, stop)}
    tasks = shape.block_tasks(start)
    assert {start} == {shape.block_start(ordinal) for ordinal in tasks}
    positions = np.concatenate([shape.positions(ordinal).ravel() for ordinal in tasks])
    assert list(range(start, stop)) == sorted(positions.tolist())


@given(geometries(), st.data())
def test_tasks_between_two_positions_cover_them_and_no_block_beyond(shape: Geometry, data: st.DataObject) -> None:
    """tasks_between names exactly the tasks of the blocks that meet the positions, across epochs."""
    low = data.draw(st.integers(0, 3 * shape.samples_per_epoch))
    high = data.draw(st.integers(low, 3 * shape.samples_per_epoch + 5))
    blocks = {shape.block_of(position)[0] for position in range(low, high)}
    expected = sorted(ordinal for start in blocks for ordinal in shape.block_tasks(start))
    assert expected == list(range(*shape.tasks_between(low, high)))


@pytest.mark.parametrize(
    ("items", "patches", "mix", "task_items", "word"),
    [(0, 1, 1, 1, "1 or more"), (9, 0, 1, 1, "1 or more"), (9, 1, 1, 0, "1 or more"), (9, 1, 4, 6, "nest")],
)
def test_impossible_shapes_are_refused_in_words(items: int, patches: int, mix: int, task_items: int, word: str) -> None:
    """A geometry for which the arithmetic does not hold cannot be made."""
    with pytest.raises(ValueError, match=word):
        geometry(items, patches=patches, mix=mix, task_items=task_items)


def test_the_order_of_seed_7_never_changes_by_accident() -> None:
    """Pinned: a change of these values changes every user's stream and must be a decision (and a new fingerprint)."""
    assert [5, 10, 14, 13, 16] == geometry(20).order(0, range(5)).tolist()
    assert [4109, 4014, 1404, 2959, 2005] == geometry(5000).order(0, range(5)).tolist()
    assert [66864021, 75742851, 91941849] == geometry(10**8).order(3, range(10**7, 10**7 + 3)).tolist()
    assert [[43, 47], [46, 45]] == geometry(20, patches=2, mix=4, task_items=2).positions(11).tolist()


def test_sample_generators_never_change_by_accident() -> None:
    """Pinned, for the same reason."""
    assert [20, 725, 189] == sample_generator(7, 2, 123_456, 3).integers(0, 1000, 3).tolist()


def test_no_two_samples_draw_the_same() -> None:
    """Seed, epoch, item and patch each give another generator; long draws of one never reach the next."""
    names = [
        (7, 0, 0, 0),
        (8, 0, 0, 0),
        (7, 1, 0, 0),
        (7, 0, 1, 0),
        (7, 0, 0, 1),
        (7, 0, 2**40, 0),
        (2**63 - 1, 0, 0, 0),
    ]
    draws = [sample_generator(*name).integers(0, 2**63, 1000) for name in names]
    assert 1000 * len(names) == len(np.unique(np.concatenate(draws)))


def test_a_sample_draws_the_same_wherever_it_is_made() -> None:
    """A generator has no state outside its arguments."""
    assert sample_generator(1, 2, 3, 4).random() == sample_generator(1, 2, 3, 4).random()
