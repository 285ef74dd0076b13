"""Reads the EXIF orientation, turns pixels accordingly, and maps boxes back to the image as stored.

A tag that is missing, damaged or meaningless counts as 1: the pixels as stored.
"""

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.worker.imaging.partial_jpeg import Box
from penstock.worker.imaging.pillow import REFUSALS

Pixels = npt.NDArray[np.uint8]

_ORIENTATION = 0x0112
#: From this value on, rows become columns.
_TRANSPOSED = 5


def jpeg_orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8, of a JPEG file; one without the tag costs no more than a search."""
    if b"Exif\0\0" not in data and b"tiff:Orientation" not in data:
        return 1
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
    except REFUSALS:
        return 1
    return orientation_of(image)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, of an image that Pillow opened."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except REFUSALS:
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


_TURNS: dict[int, Callable[[Pixels], Any]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Return pixels (height, width, channels) turned as an orientation says; unchanged, the same array, for 1."""
    if orientation == 1:
        return pixels
    turned: Pixels = _TURNS[orientation](pixels)
    return turned.reshape(*turned.shape[:2], pixels.shape[2])  # OpenCV may drop the axis of a single channel


def turned_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Return the height and width that an image of this size has after `turn`; and before it, of one after it."""
    return (width, height) if orientation >= _TRANSPOSED else (height, width)


def stored_box(box: Box, height: int, width: int, orientation: int) -> Box:
    """Return where the pixels of a box of the turned image lie in the stored one, of this height and width."""
    down, across, size = box.top, box.left, (box.height, box.width)
    if orientation >= _TRANSPOSED:
        down, across, size = across, down, (box.width, box.height)
    if orientation in (3, 4, 6, 7):
        down = height - down - size[0]
    if orientation in (2, 3, 7, 8):
        across = width - across - size[1]
    return Box(down, across, *size)
