"""Ranges against Python's sets."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol import ranges
from penstock.protocol.ranges import Ranges

#: Few distinct numbers, so that ranges touch, overlap and nest.
_numbers = st.sets(st.integers(0, 40))


def of(numbers: set[int]) -> Ranges:
    """Return the ranges of a set."""
    return ranges.from_sorted(sorted(numbers))


@given(_numbers)
def test_a_set_survives_the_way_to_ranges_and_back(numbers: set[int]) -> None:
    """from_sorted, members and size agree with the set, and what they make is normal."""
    made = of(numbers)
    assert sorted(numbers) == list(ranges.members(made))
    assert len(numbers) == ranges.size(made)
    assert ranges.is_normal(made)


@given(_numbers, _numbers)
def test_subtraction_is_that_of_sets(left: set[int], right: set[int]) -> None:
    """Subtract returns the difference, in normal form."""
    assert of(left - right) == ranges.subtract(of(left), of(right))


@given(_numbers, _numbers)
def test_intersection_is_that_of_sets(left: set[int], right: set[int]) -> None:
    """Intersect returns what both hold, in normal form."""
    assert of(left & right) == ranges.intersect(of(left), of(right))


@given(st.sets(st.integers(0, 60)), st.integers(0, 70))
def test_the_lowest_are_those_of_the_sorted_set(numbers: set[int], count: int) -> None:
    """As many as there are, if there are fewer."""
    assert sorted(numbers)[:count] == list(ranges.members(ranges.lowest(ranges.from_sorted(sorted(numbers)), count)))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))))
def test_normalising_unites_any_pairs(pairs: list[tuple[int, int]]) -> None:
    """Pairs in any order that overlap, touch or are empty become the ranges of their union."""
    assert of({number for start, stop in pairs for number in range(start, stop)}) == ranges.normalise(pairs)


@given(st.lists(st.tuples(st.integers(-3, 12), st.integers(-3, 12)), max_size=4))
def test_normal_is_what_normalising_leaves_alone(pairs: list[tuple[int, int]]) -> None:
    """is_normal holds exactly for what normalise returns, of numbers that are not negative."""
    given_ranges = tuple(pairs)
    normal = ranges.normalise(pairs) == given_ranges and all(start >= 0 for start, _ in pairs)
    assert normal == ranges.is_normal(given_ranges)


@given(_numbers, st.integers(0, 45), st.integers(0, 45))
def test_a_clipping_is_what_lies_between_two_numbers(numbers: set[int], low: int, high: int) -> None:
    """Clipped returns the intersection with one span, in normal form; nothing if the span is empty."""
    assert of({number for number in numbers if low <= number < high}) == ranges.clipped(of(numbers), low, high)
