"""`flow`: what becomes of the images' types, channels, values and normalisation."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.images import picture
from support.keras.flows import IMAGES, LABELS, RNG, WILD, flow

from penstock import ImageDataGenerator
from penstock.protocol.errors import ArgumentError


@pytest.mark.parametrize("factor", [1.0, 1 / 255])
def test_floats_that_hold_bytes_give_what_bytes_give(factor: float) -> None:
    """x, x as floats and x / 255 are the same images: they travel as bytes, and come out the same."""
    expected, iterator = flow(arguments=WILD), flow(IMAGES.astype(np.float32) * np.float32(factor), arguments=WILD)
    for _ in range(4):
        assert np.allclose(next(expected)[0] * factor, next(iterator)[0], rtol=1e-6)


def test_other_floats_are_changed_at_full_precision() -> None:
    """Standardised images do not lose their fractions: up to interpolation, they are changed as bytes are."""
    smooth = np.stack([picture(index, index, 40, 48) for index in range(6)])
    expected = flow(smooth, LABELS[:6], arguments=WILD)
    iterator = flow(smooth / 64.0 - 2.0, LABELS[:6], arguments=WILD)
    for _ in range(3):
        # Half a level of rounding, and 1/256 pixel of place times the steepest slope.
        assert np.abs(next(expected)[0] - (next(iterator)[0] + 2.0) * 64.0).max() < 1.6


def test_masks_of_few_levels_keep_their_fractions() -> None:
    """A mask of zeros and ones, turned, has soft edges, whatever type it was given as."""
    mask = (picture(1, 0, 40, 48)[np.newaxis, ..., :1] > 127).astype(np.uint8)
    for given in (mask, mask.astype(bool), mask.astype(np.float64)):
        batch = next(flow(given, None, arguments={"rotation_range": 45}))
        assert len(np.unique(batch)) > 50
        assert batch.max() <= 1.0


def test_channels_may_come_first() -> None:
    """The same pictures, with the axes where the generator was told they are."""
    last = flow(arguments=WILD)
    first = flow(np.moveaxis(IMAGES, -1, 1), arguments={**WILD, "data_format": "channels_first"})
    for _ in range(3):
        assert np.array_equal(np.moveaxis(next(last)[0], -1, 1), next(first)[0])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels_can_be_changed(channels: int) -> None:
    """Workers know one and three; the others are changed in this process. Two are warned of, as in Keras."""
    images = RNG.integers(0, 256, (6, 12, 14, channels), np.uint8)
    generator = ImageDataGenerator(**WILD)
    if channels == 2:
        with pytest.warns(UserWarning, match="2 channels"):
            iterator = generator.flow(images, seed=1)
    else:
        iterator = generator.flow(images, seed=1)
    batch = next(iterator)
    assert images.shape == batch.shape
    assert not np.array_equal(np.sort(images.ravel()), np.sort(batch.ravel()))


def test_images_are_normalised_one_by_one() -> None:
    """`preprocessing_function` gets single images as floats; samplewise statistics are each image's own."""
    seen: list[tuple[int, ...]] = []

    def halve(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        assert np.float32 == image.dtype
        seen.append(image.shape)
        return image / 2

    arguments = {"preprocessing_function": halve, "rescale": 2.0, "samplewise_center": True}
    images, labels = next(flow(arguments=arguments))
    assert [(12, 14, 3)] * 4 == seen
    for image, label in zip(images, labels, strict=True):
        assert np.allclose(IMAGES[label] - IMAGES[label].mean(), image, atol=1e-3)


def test_a_function_that_changes_the_shape_is_refused() -> None:
    """The error says both shapes."""
    with pytest.raises(ArgumentError, match=r"shape \(6, 14, 3\) for an image of shape \(12, 14, 3\)"):
        next(flow(arguments={"preprocessing_function": lambda image: image[::2]}))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", np.float64])
def test_batches_have_the_generator_s_type(dtype: Any) -> None:
    """Images and one-hot labels."""
    assert np.dtype(dtype) == next(flow(arguments={"dtype": dtype, "rescale": 1 / 255, **WILD}))[0].dtype


def test_statistics_set_after_the_iterator_was_made_are_used() -> None:
    """Scripts call `flow` and `fit` in any order."""
    generator = ImageDataGenerator(featurewise_center=True)
    iterator = generator.flow(IMAGES, LABELS, seed=1)
    generator.fit(IMAGES)
    assert np.abs(next(iterator)[0].mean(axis=(0, 1, 2))).max() < 1e-3


@pytest.mark.parametrize("cval", [0, 51.0, 255, -1, 300, 127.5])
@pytest.mark.parametrize("kind", ["uint8", "float32", "divided by 255"])
def test_what_lies_outside_is_filled_with_the_very_value(cval: float, kind: str) -> None:
    """Keras fills with any value; 8 bits hold only whole levels of 0 to 255, so others take the floating-point way."""
    divisor = 255 if kind.startswith("divided") else 1
    images = (IMAGES / divisor).astype(np.float32) if kind != "uint8" else IMAGES
    filled = np.float32(cval / divisor)
    arguments = {"width_shift_range": [5], "fill_mode": "constant", "cval": cval / divisor}
    batch = next(flow(images, arguments=arguments, batch_size=10))[0]
    assert np.allclose(filled, batch[np.abs(batch - filled) < 0.4 / divisor], rtol=1e-6)
    outside = [np.isclose(image, filled, rtol=1e-6).all(axis=(1, 2)).sum() for image in batch]  # axes as in Keras 3
    assert [5] * 10 == outside


def test_a_value_outside_that_is_never_seen_changes_nothing() -> None:
    """Without `constant`, or without a warp, `cval` means nothing: workers still make the images."""
    still = {"horizontal_flip": True, "fill_mode": "constant", "cval": 0.5}
    for arguments in ({"rotation_range": 9, "cval": -1}, still):
        assert 2 == flow(arguments=arguments, workers=2).worker_processes


def test_a_subclass_s_own_changes_and_normalisation_are_used() -> None:
    """Scripts override `apply_transform`, `get_random_transform` and `standardize`: no worker may bypass them."""

    class Own(ImageDataGenerator):
        def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
            assert (12, 14, 3) == img_shape
            return {"level": np.random.RandomState(seed).randint(1, 100)}

        def apply_transform(self, x: npt.NDArray[Any], transform_parameters: Any) -> npt.NDArray[Any]:
            return np.full_like(x, transform_parameters["level"])

        def standardize(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return -x

    one, other = (Own().flow(IMAGES, LABELS, seed=2, workers=workers) for workers in (0, 2))
    for _ in range(4):
        images = next(one)[0]
        assert np.array_equal(images, next(other)[0])
        levels = images[:, 0, 0, 0]
        assert len(set(levels.tolist())) > 1
        assert (images == levels[:, np.newaxis, np.newaxis, np.newaxis]).all()
        assert (-99 <= levels).all()
        assert (levels <= -1).all()
