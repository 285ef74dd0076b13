"""Noise to normalise, and settings that still lack their statistics."""

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.spec.normalize import Normalize

Pixels = npt.NDArray[np.uint8]


def noise(seed: int, *shape: int) -> Pixels:
    """Return uint8 noise around a level of its own."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, shape) * rng.uniform(0.2, 1.0, (len(range(shape[0])), 1, 1, 1))).astype(np.uint8)


def unchecked(**arguments: Any) -> Normalize:
    """Return settings whose statistics are still to be measured."""
    return Normalize.model_construct(None, **arguments)
