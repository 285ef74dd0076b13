"""Warping beside Keras's own `apply_transform`: images of floats, of 8 bits, real photos, splines of every order."""

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.imaging.augmenting import FILLS, inside, moves, noise, sizes
from support.keras.images import transformed

from penstock.protocol.spec.augment import Augment, Fill
from penstock.worker.imaging.augment.apply import (
    _one,
    apply_parameters,
    sampling,
)
from penstock.worker.imaging.augment.parameters import geometry


@settings(max_examples=120)
@given(seed=st.integers(0, 99), size=sizes, parameters=moves, fill=st.sampled_from(FILLS))
def test_float_images_are_warped_as_by_keras(
    seed: int, size: tuple[int, int, int], parameters: dict[str, Any], fill: Fill
) -> None:
    """Within float32's rounding of coordinates: 0.02 levels on noise of 0 to 255."""
    image = noise(seed, *size)
    expected = transformed(image, parameters, fill_mode=fill, cval=50.0)
    spec = Augment(fill_mode=fill, cval=50.0, axes="keras")
    actual = apply_parameters(image.astype(np.float32), parameters, spec)
    assert np.float32 == actual.dtype
    assert np.abs(actual - expected)[np.broadcast_to(inside(image, parameters, fill), size[:2])].max(initial=0) < 0.02


@settings(max_examples=120)
@given(seed=st.integers(0, 99), size=sizes, parameters=moves, fill=st.sampled_from(FILLS))
def test_uint8_images_are_warped_as_by_keras(
    seed: int, size: tuple[int, int, int], parameters: dict[str, Any], fill: Fill
) -> None:
    """Half a level from rounding, and 1/512 pixel in both directions: at most 1.5 levels, on noise."""
    image = noise(seed, *size)
    expected = transformed(image, parameters, fill_mode=fill, cval=50.0)
    actual = apply_parameters(image, parameters, Augment(fill_mode=fill, cval=50.0, axes="keras"))
    assert np.uint8 == actual.dtype
    error = np.abs(actual - expected)[np.broadcast_to(inside(image, parameters, fill), size[:2])]
    assert error.max(initial=0) < 1.51


def test_photos_are_warped_within_rounding(shared_data: Path) -> None:
    """On real pictures, whose neighbours differ little, the rounding of coordinates is lost in that of levels."""
    for file in sorted((shared_data / "cats-dogs").rglob("*.jpg"))[:6]:
        image = np.asarray(Image.open(file).convert("RGB"))
        parameters = {"theta": 17.3, "tx": 5.4, "ty": -8.1, "zx": 0.9, "zy": 1.2, "shear": 8.0}
        error = np.abs(apply_parameters(image, parameters, Augment(axes="keras")) - transformed(image, parameters))
        assert error.max() < 1.0
        assert np.mean(error > 0.55) < 0.005


@settings(max_examples=60)
@given(
    seed=st.integers(0, 99),
    size=sizes,
    parameters=moves,
    fill=st.sampled_from(FILLS),
    order=st.sampled_from([0, 2, 3, 4, 5]),
)
def test_other_orders_are_splines_as_in_scipy(
    seed: int, size: tuple[int, int, int], parameters: dict[str, Any], fill: Fill, order: int
) -> None:
    """All pixels, but for the nearest one (order 0) where a place lies half-way between two."""
    image = noise(seed, *size)
    expected = transformed(image, parameters, fill_mode=fill, interpolation_order=order)
    spec = Augment(fill_mode=fill, interpolation_order=order, axes="keras")
    part = np.broadcast_to(inside(image, parameters, fill), size[:2])
    if order == 0:
        linear = sampling(Augment(axes="keras"), size[0], size[1], exact=False)
        x, y = linear.coordinates(linear.places(*geometry(_one(parameters), spec, size[0], size[1])))[0]
        part = part & (np.abs(x % 1 - 0.5) > 1e-3) & (np.abs(y % 1 - 0.5) > 1e-3)
    plain = apply_parameters(image.astype(np.float32), parameters, spec)
    whole = apply_parameters(image, parameters, spec)
    for actual, wanted, tolerance in ((plain, expected, 0.05), (whole, np.clip(expected, 0, 255), 0.56)):
        assert np.abs(actual - wanted)[part].max(initial=0) <= tolerance
