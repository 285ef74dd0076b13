"""Five and ten crops: one a patch, in torchvision's order."""

from typing import Any

import numpy as np
import pytest
from support.images import picture

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation_table import step_models
from penstock.protocol.spec.spec import Stream
from penstock.worker.imaging.steps import Steps


def samples(patches: int, pixels: Any, *steps: dict[str, Any]) -> list[Any]:
    """Return the samples of the second of two images."""
    models = [step_models()[step["op"]].model_validate(step) for step in steps]
    program = Steps(models, [step.name for step in models], 7, 10**8)
    program.begin(0, np.arange(2), patches)
    size = (pixels.shape[0], pixels.shape[1])
    return [program.program(patches + patch, size).run(pixels) for patch in range(patches)]


def five(pixels: Any) -> list[Any]:
    """Return crops of 8 × 10 of an image of 21 × 31: half of 13 rows is rounded to 6, of 21 columns to 10."""
    return [pixels[y : y + 8, x : x + 10] for y, x in ((0, 0), (0, 21), (13, 0), (13, 21), (6, 10))]


def test_each_patch_is_a_crop() -> None:
    """Corners, then the middle; more patches begin anew."""
    pixels = picture(1, 0, 21, 31)
    got = samples(10, pixels, {"op": "five_crop", "size": [8, 10]})
    for expected, crop in zip(five(pixels) * 2, got, strict=True):
        assert np.array_equal(expected, crop)


@pytest.mark.parametrize("side", ["left", "top"])
def test_ten_crops_are_those_of_the_image_and_of_the_mirrored_one(side: str) -> None:
    """Left and right, or top and bottom."""
    pixels = picture(2, 1, 21, 31)
    mirrored = pixels[::-1] if side == "top" else pixels[:, ::-1]
    got = samples(10, pixels, {"op": "ten_crop", "size": [8, 10], "vertical_flip": side == "top"})
    for expected, crop in zip(five(pixels) + five(mirrored), got, strict=True):
        assert np.array_equal(expected, crop)


def test_crops_may_stand_among_other_steps_and_in_a_choice() -> None:
    """Each patch keeps its crop."""
    pixels = picture(3, 2, 21, 31)
    crop = {"op": "five_crop", "size": [8, 10]}
    got = samples(5, pixels, {"op": "invert"}, {"op": "one_of", "steps": [crop]}, {"op": "invert"})
    for expected, sample in zip(five(pixels), got, strict=True):
        assert np.array_equal(expected, sample)


def test_an_image_that_is_too_small_fails() -> None:
    """As the item's fault, with both sizes."""
    with pytest.raises(ItemError, match=r"five_crop: size = \[8, 40\] is larger than the image, 21 × 31 pixels"):
        samples(5, picture(1, 0, 21, 31), {"op": "five_crop", "size": [8, 40]})


@pytest.mark.parametrize(
    ("patches", "step", "words"),
    [
        (1, {"op": "five_crop", "size": 8}, r"patches = 1, but step five_crop makes 5 samples .* give patches = 5"),
        (5, {"op": "ten_crop", "size": 8}, r"patches = 5, but step ten_crop makes 10 samples"),
        (4, {"op": "one_of", "steps": [{"op": "five_crop", "size": 8}]}, r"step one_of makes 5 samples"),
        (10, {"op": "ten_crop", "size": 50}, r"step ten_crop#0: size = \[50, 50\] is larger than the image, 40 × 40"),
    ],
)
def test_specs_that_cannot_be_are_refused(patches: int, step: dict[str, Any], words: str) -> None:
    """Too few patches, or crops larger than the image."""
    steps = [{"op": "resize", "size": 40}, step]
    source = {"kind": "directory", "root": "photos"}
    with pytest.raises(ValueError, match=words):
        Stream.model_validate({"source": source, "patches": patches, "transform": {"steps": steps}})
