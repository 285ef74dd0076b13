"""Patches of manipulated images, without manipulating whole images: owns how each manipulation is computed.

A patch equals, bit for bit, what is cut from the manipulated whole image. Refuses to know where patches lie and who
chooses a manipulation.
"""

import io
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.manipulation import Gamma, Jpeg, Manipulation, Rescale, Rotate, Size
from penstock.worker.imaging.bicubic import resize_part, source_span
from penstock.worker.imaging.decode import Pixels

#: Side of a minimum coded unit with 4:2:0 (pixels): blocks of 8, and of 16 for the halved chroma.
_UNIT = 16
#: Pixels beyond the patch that a decoded pixel may follow from: chroma is interpolated between its neighbours.
_REACH = 2


@dataclass(frozen=True, slots=True)
class Window:
    """Where a patch lies: row and column of its first pixel, height and width."""

    y: int
    x: int
    height: int
    width: int

    def of(self, pixels: Pixels) -> Pixels:
        """Return this part of an image, as a view."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]


class Kernel(Protocol):
    """How the patches of one manipulation are computed."""

    def source(self, image: Size, window: Window, /) -> Window:
        """Return the part of an image, whose height and width are given, that a patch follows from."""
        ...

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        """Return a patch of the manipulated image (not yet turned, if that is the manipulation). Raises ItemError."""
        ...


def kernel_of(manipulation: Manipulation | None) -> Kernel:
    """Return how a manipulation is computed; None is the unchanged image."""
    match manipulation:
        case None:
            return _Unchanged()
        case Gamma():
            return _Gamma(manipulation)
        case Jpeg():
            return _Jpeg(manipulation)
        case Rescale():
            return _Bicubic(manipulation)
        case Rotate():
            return _Turned(manipulation)


class _Unchanged:
    def source(self, _: Size, window: Window, /) -> Window:
        return window

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        return window.of(pixels)


class _Gamma(_Unchanged):
    def __init__(self, settings: Gamma) -> None:
        values = [int(255.0 * (value / 255.0) ** settings.value + 0.5) for value in range(256)]
        self._table: npt.NDArray[np.uint8] = np.array(values, np.uint8)

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        part = window.of(pixels)
        changed = cv2.LUT(part, self._table).reshape(part.shape)  # OpenCV drops the axis of a single channel
        return changed.astype(np.uint8, copy=False)


class _Turned(_Unchanged):
    def __init__(self, settings: Rotate) -> None:
        self._turns = settings.turns

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        return np.rot90(window.of(pixels), self._turns)


class _Bicubic:
    def __init__(self, settings: Rescale) -> None:
        self._settings = settings

    def source(self, image: Size, window: Window, /) -> Window:
        size = self._settings.size(image)
        top, bottom = source_span(image[0], size[0], window.y, window.height)
        left, right = source_span(image[1], size[1], window.x, window.width)
        return Window(top, left, bottom - top, right - left)

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        image = pixels.shape[0], pixels.shape[1]
        size = self._settings.size(image)
        if size == image:
            return window.of(pixels)
        return resize_part(pixels, size, window.y, window.x, window.height, window.width)


class _Jpeg:
    """Compresses the units that a patch touches, and no others: a unit is coded from its own pixels alone.

    Decoding then interpolates chroma across units, so those of `_REACH` pixels more are coded too. Pillow's encoder,
    and not simplejpeg's, whose fast DCT loses more than the quality asks for.
    """

    def __init__(self, settings: Jpeg) -> None:
        self._quality = settings.value

    def source(self, image: Size, window: Window, /) -> Window:
        top, bottom = _units(window.y, window.height, image[0])
        left, right = _units(window.x, window.width, image[1])
        return Window(top, left, bottom - top, right - left)

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        source = self.source((pixels.shape[0], pixels.shape[1]), window)
        part, file, gray = source.of(pixels), io.BytesIO(), pixels.shape[2] == 1
        try:
            image = Image.fromarray(part[..., 0] if gray else part)
            image.save(file, "JPEG", quality=self._quality, subsampling="4:2:0")
            decoded: Pixels = simplejpeg.decode_jpeg(file.getbuffer(), "GRAY" if gray else "RGB")
        except (OSError, ValueError, MemoryError) as error:  # sides beyond 65,500 pixels, mostly
            size = f"{part.shape[1]} × {part.shape[0]}"
            raise ItemError(f"cannot compress {size} pixels as a JPEG of quality {self._quality}: {error}") from error
        return Window(window.y - source.y, window.x - source.x, window.height, window.width).of(decoded)


def _units(start: int, length: int, side: int) -> tuple[int, int]:
    """Return the [start, stop) of the units that hold a part of a side of the image, and what its decoding reaches.

    At least a whole unit, if the image has one: libjpeg does not interpolate the chroma of images narrower than 5.
    """
    first = max(0, min(start - _REACH, side - _UNIT)) // _UNIT * _UNIT
    return first, min(side, -(-(start + length + _REACH) // _UNIT) * _UNIT)
