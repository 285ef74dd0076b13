"""The moves that geometric steps are made of: each moves an image, whatever step asked for it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from penstock.protocol.spec.operation import Pixels, Size, Window
from penstock.protocol.spec.step import Move

#: Filters of Pillow; all but `nearest` widen with the reduction (antialias).
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
#: How Pillow's `transform` samples pixels: without antialias.
Sampling = Literal["nearest", "bilinear", "bicubic"]
#: How padding continues an image: one colour; aaa|abcd|ddd; dcb|abcd|cba; cba|abcd|dcb.
PadMode = Literal["constant", "edge", "reflect", "symmetric"]
#: Level of each channel outside the image; a single one counts for all.
Fill = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Crop(Move):
    """Keeps a part of the image, which lies inside of it."""

    window: Window

    def size(self, image: Size) -> Size:
        """Return the part's size."""
        del image
        return self.window.height, self.window.width

    def pixels(self, image: Pixels) -> Pixels:
        """Return the part, as a view."""
        return self.window.of(image)


@dataclass(frozen=True, slots=True)
class Mirror(Move):
    """Exchanges left and right, top and bottom, or both."""

    horizontal: bool
    vertical: bool

    def size(self, image: Size) -> Size:
        """Return the image's size."""
        return image

    def pixels(self, image: Pixels) -> Pixels:
        """Return the mirrored image."""
        from penstock.worker.imaging.augment.apply import flip

        out = np.empty(image.shape, np.uint8)
        flip(image, out, horizontal=self.horizontal, vertical=self.vertical)
        return out


@dataclass(frozen=True, slots=True)
class Scale(Move):
    """Resamples the image to another size, as Pillow's `resize` does."""

    to: Size
    filter: Filter

    def size(self, image: Size) -> Size:
        """Return the new size."""
        del image
        return self.to

    def pixels(self, image: Pixels) -> Pixels:
        """Return the resampled image."""
        from penstock.worker.imaging.resize import resize_pillow

        return image if image.shape[:2] == self.to else resize_pillow(image, self.filter, self.to)


@dataclass(frozen=True, slots=True)
class Pad(Move):
    """Adds pixels around the image."""

    top: int
    left: int
    bottom: int
    right: int
    mode: PadMode = "constant"
    fill: Fill = (0,)

    def size(self, image: Size) -> Size:
        """Return the size with the added pixels."""
        return image[0] + self.top + self.bottom, image[1] + self.left + self.right

    def pixels(self, image: Pixels) -> Pixels:
        """Return the padded image."""
        import cv2

        border = {
            "constant": cv2.BORDER_CONSTANT,
            "edge": cv2.BORDER_REPLICATE,
            "reflect": cv2.BORDER_REFLECT_101,
            "symmetric": cv2.BORDER_REFLECT,
        }[self.mode]
        height, width = self.size((image.shape[0], image.shape[1]))
        value = levels_outside(self.fill, image.shape[2])
        padded = cv2.copyMakeBorder(image, self.top, self.bottom, self.left, self.right, border, value=value)
        return padded.reshape(height, width, image.shape[2]).astype(np.uint8, copy=False)


@dataclass(frozen=True, slots=True)
class _Mapping(Move):
    """Maps the image as a method of Pillow's `transform` does; its size stays."""

    _METHOD: ClassVar[Literal["AFFINE", "PERSPECTIVE"]]
    #: Where a pixel (x, y) of the result lies in the image, in pixels.
    coefficients: tuple[float, ...]
    filter: Sampling
    fill: Fill

    def size(self, image: Size) -> Size:
        """Return the image's size."""
        return image

    def pixels(self, image: Pixels) -> Pixels:
        """Return the mapped image."""
        from penstock.worker.imaging.resize import transform_pillow

        fill = levels_outside(self.fill, image.shape[2])
        return transform_pillow(image, self._METHOD, self.coefficients, self.filter, fill)


class Affine(_Mapping):
    """Maps the image by a matrix of six coefficients: a pixel comes from (a x + b y + c, d x + e y + f)."""

    __slots__ = ()
    _METHOD = "AFFINE"


class Perspective(_Mapping):
    """Maps the image by eight: from ((a x + b y + c) / n, (d x + e y + f) / n) with n = g x + h y + 1."""

    __slots__ = ()
    _METHOD = "PERSPECTIVE"


def levels_outside(fill: Fill, channels: int) -> tuple[int, ...]:
    """Return one level a channel; alpha outside the image is 0 unless `fill` gives it."""
    if channels == 4 and len(fill) < channels:  # noqa: PLR2004 - red, green, blue, alpha
        return (*levels_outside(fill, 3), 0)
    return fill * channels if len(fill) == 1 else fill[:channels]
