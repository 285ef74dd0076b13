"""Turns the hue exactly as Pillow's conversions to HSV and back do, in a fifth of their time; compiled, in a tenth.

Pillow divides for each pixel. Here are tables for all divisions, and OpenCV and NumPy work on whole planes where the
compiled loop is missing:

- Hue: depends on which channel is the largest, on the difference of the other two and on that of largest and smallest.
- Saturation and the smallest channel of the result: depend on the largest and the smallest channel.
- The middle channel of the result: the largest, times a number that depends on hue and saturation, rounded.

The first two are filled by Pillow itself. A test compares all results with Pillow's.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.spec.operation import Pixels
from penstock.worker.imaging.compiled import loops

#: Differences of two levels: -255 to 255.
_DIFFERENCES = 511
_ZERO = 255
_LEVELS = 256
#: Which of largest (0), middle (1) and smallest (2) each channel of the result is, for each sixth of the circle.
_ROLES = ((0, 1, 2, 2, 1, 0), (1, 0, 0, 1, 2, 2), (2, 2, 1, 0, 0, 1))


@dataclass(frozen=True, slots=True)
class _Tables:
    #: Hue by (largest channel, difference of the next two, largest less smallest).
    hue: Pixels
    #: Saturation and 256 times the result's smallest level, by (largest, smallest).
    saturation: npt.NDArray[np.uint16]
    #: What the largest level is multiplied by for the middle one, by (hue, saturation).
    middle: npt.NDArray[np.float64]
    #: By the result's hue, two bits for each channel: whether it is the largest, and whether it is the middle one.
    roles: Pixels


def turned(pixels: Pixels, steps: int) -> Pixels:
    """Return a colour image with its hue moved on by so many of the circle's 255 steps."""
    tables = _tables()
    if loops.COLORS is not None and loops.fits(pixels):
        out = loops.new(pixels)
        loops.COLORS.turn(pixels, out, steps % _LEVELS, tables.hue, tables.saturation, tables.middle, tables.roles)
        return out
    import cv2

    planes = list[Any](cv2.split(pixels))
    largest = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    smallest = cv2.min(cv2.min(planes[0], planes[1]), planes[2])
    red, green, blue = (plane.astype(np.int16) for plane in planes)
    rows = red - green
    rows += np.int16(2 * _DIFFERENCES + _ZERO)
    for number in (1, 0):
        difference = (green - blue) if number == 0 else (blue - red)
        difference += np.int16(number * _DIFFERENCES + _ZERO)
        cv2.copyTo(difference, cv2.compare(planes[number], largest, cv2.CMP_EQ), rows)
    places = np.left_shift(rows, 8, dtype=np.intp)
    places += cv2.subtract(largest, smallest)
    hue = tables.hue.take(places, mode="clip")
    hue += np.uint8(steps % _LEVELS)
    both = tables.saturation.take(_pairs(largest, smallest), mode="clip").view(np.uint8)
    saturation, least = cv2.split(both.reshape(*largest.shape, 2))
    middle = tables.middle.take(_pairs(hue, saturation), mode="clip")
    middle *= largest
    middle += 0.5
    sources = largest, middle.astype(np.uint8)
    roles = np.asarray(cv2.LUT(hue, tables.roles), np.uint8)
    for bit in range(6):
        plane, source = planes[bit // 2], sources[bit % 2]
        if source is largest:
            plane[...] = least
        cv2.copyTo(source, roles & np.uint8(1 << bit), plane)
    return np.asarray(cv2.merge(planes), np.uint8)


def _pairs(high: Any, low: Any) -> npt.NDArray[np.uint16]:  # noqa: ANN401 - OpenCV's arrays
    """Return 256 times one plane plus the other."""
    import cv2

    return np.asarray(cv2.merge([low, high]), np.uint8).view("<u2")[..., 0]


@cache
def _tables() -> _Tables:
    level = np.arange(_LEVELS)
    hue = np.zeros((3, _DIFFERENCES, _LEVELS), np.uint8)
    for largest in range(3):
        # A channel of 255, one of 255 less the span, and one between them, at the difference from it.
        difference, span = np.meshgrid(np.arange(-_ZERO, _ZERO + 1), level, indexing="ij")
        low = 255 - span
        high = np.minimum(low + np.abs(difference), 255)
        colors = np.empty((_DIFFERENCES, _LEVELS, 3), np.uint8)
        colors[..., largest] = 255
        colors[..., (largest + 1) % 3] = np.where(difference > 0, high, low)
        colors[..., (largest + 2) % 3] = np.where(difference > 0, low, high)
        hue[largest] = _converted(colors, "RGB", "HSV")[..., 0]
    top, bottom = np.meshgrid(level, level, indexing="ij")
    saturation = _converted(np.stack([top, bottom, bottom], axis=2).astype(np.uint8), "RGB", "HSV")[..., 1]
    least = _converted(np.stack([np.zeros_like(top), saturation, top], axis=2).astype(np.uint8), "HSV", "RGB")[..., 2]
    both = np.stack([saturation, least], axis=2)
    turn = level.astype(np.float32).astype(np.float64) * 6.0 / 255.0
    sixth = np.floor(turn).astype(np.int64)
    part = (turn - sixth).astype(np.float32)[:, np.newaxis]
    share = (level / 255.0).astype(np.float32)
    falling = 1.0 - (share * part).astype(np.float64)
    rising = 1.0 - share.astype(np.float64) * (1.0 - part.astype(np.float64))
    middle = np.where((sixth % 2 == 1)[:, np.newaxis], falling, rising)
    roles = np.zeros(_LEVELS, np.uint8)
    for channel, of_sixth in enumerate(_ROLES):
        role = np.array(of_sixth)[sixth % 6]
        roles |= ((role == 0) << 2 * channel | (role == 1) << 2 * channel + 1).astype(np.uint8)
    return _Tables(hue.ravel(), both.astype(np.uint8).view("<u2").ravel(), middle.ravel(), roles)


def _converted(pixels: Pixels, mode: str, other: str) -> Pixels:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels, mode).convert(other))
