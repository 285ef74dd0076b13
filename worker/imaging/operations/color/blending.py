"""Brightness, contrast, saturation, hue and grey levels with the arithmetic of Pillow's `ImageEnhance` and `convert`.

Pillow blends in single precision, drops the fraction and cuts at 0 and 255.
"""

import numpy as np

from penstock.protocol.spec.operation import Pixels

_LEVELS = np.arange(256, dtype=np.float32)
_COLORS = 3


def brightness_table(factor: float) -> Pixels:
    """Return the new level of each level: a blend with black."""
    return _blend(0, factor)


def contrast(pixels: Pixels, factor: float) -> Pixels:
    """Return the image blended with its own mean grey."""
    import cv2

    mean = int(int(gray(pixels).sum(dtype=np.int64)) / (pixels.shape[0] * pixels.shape[1]) + 0.5)
    changed = cv2.LUT(pixels, _blend(mean, factor)).reshape(pixels.shape)
    return changed.astype(np.uint8, copy=False)


def saturation(pixels: Pixels, factor: float) -> Pixels:
    """Return the image blended with its grey levels."""
    from PIL import Image

    if pixels.shape[2] != _COLORS:
        return pixels
    image = Image.fromarray(pixels)
    return np.asarray(Image.blend(image.convert("L").convert("RGB"), image, factor))


def hue(pixels: Pixels, turn: float) -> Pixels:
    """Return the image with its hue moved on by `turn` of the circle, in 255 whole steps, as torchvision moves it."""
    from PIL import Image

    if pixels.shape[2] != _COLORS:
        return pixels
    hsv = np.array(Image.fromarray(pixels).convert("HSV"))
    hsv[..., 0] += np.int32(turn * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def gray(pixels: Pixels) -> Pixels:
    """Return the grey levels (height, width), as Pillow's `convert("L")`."""
    from PIL import Image

    if pixels.shape[2] != _COLORS:
        return pixels[..., 0]
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _blend(level: int, factor: float) -> Pixels:
    """Return the blend of each level with one level: `factor` 0 gives that one, 1 the same, 2 twice the distance."""
    start = np.float32(level)
    blended = start + np.float32(factor) * (_LEVELS - start)
    levels: Pixels = np.clip(blended, 0, 255).astype(np.uint8)
    return levels
