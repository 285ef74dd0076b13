"""RandAugment and TrivialAugment change images as torchvision's do, given what they choose."""

from typing import Any

import numpy as np
import pytest
from support.imaging.torchvision_reference import applied, functional, image, make_step, pil, transforms

from penstock.worker.imaging.operations.policies.augmentations import NAMES, SIGNED

pytestmark = pytest.mark.torch

F, T = functional(), transforms()


def choice(name: str) -> float:
    """Return a uniform that chooses a change."""
    return (NAMES.index(name) + 0.5) / len(NAMES)


def theirs(policy: Any, pixels: Any, name: str, magnitude: float) -> Any:
    """Return what torchvision's policy makes of an image."""
    return np.asarray(
        policy._apply_image_or_video_transform(pil(pixels), name, magnitude, policy.interpolation, policy._fill)
    )


@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
@pytest.mark.parametrize("name", NAMES)
def test_rand_augment_is_torchvisions(name: str, size: tuple[int, int]) -> None:
    """Each change, both signs, several magnitudes: the same pixels. Magnitudes follow the image's size."""
    pixels = image(1, *size)
    for magnitude in (0, 9, 14, 15, 30):
        step, policy = make_step("rand_augment", num_ops=1, magnitude=magnitude), T.RandAugment(1, magnitude)
        values, signed = policy._AUGMENTATION_SPACE[name]
        assert signed == (name in SIGNED)
        numbers = values(31, *size)
        amount = 0.0 if numbers is None else float(numbers[magnitude])
        assert abs(amount - step.magnitude_of(name, size)) < 1e-6
        for sign in (0.4, 0.6):
            expected = theirs(policy, pixels, name, -amount if signed and sign < 0.5 else amount)
            assert np.array_equal(expected, applied(step, pixels, np.array([choice(name), sign]))), magnitude


@pytest.mark.parametrize("name", NAMES)
def test_trivial_augment_is_torchvisions(name: str) -> None:
    """Each change at each magnitude: the same pixels."""
    step, policy, pixels = make_step("trivial_augment"), T.TrivialAugmentWide(), image(2, 48, 60)
    values, signed = policy._AUGMENTATION_SPACE[name]
    numbers = values(31, 48, 60)
    for place in range(0, 31, 3):
        amount = 0.0 if numbers is None else float(numbers[place])
        for sign in (0.4, 0.6):
            expected = theirs(policy, pixels, name, -amount if signed and sign < 0.5 else amount)
            draws = np.array([choice(name), (place + 0.5) / 31, sign])
            assert np.array_equal(expected, applied(step, pixels, draws)), place


def test_the_changes_are_torchvisions_in_its_order() -> None:
    """A uniform chooses among the same names."""
    assert tuple(T.RandAugment._AUGMENTATION_SPACE) == NAMES
    assert tuple(T.TrivialAugmentWide._AUGMENTATION_SPACE) == NAMES


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({"op": "autocontrast"}, F.autocontrast),
        ({"op": "equalize"}, F.equalize),
        ({"op": "sharpness", "factor": [1.7, 1.7]}, lambda picture: F.adjust_sharpness(picture, 1.7)),
    ],
    ids=str,
)
def test_changes_by_the_histogram_are_torchvisions(settings: dict[str, Any], reference: Any) -> None:
    """The same pixels."""
    for pixels in (image(1, 40, 61), image(2, 7, 5), np.full((4, 4, 3), 77, np.uint8), image(3, 30, 30) // 3 + 40):
        assert np.array_equal(np.asarray(reference(pil(pixels))), applied(make_step(**settings), pixels))
