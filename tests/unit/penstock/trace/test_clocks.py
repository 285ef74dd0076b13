"""Clocks aligned by round trips: what is said of an offset's error holds, whatever the network does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.trace.clocks import RoundTrip, align

seconds = st.floats(0.0, 10.0)
#: (way there, time held, way back) of each round trip.
delays = st.lists(st.tuples(seconds, seconds, seconds), min_size=1, max_size=10)
#: What a float of that size may be off by.
ROUNDING = 1e-6


def trips(a: str, b: str, ahead: float, ways: list[tuple[float, float, float]]) -> list[RoundTrip]:
    """Return round trips from `a` to `b`, whose clock is `ahead`."""
    found, now = [], 100.0
    for there, held, back in ways:
        times = (now, now + there + ahead, now + there + held + ahead, now + there + held + back)
        found.append(RoundTrip(a, b, times))
        now = times[3]
    return found


@given(st.floats(-1e5, 1e5), delays)
def test_the_true_offset_is_within_the_stated_error(ahead: float, ways: list[tuple[float, float, float]]) -> None:
    """However lopsided the ways are; and the error is half the shortest round trip."""
    found = align("a", {"a": 0.0, "b": 0.0}, trips("a", "b", ahead, ways))
    error = found["b"].error_s
    assert error is not None
    assert abs(found["b"].seconds + ahead) <= error + ROUNDING
    assert pytest.approx(min(there + back for there, _, back in ways) / 2, abs=ROUNDING) == error


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), delays, delays, st.booleans())
def test_errors_add_up_from_clock_to_clock(
    first: float,
    second: float,
    near: list[tuple[float, float, float]],
    far: list[tuple[float, float, float]],
    turned: bool,  # noqa: FBT001 - Hypothesis gives it
) -> None:
    """A trainer is known through the sink: also where the pings went the other way round."""
    there = trips("b", "c", second, far)
    back = trips("c", "b", -second, far)
    found = align("a", {"a": 0.0, "b": 0.0, "c": 0.0}, trips("a", "b", first, near) + (back if turned else there))
    error = found["c"].error_s
    assert error is not None
    assert abs(found["c"].seconds + first + second) <= error + ROUNDING


def test_the_better_way_to_a_clock_counts() -> None:
    """A short round trip by way of a third clock beats a long one."""
    known = trips("a", "c", 7.0, [(9.0, 0.0, 1.0)])
    known += trips("a", "b", 3.0, [(0.1, 0.0, 0.1)]) + trips("b", "c", 4.0, [(0.2, 5.0, 0.2)])
    found = align("a", {"a": 0.0, "b": 0.0, "c": 0.0}, known)
    assert pytest.approx(0.3) == found["c"].error_s
    assert pytest.approx(-7.0) == found["c"].seconds


def test_a_clock_without_round_trips_is_placed_by_its_wall_clock_and_says_so() -> None:
    """Its error is unknown, not zero; the reference's own is zero."""
    found = align("a", {"a": -1000.0, "b": -1500.0}, [])
    assert (0.0, 0.0) == (found["a"].seconds, found["a"].error_s)
    assert (500.0, None) == (found["b"].seconds, found["b"].error_s)
