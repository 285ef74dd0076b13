"""Amdahl's law, fitted: known fractions come back, and nonsense is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.amdahl import Amdahl, fit

processors = st.lists(st.integers(2, 512), min_size=2, max_size=20)


@given(processors, st.floats(0.0, 1.0))
def test_a_known_fraction_comes_back(numbers: list[int], parallel: float) -> None:
    """Speed-ups that the law itself gives are fitted by it, and it says that it is certain."""
    law = fit(numbers, [1.0 / ((1.0 - parallel) + parallel / n) for n in numbers])
    assert law is not None
    assert pytest.approx(parallel, abs=1e-9) == law.parallel
    assert pytest.approx(0.0, abs=1e-7) == law.error


@given(processors, st.floats(0.0, 0.99))
def test_one_processor_and_the_order_of_points_say_nothing(numbers: list[int], parallel: float) -> None:
    """A speed-up of 1 over itself is no evidence."""
    gains = [Amdahl(parallel, 0.0).speed_up(n) * (1.0 + 0.01 * (place % 3)) for place, n in enumerate(numbers)]
    law, other = fit(numbers, gains), fit([1, *numbers[::-1], 1], [1.0, *gains[::-1], 1.0])
    assert law is not None
    assert other is not None
    assert pytest.approx(law.parallel) == other.parallel
    assert pytest.approx(law.error) == other.error


@pytest.mark.parametrize("parallel", [0.1, 0.5, 0.95])
def test_the_standard_error_is_about_as_large_as_the_error(parallel: float) -> None:
    """With noise of 1 % on 1 / S, over 300 fits: both have the same root of the mean square, within a fifth."""
    numbers, rng = [2, 2, 2, 4, 4, 4, 8, 8, 8, 16, 16, 16], np.random.default_rng(0)
    laws = []
    for _ in range(300):
        noise = rng.normal(0.0, 0.01, len(numbers))
        gains = [1.0 / (1.0 - parallel * (1.0 - 1.0 / n) + each) for n, each in zip(numbers, noise, strict=True)]
        laws.append(fit(numbers, gains))
    squares = [((law.parallel - parallel) ** 2, law.error**2) for law in laws if law is not None]
    error, said = np.sqrt(np.mean(squares, axis=0))
    assert len(laws) == len(squares)
    assert pytest.approx(error, rel=0.2) == said


def test_what_cannot_be_fitted_is_said_or_refused() -> None:
    """Nothing beyond one processor gives no law; one point gives one without an error; nonsense raises."""
    assert fit([1, 1], [1.0, 1.0]) is None
    assert fit([], []) is None
    law = fit([2], [1.6])
    assert law is not None
    assert pytest.approx(0.75) == law.parallel
    assert math.isnan(law.error)
    assert "parallel fraction 0.750" == str(law)
    for numbers, gains in (([0], [1.0]), ([2], [0.0]), ([2], [math.nan]), ([2, 3], [1.0])):
        with pytest.raises(ValueError, match="processors"):
            fit(numbers, gains)


def test_the_law_has_its_limits() -> None:
    """All of it in parallel is the ideal line; none of it is no gain; half of it doubles at best."""
    assert [8.0, 1.0] == [Amdahl(1.0, 0.0).speed_up(8), Amdahl(0.0, 0.0).speed_up(8)]
    assert pytest.approx(2.0, rel=1e-3) == Amdahl(0.5, 0.0).speed_up(10_000)
    assert math.inf == Amdahl(1.5, 0.0).speed_up(4)
