"""Philox over arrays: bit for bit what numpy's own generators draw."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.protocol.order import DRAW_CUSTOM, DRAW_PLACES, DRAW_SAMPLE, sample_generator
from penstock.protocol.philox import uniforms, uniforms_of

LARGEST = 2**63 - 1


@given(
    seed=st.integers(0, LARGEST),
    epoch=st.integers(0, LARGEST),
    items=st.lists(st.integers(0, LARGEST), min_size=1, max_size=6),
    patches=st.integers(1, 4),
    count=st.integers(1, 13),
    purpose=st.sampled_from([DRAW_SAMPLE, DRAW_PLACES, DRAW_CUSTOM]),
)
@example(seed=LARGEST, epoch=LARGEST, items=[LARGEST, 0], patches=3, count=9, purpose=DRAW_CUSTOM)
def test_every_sample_draws_what_its_own_generator_draws(
    seed: int, epoch: int, items: list[int], patches: int, count: int, purpose: int
) -> None:
    """Any seed, epoch, item, patch and purpose, and more numbers than one evaluation yields: the same bits."""
    actual = uniforms(seed, epoch, np.array(items, np.int64), patches, count, purpose)
    expected = [
        [sample_generator(seed, epoch, item, patch, purpose).random(count) for patch in range(patches)]
        for item in items
    ]
    assert np.array(expected).tobytes() == actual.tobytes()


def test_tasks_larger_than_a_chunk_are_drawn_whole() -> None:
    """The arrays are worked through in pieces; no piece may be lost or shifted."""
    items = np.arange(5_000, dtype=np.int64)[::-1]
    actual = uniforms(7, 2, items, 3, 5)
    assert (5_000, 3, 5) == actual.shape
    for place in (0, 681, 682, 683, 2_500, 4_999):
        for patch in range(3):
            assert np.array_equal(sample_generator(7, 2, int(items[place]), patch).random(5), actual[place, patch])


def test_nothing_asked_for_is_nothing_drawn() -> None:
    """No items, no patches or no numbers give arrays of that shape."""
    for items, patches, count in ((0, 2, 3), (4, 0, 3), (4, 2, 0)):
        assert (items, patches, count) == uniforms(1, 1, np.arange(items, dtype=np.int64), patches, count).shape


def test_numbers_are_uniform_and_unrelated_between_samples() -> None:
    """Means and correlations of 100,000 neighbouring samples lie within five standard errors."""
    drawn = uniforms(3, 0, np.arange(50_000, dtype=np.int64), 2, 2).reshape(-1, 2)
    sigma = (1 / 12 / len(drawn)) ** 0.5
    assert np.all(np.abs(drawn.mean(axis=0) - 0.5) < 5 * sigma)
    for left, right in ((drawn[:-1, 0], drawn[1:, 0]), (drawn[:, 0], drawn[:, 1])):
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / len(left) ** 0.5


@given(
    counts=st.lists(st.integers(0, 9), max_size=4),
    items=st.lists(st.integers(0, LARGEST), min_size=1, max_size=4),
    patches=st.integers(1, 3),
)
@example(counts=[23, 1], items=list(range(700)), patches=2)
def test_several_generators_at_once_draw_what_each_draws_alone(
    counts: list[int], items: list[int], patches: int
) -> None:
    """Any number of generators, numbers from each, and more samples than one pass holds: the same bits."""
    generators = [(place * 2**61 + 7, count) for place, count in enumerate(counts)]
    actual = uniforms_of(3, 5, np.array(items, np.int64), patches, generators)
    assert len(generators) == len(actual)
    for (purpose, count), numbers in zip(generators, actual, strict=True):
        assert uniforms(3, 5, np.array(items, np.int64), patches, count, purpose).tobytes() == numbers.tobytes()
