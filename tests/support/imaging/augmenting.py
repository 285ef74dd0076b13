"""Noise, and the settings and parameters that the tests of augmentation give it."""

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from support.keras.images import transformed

from penstock.protocol.spec.augment import Augment, Fill

Pixels = npt.NDArray[np.uint8]
FILLS: tuple[Fill, ...] = ("nearest", "constant", "reflect", "wrap")

EVERYTHING = Augment(
    rotation_range=40.0,
    width_shift_range=0.2,
    height_shift_range=3,
    brightness_range=(0.5, 1.5),
    shear_range=20.0,
    zoom_range=(0.7, 1.4),
    channel_shift_range=60.0,
    horizontal_flip=True,
    vertical_flip=True,
)

angles = st.floats(-180, 180)
shifts = st.floats(-12, 12) | st.integers(-9, 9).map(float)

moves = st.fixed_dictionaries(
    {},
    optional={
        "theta": angles,
        "tx": shifts,
        "ty": shifts,
        "shear": st.floats(-60, 60),
        "zx": st.floats(0.3, 3),
        "zy": st.floats(0.3, 3),
        "flip_horizontal": st.booleans(),
        "flip_vertical": st.booleans(),
    },
)

sizes = st.tuples(st.integers(12, 40), st.integers(12, 40), st.sampled_from([1, 3, 4]))


def noise(seed: int, *shape: int) -> Pixels:
    """Return uint8 noise: the image in which a misplaced sample shows most."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def inside(image: Pixels, parameters: dict[str, Any], fill: Fill) -> npt.NDArray[np.bool_]:
    """Return which pixels are not at the image's very edge, where rounding decides between two far apart values."""
    marked = np.pad(np.full((image.shape[0] - 2, image.shape[1] - 2, 1), 255, np.uint8), ((1, 1), (1, 1), (0, 0)))
    return (
        transformed(marked, parameters, fill_mode=fill)[..., 0] > 254
        if fill in ("constant", "wrap")
        else np.ones((1, 1), np.bool_)
    )
