"""Types of parameters that several steps have, and what their uniforms stand for."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def pair(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    """Return a whole number as the pair that it stands for."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one_or_more(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def _symmetric(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    return (-value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def ordered(value: tuple[float, float]) -> tuple[float, float]:
    """Return a pair whose first number does not exceed the second. Raises ValueError."""
    if value[0] > value[1]:
        raise ValueError(f"[{value[0]:g}, {value[1]:g}]: the first number must not exceed the second")
    return value


def _one_or_all(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(value) == 2:  # noqa: PLR2004 - channels are 1, 3 or 4
        raise ValueError(f"{list(value)}: give one level, or one for each channel")
    return value


_LOG_2 = 0.6931471805599453
_Side = Annotated[int, Field(ge=1, le=65_535)]
_Level = Annotated[int, Field(ge=0, le=255)]
#: Height and width in pixels; a single number gives both.
Sides = Annotated[tuple[_Side, _Side], BeforeValidator(pair)]
#: Levels, one for all channels or one for each; a single number counts for all.
Fill = Annotated[
    tuple[_Level, ...], BeforeValidator(_one_or_more), Field(min_length=1, max_length=4), AfterValidator(_one_or_all)
]
_Degree = Annotated[float, Field(ge=-360, le=360)]
#: Least and greatest angle; a single number a stands for [-a, a].
Degrees = Annotated[tuple[_Degree, _Degree], BeforeValidator(_symmetric), AfterValidator(ordered)]
#: Parts of an image's area.
Fractions = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(ordered)
]
_Ratio = Annotated[float, Field(ge=0.05, le=20)]
#: Widths divided by heights.
Ratios = Annotated[tuple[_Ratio, _Ratio], AfterValidator(ordered)]


def between(low: float, high: float, draw: float) -> float:
    """Return the number of [`low`, `high`) that a uniform stands for."""
    return low + (high - low) * draw


def whole(below: int, draw: float) -> int:
    """Return the whole number of [0, `below`) that a uniform stands for."""
    return min(int(draw * below), below - 1)


def exponential(power: float) -> float:
    """Return e^`power`, for powers of -4 to 4: the same on every host, which the C library's is not.

    Taylor's polynomial; the terms left out are below 10^-17 of the result.
    """
    result = 1.0
    for term in range(32, 0, -1):
        result = 1.0 + power / term * result
    return result


def decay(time: float) -> float:
    """Return e^-`time`, for times of 0 and more: the same on every host."""
    halvings = round(time / _LOG_2)
    return math.ldexp(exponential(halvings * _LOG_2 - time), -halvings)


def logarithm(value: float) -> float:
    """Return the natural logarithm of a number of 1/20 to 20: the same on every host.

    Halley's iteration from 0, which triples the right digits with each turn.
    """
    result = 0.0
    for _ in range(12):
        power = exponential(result)
        result += 2.0 * (value - power) / (value + power)
    return result


def waiting_time(draw: float) -> float:
    """Return the number of an exponential distribution of mean 1 that a uniform stands for: the same on every host."""
    part, twos = math.frexp(1.0 - draw)  # of 0 to 1, 0 not included
    return max(0.0, -logarithm(part) - twos * _LOG_2)


def sine_cosine(degrees: float) -> tuple[float, float]:
    """Return sine and cosine: the same on every host. Exact for multiples of 90°."""
    quarter = round(degrees / 90.0)
    x = (degrees - quarter * 90.0) * (math.pi / 180.0)
    square, sine, cosine = x * x, 0.0, 0.0
    for power in range(18, -2, -2):  # Taylor's polynomials on [-45°, 45°]; the next terms are below 10^-19
        sign = -1.0 if power // 2 % 2 else 1.0
        sine = sine * square + sign / math.factorial(power + 1)
        cosine = cosine * square + sign / math.factorial(power)
    sine *= x
    for _ in range(quarter % 4):
        sine, cosine = cosine, -sine
    return sine, cosine
