"""Brightness, contrast, saturation, hue and grey levels with the arithmetic of Pillow's `ImageEnhance` and `convert`.

Pillow blends in single precision, drops the fraction and cuts at 0 and 255.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.spec.operation import Pixels

_LEVELS = np.arange(256, dtype=np.float32)
_COLORS = 3
#: Weights of red, green and blue, and what rounds, in multiples of 2^-16: those of Pillow.
_GRAY = np.array([[19595, 38470, 7471, 32768]], np.float32) / np.float32(65536)


def brightness_table(factor: float) -> Pixels:
    """Return the new level of each level: a blend with black."""
    return _blend(0, factor)


def contrast(pixels: Pixels, factor: float) -> Pixels:
    """Return the image blended with its own mean grey."""
    from penstock.worker.imaging.compiled import loops

    if loops.COLORS is not None and loops.fits(pixels):
        loops.COLORS.contrast(pixels, out := loops.new(pixels), factor)
        return out
    import cv2

    mean = int(int(gray(pixels).sum(dtype=np.int64)) / (pixels.shape[0] * pixels.shape[1]) + 0.5)
    changed = cv2.LUT(pixels, _blend(mean, factor)).reshape(pixels.shape)
    return changed.astype(np.uint8, copy=False)


def saturation(pixels: Pixels, factor: float) -> Pixels:
    """Return the image blended with its grey levels."""
    if pixels.shape[2] != _COLORS:
        return pixels
    from penstock.worker.imaging.compiled import loops

    if loops.COLORS is not None and loops.fits(pixels):
        loops.COLORS.saturate(pixels, out := loops.new(pixels), factor)
        return out
    import cv2

    start = gray(pixels).astype(np.float32)
    return np.asarray(cv2.merge([_blended(plane, start, factor) for plane in cv2.split(pixels)]), np.uint8)


def _blended(plane: Any, start: npt.NDArray[np.float32], factor: float) -> Pixels:  # noqa: ANN401 - OpenCV's array
    blended = plane.astype(np.float32)
    blended -= start
    blended *= np.float32(factor)
    blended += start
    if not 0.0 <= factor <= 1.0:
        np.maximum(blended, np.float32(0), out=blended)
        np.minimum(blended, np.float32(255), out=blended)
    levels: Pixels = blended.astype(np.uint8)
    return levels


def hue(pixels: Pixels, turn: float) -> Pixels:
    """Return the image with its hue moved on by `turn` of the circle, in 255 whole steps, as torchvision moves it."""
    from penstock.worker.imaging.operations.color.hue import turned

    return pixels if pixels.shape[2] != _COLORS else turned(pixels, int(turn * 255))


def gray(pixels: Pixels) -> Pixels:
    """Return the grey levels (height, width), as Pillow's `convert("L")`.

    All products and sums are multiples of 2^-16 below 256, which single precision holds exactly, so every CPU gives the
    same result, in whatever order it adds.
    """
    import cv2

    if pixels.shape[2] != _COLORS:
        return pixels[..., 0]
    levels: Pixels = cv2.transform(pixels.astype(np.float32), _GRAY).astype(np.uint8)
    return levels.reshape(pixels.shape[:2])


def _blend(level: int, factor: float) -> Pixels:
    """Return the blend of each level with one level: `factor` 0 gives that one, 1 the same, 2 twice the distance."""
    start = np.float32(level)
    blended = start + np.float32(factor) * (_LEVELS - start)
    levels: Pixels = np.clip(blended, 0, 255).astype(np.uint8)
    return levels
