"""Turns a sample's image into a picture: any dtype, order of axes, number of channels and size.

Converts arrays to levels of 0 to 255 and chooses the size at which they are shown. `sheet.py` arranges the pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.protocol.wire import Array

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

#: Numbers of channels that a picture is taken to have when the order of its axes is not known.
_CHANNELS = (1, 3, 4)
_GRAY, _RGB, _AXES = 1, 3, 3
#: Shares (percent) of values at both ends that may be cut off where images hold numbers of no known range.
_OUTLIERS = (0.5, 99.5)
#: Share of a known range that images use at least: numbers of 0 to 12 are no levels of 0 to 255.
_LEAST_USE = 0.25
#: Values looked at, of each image, to find the range.
_VALUES = 10_000


@dataclass(frozen=True, slots=True)
class Range:
    """The values that are shown as black and as white, and whether the data type alone says so."""

    low: float
    high: float
    given: bool = False

    def __str__(self) -> str:
        """Describe the range."""
        return f"{self.low:.3g} shown as black, {self.high:.3g} as white"


def arrange(image: Array, *, channels_first: bool | None = None) -> Array | None:
    """Return an image as (height, width, 1 or 3), or None if it is none.

    Without `channels_first`, the axis of 1, 3 or 4 entries is that of the channels, the last one first. Of other
    numbers of channels the first three are shown as red, green and blue; of two, the first.
    """
    if image.ndim == _AXES - 1:
        image = image[..., np.newaxis]
    if image.ndim != _AXES or 0 in image.shape:
        return None
    if channels_first is None:
        channels_first = image.shape[-1] not in _CHANNELS and image.shape[0] in _CHANNELS
    if channels_first:
        image = image.transpose(1, 2, 0)
    return image[..., : _RGB if image.shape[-1] >= _RGB else _GRAY]


def resize(image: Array, side: int) -> Array:
    """Return an image (height, width, channels) as large as it is shown, its dtype float32 or uint8.

    A longest side above `side` (pixels) is reduced to it; one of at most half of that is enlarged by a whole factor,
    so that each pixel can be seen; what lies between stays as it is.
    """
    image = image if image.dtype == np.uint8 else image.astype(np.float32)
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest > side:
        size = max(1, round(width * side / longest)), max(1, round(height * side / longest))
        finite = image if image.dtype == np.uint8 else np.nan_to_num(image)
        parts = [Image.fromarray(finite[..., channel]) for channel in range(image.shape[2])]
        # A filter without negative lobes: what lies within 0 to 1 stays there.
        return np.stack([np.asarray(part.resize(size, Image.Resampling.HAMMING)) for part in parts], axis=2)
    factor = max(1, side // 2 // longest)
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def find_range(dtype: str, images: Sequence[Array]) -> Range:
    """Return the range in which images of one stream are shown: all in the same, so that they can be compared.

    uint8 and bool have one by themselves. Numbers within 0 to 1, -1 to 1 or 0 to 255 are shown in the narrowest of
    these that holds them, if they fill a quarter of it; all others without half a percent of outliers at either end.
    """
    if dtype in ("uint8", "bool"):
        return Range(0.0, 255.0 if dtype == "uint8" else 1.0, given=True)
    values = np.concatenate([_some(image) for image in images]) if images else np.empty(0, np.float32)
    values = values[np.isfinite(values)]
    if not len(values):
        return Range(0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    for known in (Range(0.0, 1.0), Range(-1.0, 1.0), Range(0.0, 255.0)):
        if known.low <= low and high <= known.high and high - low >= _LEAST_USE * (known.high - known.low):
            return known
    low, high = np.percentile(values, _OUTLIERS).tolist()
    return Range(low, high if high > low else low + 1.0)


def to_picture(image: Array, shown: Range) -> Image.Image:
    """Return an image (height, width, 1 or 3) as an RGB picture; values that are no number are black."""
    levels = image
    if (shown.low, shown.high) != (0.0, 255.0) or image.dtype != np.uint8:
        scaled = (image.astype(np.float32) - shown.low) * (255.0 / (shown.high - shown.low))
        levels = np.rint(np.clip(np.nan_to_num(scaled), 0.0, 255.0)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], _RGB))))


def _some(image: Array) -> Floats:
    """Return some of an image's values, evenly spread."""
    flat = image.reshape(-1)
    return flat[:: max(1, len(flat) // _VALUES)].astype(np.float32)
