"""Warping: which way is up, what stays exact, and what no coordinate and no size may break."""

import numpy as np
import pytest
from pydantic import ValidationError
from support.images import picture
from support.imaging.augmenting import FILLS, noise

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.augment import Augment, Fill
from penstock.protocol.spec.transform import Transform
from penstock.worker.imaging.augment import warp
from penstock.worker.imaging.augment.apply import (
    Augmenter,
    apply_parameters,
)


def test_by_default_height_is_height() -> None:
    """Height shifts move up and down, and the centre is the image's; Keras 3 exchanges the two, and so does `keras`."""
    image = np.zeros((20, 30, 1), np.uint8)
    image[4, 20] = 200
    for spec, place in ((Augment(), (2, 20)), (Augment(axes="keras"), (4, 18))):
        moved = apply_parameters(image, {"tx": 2.0}, spec)
        assert place == divmod(int(moved.argmax()), 30)
    turned = apply_parameters(image, {"theta": 180.0}, Augment())
    assert np.array_equal(image[::-1, ::-1], turned)


def test_what_is_not_moved_is_not_touched() -> None:
    """Parameters that change nothing, drawn or given, return the very pixels."""
    image = noise(1, 33, 47, 3)
    still = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0, "channel_shift_intensity": 0.0}
    for parameters in ({}, still, still | {"brightness": 1.0}):
        for pixels in (image, image.astype(np.float32)):
            result = apply_parameters(pixels, parameters, Augment())
            assert np.array_equal(pixels, result)
            assert not np.shares_memory(pixels, result)
    augmenter = Augmenter(Augment(rotation_range=1e-9, zoom_range=1e-12), (33, 47, 3))
    augmenter.begin(np.full((1, augmenter.columns), 0.3))
    out = np.empty_like(image)
    augmenter.write(image, 0, out)
    assert np.array_equal(image, out)


@pytest.mark.parametrize("quarter", [-1, 1, 2, 3, 4])
def test_quarter_turns_and_flips_of_a_square_are_exact(quarter: int) -> None:
    """Sines of right angles are exactly 0 and 1, and flips read the same places from the other side."""
    image = noise(2, 21, 21, 3)
    for flips in ({}, {"flip_horizontal": True}, {"flip_vertical": True, "flip_horizontal": True}):
        result = apply_parameters(image, {"theta": 90.0 * quarter} | flips, Augment())
        expected = np.rot90(image, quarter % 4)
        expected = expected[:, ::-1] if flips.get("flip_horizontal") else expected
        expected = expected[::-1] if flips.get("flip_vertical") else expected
        assert np.array_equal(expected, result)


def test_sines_are_those_of_the_mathematics() -> None:
    """Within two units in the last place, at any angle."""
    angle = np.concatenate([np.linspace(-720, 720, 9999), [0.0, 90.0, -90.0, 1e-9]])
    sine, cosine = warp._sine_cosine(angle)
    assert np.abs(sine - np.sin(np.deg2rad(angle))).max() < 3e-15
    assert np.abs(cosine - np.cos(np.deg2rad(angle))).max() < 3e-15
    assert (0.0, 1.0, 0.0) == (cosine[-3], sine[-3], cosine[-2])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_number_of_channels_is_warped_alike(count: int) -> None:
    """OpenCV samples two channels, or more than four, at 1/32 pixel; ours all have the same precision."""
    image = noise(9, 30, 30, 5)
    parameters = {"theta": 33.0, "zx": 1.3, "zy": 1.3}
    parts = [apply_parameters(image[..., k : k + 1], parameters, Augment()) for k in range(count)]
    assert np.array_equal(np.concatenate(parts, axis=2), apply_parameters(image[..., :count], parameters, Augment()))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_absurd_zooms_and_shifts_end_in_pixels(fill: Fill, order: int) -> None:
    """Nothing overflows, warns or reads beyond the image, however far away a coordinate lies."""
    image = noise(10, 16, 20, 3)
    spec = Augment(fill_mode=fill, interpolation_order=order, cval=9.0)
    for far in (
        {"zx": 1e300, "zy": -1e300},
        {"tx": 1e12, "ty": -1e7},
        {"zx": 0.0, "zy": 0.0},
        {"zx": 1e308, "tx": 1e308},
    ):
        for pixels in (image, image.astype(np.float32)):
            assert np.isfinite(apply_parameters(pixels, far, spec)).all()


def test_parameters_that_are_no_numbers_are_refused() -> None:
    """Not a number stays out of pixels."""
    with pytest.raises(SpecError, match="theta = nan"):
        apply_parameters(noise(1, 8, 8, 3), {"theta": float("nan")}, Augment())


def test_samples_too_large_to_warp_are_refused() -> None:
    """OpenCV's places have 16 bits; the error says how large a side may be."""
    with pytest.raises(SpecError, match="at most 16000"):
        Augmenter(Augment(rotation_range=1.0), (16_001, 8, 3))
    resize = {"height": 16_001, "width": 8}
    with pytest.raises(ValidationError, match="8 × 16001 pixels are too large"):
        Transform.model_validate({"resize": resize, "augment": {"shear_range": 1.0}})
    Transform.model_validate({"resize": resize, "augment": {"vertical_flip": True}})
    Augmenter(Augment(horizontal_flip=True), (16_001, 8, 3))


def test_small_images_need_no_neighbours() -> None:
    """One pixel, one row, one column: every order and fill mode."""
    for shape in ((1, 1, 3), (1, 9, 1), (9, 1, 3)):
        for fill in FILLS:
            for order in (0, 1, 2, 3, 4, 5):
                spec = Augment(fill_mode=fill, interpolation_order=order)
                assert shape == apply_parameters(noise(1, *shape), {"theta": 20.0, "ty": 0.3}, spec).shape


def test_a_picture_looks_turned() -> None:
    """A sanity check by eye's logic: turning there and back again gives nearly the same picture."""
    image = picture(3, 0, 64, 64)
    there = apply_parameters(image.astype(np.float32), {"theta": 25.0}, Augment(interpolation_order=3))
    back = apply_parameters(there, {"theta": -25.0}, Augment(interpolation_order=3))
    middle = (slice(20, 44), slice(20, 44))
    assert np.abs(back[middle] - image[middle]).mean() < 0.2 * np.abs(there[middle] - image[middle]).mean()
