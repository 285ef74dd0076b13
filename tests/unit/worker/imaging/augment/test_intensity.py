"""Brightness and channel shifts: Keras's and Pillow's levels, within their rounding."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from support.imaging.augmenting import moves, noise, sizes
from support.keras.images import generator, transformed

from penstock.protocol.spec.augment import Augment
from penstock.worker.imaging.augment import intensity
from penstock.worker.imaging.augment.apply import (
    apply_parameters,
)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 99),
    size=sizes,
    parameters=moves,
    shift=st.none() | st.floats(-300, 300),
    brightness=st.none() | st.floats(0, 3),
)
@example(seed=1, size=(12, 12, 3), parameters={}, shift=None, brightness=1.7)
@example(seed=1, size=(12, 12, 3), parameters={}, shift=0.5, brightness=None)
@example(seed=1, size=(12, 12, 3), parameters={}, shift=-255.0, brightness=0.0)
def test_levels_change_as_by_keras(
    seed: int, size: tuple[int, int, int], parameters: dict[str, Any], shift: float | None, brightness: float | None
) -> None:
    """Channel shift and brightness after the warp: each rounds once more, and brightness multiplies the errors."""
    image = noise(seed, *size) // 2 + 40
    parameters = parameters | {"channel_shift_intensity": shift, "brightness": brightness}
    expected = transformed(image, parameters)
    actual = apply_parameters(image, parameters, Augment(axes="keras"))
    factor = 1.0 if brightness is None else brightness
    factor = max(factor, 1.0) if size[2] == 4 else factor  # alpha is not multiplied
    tolerance = 1.51 + 0.5 * (shift is not None)
    assert np.abs(actual - expected).max() <= tolerance * factor + (brightness is not None) * (1 + factor)
    real = apply_parameters(image.astype(np.float32), parameters, Augment(axes="keras"))
    assert np.quantile(np.abs(real - expected), 0.97) <= 0.02 + (brightness is not None) * (1 + factor)


def test_brightness_is_pillows_to_the_bit() -> None:
    """All 256 levels, at factors on both sides of one."""
    ramp = np.arange(256, dtype=np.uint8)
    factors = [0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0, 1.001, 1.5, 2.0, 7.7, -0.5]
    for factor, table in zip(factors, intensity.brightness_tables(np.array(factors)), strict=True):
        expected = np.asarray(ImageEnhance.Brightness(Image.fromarray(ramp[np.newaxis])).enhance(factor))[0]
        assert np.array_equal(expected, table), factor


@given(seed=st.integers(0, 999), shift=st.floats(-400, 400), low=st.integers(0, 255), high=st.integers(0, 255))
def test_a_channel_shift_stays_within_the_samples_own_range(seed: int, shift: float, low: int, high: int) -> None:
    """Exactly clip(x + round(s), low, high), for any range of levels and any shift, in uint8 arithmetic."""
    low, high = sorted((low, high))
    sample = np.random.default_rng(seed).integers(low, high, (2, 60), np.uint8, endpoint=True)
    expected = np.stack(
        [np.clip(row + np.rint(s), row.min(), row.max()) for row, s in zip(sample, (shift, 0), strict=True)]
    )
    intensity.shift_levels(sample, np.array([shift, 0.0]))
    assert np.array_equal(expected, sample)


@pytest.mark.parametrize("scale", [1.0, 1 / 255, 3.0])
def test_float_images_of_any_range_brighten_as_by_keras(scale: float) -> None:
    """Images that leave 0 to 255 are stretched to it first, those of 0 to 1 lose all but whole levels, as in Keras."""
    image = (noise(3, 20, 20, 3) * scale - (20 if scale > 1 else 0)).astype(np.float32)
    for parameters in ({"brightness": 0.7}, {"brightness": 1.3}):
        expected = generator().apply_transform(image.copy(), parameters)
        assert np.abs(expected - apply_parameters(image, parameters, Augment())).max() < 1e-3
