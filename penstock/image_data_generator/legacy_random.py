"""Random numbers for single images, drawn in the order of Keras's class, so one seed gives the same numbers.

Uses numpy's legacy generators. Workers draw otherwise (`protocol.philox`),
since their numbers follow from epoch and sample alone.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ArgumentError
from penstock.protocol.spec.augment import Augment

Float64s = npt.NDArray[np.float64]


class _Call(NamedTuple):
    """One number that Keras's class draws."""

    #: Of 0 to `choices` - 1; 0: a uniform of [0, 1).
    choices: int = 0
    #: Whether the number is used: Keras also draws numbers for flips that are off.
    used: bool = True


def generator(seed: Any) -> Any:
    """Return numpy's global generator, or one of its own for a seed, which leaves that alone. Raises ArgumentError."""
    if seed is None:
        return np.random
    try:
        return np.random.RandomState(seed)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"seed = {seed!r}: {error}; give a whole number of 0 to 2**32 - 1, or None") from None


def draw(random: Any, settings: Augment, images: int) -> Float64s:
    """Return uniforms (images, columns) from which workers compute the parameters that Keras would draw."""
    calls = tuple(_calls(settings))
    numbers = [[_number(random, call.choices) for call in calls] for _ in range(images)]
    used = [call.used for call in calls]
    return np.array(numbers, np.float64).reshape(images, len(calls))[:, used]


def _number(random: Any, choices: int) -> float:
    """Return a uniform; a choice as the middle of the part of [0, 1) that stands for it."""
    return float((random.randint(choices) + 0.5) / choices if choices else random.random_sample())


def _calls(settings: Augment) -> Iterator[_Call]:
    if settings.rotation_range:
        yield _Call()
    for shift in (settings.height_shift_range, settings.width_shift_range):
        if shift and isinstance(shift, float):
            yield _Call()
        elif shift:
            yield _Call(len(shift) if isinstance(shift, tuple) else int(shift))
            yield _Call(2)
    if settings.shear_range:
        yield _Call()
    if settings.zoom != (1.0, 1.0):
        yield from (_Call(), _Call())
    yield from (_Call(used=settings.horizontal_flip), _Call(used=settings.vertical_flip))
    if settings.channel_shift_range:
        yield _Call()
    if settings.brightness_range is not None:
        yield _Call()
