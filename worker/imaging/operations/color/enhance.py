"""Sharpness, automatic contrast and equalisation, as Pillow computes them, or by Pillow without compiled loops."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from penstock.protocol.spec.operation import Pixels
from penstock.protocol.spec.step import Float64s, PixelStep
from penstock.worker.imaging.operations.parameters import between, ordered

if TYPE_CHECKING:
    from PIL.Image import Image

_Counts = npt.NDArray[np.int64]
_LEVELS = np.arange(256, dtype=np.uint8)
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
    from penstock.worker.imaging.compiled import loops

    if loops.COLORS is not None and loops.fits(pixels):
        loops.COLORS.sharpen(pixels, out := loops.new(pixels), factor)
        return out
    from PIL import ImageEnhance

    return _by_pillow(pixels, lambda image: ImageEnhance.Sharpness(image).enhance(factor))


def autocontrasted(pixels: Pixels) -> Pixels:
    """Return the image with each channel stretched to all levels."""
    from penstock.worker.imaging.compiled import loops

    if loops.COLORS is not None and loops.fits(pixels):
        return _looked_up(pixels, _stretching)
    from PIL import ImageOps

    return _by_pillow(pixels, ImageOps.autocontrast)


def equalized(pixels: Pixels) -> Pixels:
    """Return the image with each channel's histogram equalised."""
    from penstock.worker.imaging.compiled import loops

    if loops.COLORS is not None and loops.fits(pixels):
        return _looked_up(pixels, _equalizing)
    from PIL import ImageOps

    return _by_pillow(pixels, ImageOps.equalize)


def _looked_up(pixels: Pixels, table_of: Callable[[_Counts], Pixels]) -> Pixels:
    """Return the image with the levels of each channel replaced by a table that follows from how often they occur."""
    from penstock.worker.imaging.compiled import loops

    counts, out = np.empty((3, 256), np.uint32), loops.new(pixels)
    loops.COLORS.count(pixels, counts)
    tables = np.stack([table_of(channel.astype(np.int64)) for channel in counts])
    loops.COLORS.look_up(pixels, out, tables)
    return out


def _stretching(counts: _Counts) -> Pixels:
    """Return the table that stretches the levels that occur to 0 to 255, in double precision, as Pillow does."""
    found = np.flatnonzero(counts)
    low, high = int(found[0]), int(found[-1])
    if low == high:
        return _LEVELS
    scale = 255.0 / (high - low)
    table: Pixels = np.clip(np.trunc(_LEVELS.astype(np.float64) * scale + -low * scale), 0, 255).astype(np.uint8)
    return table


def _equalizing(counts: _Counts) -> Pixels:
    """Return the table that spreads the levels evenly: the pixels below each level, in steps of a 255th of them."""
    found = np.flatnonzero(counts)
    step = int(counts.sum() - counts[found[-1]]) // 255
    if not step:
        return _LEVELS
    below = np.cumsum(counts) - counts
    table: Pixels = np.minimum((below + step // 2) // step, 255).astype(np.uint8)
    return table


def _by_pillow(pixels: Pixels, change: "Callable[[Image], Image]") -> Pixels:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(change(image)).reshape(pixels.shape)
