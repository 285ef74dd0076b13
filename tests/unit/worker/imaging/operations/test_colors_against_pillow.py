"""Grey levels, saturation and hue are computed here, and have to be Pillow's to the last bit."""

import numpy as np
import pytest
from PIL import Image
from support.images import Pixels, picture

from penstock.worker.imaging.operations.color import blending


def images() -> list[Pixels]:
    """Return all colours of a grid with the ends of the scale and their neighbours, noise, a view, and tiny images."""
    levels = np.unique(np.r_[0:256:9, 1, 2, 127, 128, 253, 254, 255]).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, len(levels), 3)
    noise = np.random.default_rng(5).integers(0, 256, (70, 90, 3), np.uint8)
    return [
        grid,
        noise,
        noise[3:40, 5:77],
        picture(1, 2, 20, 30),
        *(noise[:h, :w] for h, w in ((1, 1), (4, 1), (1, 4), (2, 3))),
    ]


def test_gray_levels_are_pillows() -> None:
    """As `convert("L")`."""
    for pixels in images():
        assert np.array_equal(np.asarray(Image.fromarray(pixels).convert("L")), blending.gray(pixels))


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7, 5.0])
def test_saturation_is_pillows(factor: float) -> None:
    """As `Image.blend` of the grey image and the image, cut at the ends of the scale."""
    for pixels in images():
        image = Image.fromarray(pixels)
        expected = np.asarray(Image.blend(image.convert("L").convert("RGB"), image, factor))
        assert np.array_equal(expected, blending.saturation(pixels, factor))


@pytest.mark.parametrize("turn", [-0.5, -0.1, -0.001, 0.0, 0.004, 0.1, 0.25, 1 / 3, 0.5])
def test_hue_is_that_of_pillows_conversions(turn: float) -> None:
    """As a conversion to HSV, an addition modulo 256, and a conversion back."""
    for pixels in images():
        before = pixels.copy()
        hsv = np.array(Image.fromarray(pixels).convert("HSV"))
        hsv[..., 0] += np.int32(turn * 255).astype(np.uint8)
        expected = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
        assert np.array_equal(expected, blending.hue(pixels, turn))
        assert np.array_equal(before, pixels)


def test_gray_images_have_no_colours_to_change() -> None:
    """They come back as they are."""
    pixels = picture(1, 1, 5, 6)[..., :1]
    assert pixels is blending.hue(pixels, 0.3)
    assert pixels is blending.saturation(pixels, 0.3)
    assert np.array_equal(pixels[..., 0], blending.gray(pixels))
