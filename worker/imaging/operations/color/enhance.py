"""Sharpness, automatic contrast and equalisation, which Pillow itself computes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from penstock.protocol.spec.operation import Pixels
from penstock.protocol.spec.step import Float64s, PixelStep
from penstock.worker.imaging.operations.parameters import between, ordered

if TYPE_CHECKING:
    from PIL.Image import Image

_Factor = Annotated[float, Field(ge=0, le=100)]


class Sharpness(PixelStep):
    """Sharpen or soften by a random factor, as torchvision's `adjust_sharpness`."""

    op: Literal["sharpness"]
    """Name of the operation."""
    factor: Annotated[tuple[_Factor, _Factor], AfterValidator(ordered)]
    """Least and greatest factor, uniform: 0 softens, 1 changes nothing, 2 sharpens."""

    @property
    def uniforms(self) -> int:
        """The factor."""
        return 1

    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the changed image."""
        return sharpened(pixels, between(*self.factor, float(draws[0])))


class Autocontrast(PixelStep):
    """Stretch each channel to the levels 0 to 255, as Pillow's `ImageOps.autocontrast`. Draws no numbers."""

    op: Literal["autocontrast"]
    """Name of the operation."""

    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the changed image."""
        del draws
        return autocontrasted(pixels)


class Equalize(PixelStep):
    """Equalise each channel's histogram, as Pillow's `ImageOps.equalize`. Draws no numbers."""

    op: Literal["equalize"]
    """Name of the operation."""

    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the changed image."""
        del draws
        return equalized(pixels)


def sharpened(pixels: Pixels, factor: float) -> Pixels:
    """Return the image blended with a smoothed one; `factor` 1 changes nothing."""
    from PIL import ImageEnhance

    return _by_pillow(pixels, lambda image: ImageEnhance.Sharpness(image).enhance(factor))


def autocontrasted(pixels: Pixels) -> Pixels:
    """Return the image with each channel stretched to all levels."""
    from PIL import ImageOps

    return _by_pillow(pixels, ImageOps.autocontrast)


def equalized(pixels: Pixels) -> Pixels:
    """Return the image with each channel's histogram equalised."""
    from PIL import ImageOps

    return _by_pillow(pixels, ImageOps.equalize)


def _by_pillow(pixels: Pixels, change: "Callable[[Image], Image]") -> Pixels:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(change(image)).reshape(pixels.shape)
