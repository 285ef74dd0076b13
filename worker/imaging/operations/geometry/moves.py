"""The moves that geometric steps are made of: each moves an image, whatever step asked for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from penstock.protocol.spec.operation import Pixels, Size, Window
from penstock.protocol.spec.step import Move, Points, corners_of

#: Filters of Pillow; all but `nearest` widen with the reduction (antialias).
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
#: How Pillow's `transform` samples pixels: without antialias.
Sampling = Literal["nearest", "bilinear", "bicubic"]
#: How padding continues an image: one colour; aaa|abcd|ddd; dcb|abcd|cba; cba|abcd|dcb.
PadMode = Literal["constant", "edge", "reflect", "symmetric"]
#: Least denominator of a perspective at places that it shows.
_LEAST_DEPTH = 1e-6
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

    def mask(self, mask: Pixels, outside: int) -> Pixels:
        """Return the part, as a view."""
        del outside
        return self.window.of(mask)

    def points(self, points: Points, image: Size) -> Points:
        """Return the places in the part."""
        del image
        return points - np.array([self.window.x, self.window.y], np.float64)

    def shown(self, image: Size) -> Points:
        """Return the part."""
        del image
        window = self.window
        return corners_of(window.x, window.y, window.x + window.width, window.y + window.height)


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

    @property
    def reflects(self) -> bool:
        """Whether one axis is mirrored: along both, the image is turned by 180 degrees."""
        return self.horizontal != self.vertical

    def mask(self, mask: Pixels, outside: int) -> Pixels:
        """Return the mirrored mask, as a view."""
        del outside
        return mask[:: -1 if self.vertical else 1, :: -1 if self.horizontal else 1]

    def points(self, points: Points, image: Size) -> Points:
        """Return the mirrored places."""
        x, y = points[:, 0], points[:, 1]
        return np.stack([image[1] - x if self.horizontal else x, image[0] - y if self.vertical else y], axis=1)


@dataclass(frozen=True, slots=True)
class Scale(Move):
    """Resamples the image to another size, as Pillow's `resize` does."""

    to: Size
    filter: Filter
    #: Whether a JPEG may be reduced by its decoder before.
    dct_scaling: bool = False

    def size(self, image: Size) -> Size:
        """Return the new size."""
        del image
        return self.to

    def pixels(self, image: Pixels) -> Pixels:
        """Return the resampled image."""
        from penstock.worker.imaging.resize import resize_pillow

        return image if image.shape[:2] == self.to else resize_pillow(image, self.filter, self.to)

    def of_reduced(self, image: Pixels, window: Window, reduction: int) -> Pixels:
        """Return what is made of a window of an image, which is given at 1/`reduction` of its size."""
        from penstock.worker.imaging.resize import resize_pillow

        x, y = window.x / reduction, window.y / reduction
        right, bottom = (window.x + window.width) / reduction, (window.y + window.height) / reduction
        left, top = int(x), int(y)  # eighths of pixels, which Pillow's single precision holds exactly
        part = image[top : -int(-bottom // 1), left : -int(-right // 1)]
        return resize_pillow(part, self.filter, self.to, box=(x - left, y - top, right - left, bottom - top))

    def write(self, image: Pixels, out: Pixels) -> None:
        """Write the resampled image."""
        from penstock.worker.imaging.resize import resize_pillow

        if image.shape[:2] == self.to:
            np.copyto(out, image)
        else:
            resize_pillow(image, self.filter, self.to, out)

    def mask(self, mask: Pixels, outside: int) -> Pixels:
        """Return the mask with the class of the nearest pixel."""
        from penstock.worker.imaging.resize import resize_pillow

        del outside
        return mask if mask.shape == self.to else resize_pillow(mask[..., np.newaxis], "nearest", self.to)[..., 0]

    def points(self, points: Points, image: Size) -> Points:
        """Return the places, scaled."""
        return points * np.array([self.to[1] / image[1], self.to[0] / image[0]], np.float64)


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
        return self._padded(image, levels_outside(self.fill, image.shape[2]))

    def mask(self, mask: Pixels, outside: int) -> Pixels:
        """Return the padded mask, continued as the image is: `outside` where that has one colour."""
        return self._padded(mask[..., np.newaxis], (outside,))[..., 0]

    def points(self, points: Points, image: Size) -> Points:
        """Return the places in the padded image; what is repeated in the padding is no further target."""
        del image
        return points + np.array([self.left, self.top], np.float64)

    @property
    def has_one_color(self) -> bool:
        """Whether what is added does not depend on the image."""
        return self.mode == "constant"

    def write(self, image: Pixels, out: Pixels) -> None:
        """Write the padded image."""
        if self.has_one_color:
            np.copyto(self.inner(out), image)
            self.frame(out)
        else:
            np.copyto(out, self.pixels(image))

    def inner(self, out: Pixels) -> Pixels:
        """Return the part of a padded image that holds the image."""
        return out[self.top : out.shape[0] - self.bottom, self.left : out.shape[1] - self.right]

    def frame(self, out: Pixels) -> None:
        """Write what is added, of one colour, around the image."""
        row = np.empty(out.shape[1:], np.uint8)
        row[...] = levels_outside(self.fill, out.shape[2])
        out[: self.top] = out[out.shape[0] - self.bottom :] = row
        middle = out[self.top : out.shape[0] - self.bottom]
        middle[:, : self.left] = row[: self.left]
        middle[:, out.shape[1] - self.right :] = row[: self.right]

    def _padded(self, image: Pixels, value: tuple[int, ...]) -> Pixels:
        import cv2

        border = {
            "constant": cv2.BORDER_CONSTANT,
            "edge": cv2.BORDER_REPLICATE,
            "reflect": cv2.BORDER_REFLECT_101,
            "symmetric": cv2.BORDER_REFLECT,
        }[self.mode]
        height, width = self.size((image.shape[0], image.shape[1]))
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

    def mask(self, mask: Pixels, outside: int) -> Pixels:
        """Return the mask with the class of the nearest pixel."""
        from penstock.worker.imaging.resize import transform_pillow

        return transform_pillow(mask[..., np.newaxis], self._METHOD, self.coefficients, "nearest", (outside,))[..., 0]

    def shown(self, image: Size) -> Points:
        """Return where the result's corners lie in the image."""
        from penstock.worker.imaging.targets.polygons import beyond

        g, h, i = self._matrix[6:]
        [[x, y]] = self.points(np.array([[image[1] / 2.0, image[0] / 2.0]]), image).tolist()
        # The whole image lies on one side of the line where the denominator is 0, its middle too.
        side = 1.0 if g * x + h * y + i > 0.0 else -1.0
        whole = corners_of(0.0, 0.0, image[1], image[0])
        return _mapped(self._matrix, beyond(whole, side * g, side * h, side * i, _LEAST_DEPTH))

    def points(self, points: Points, image: Size) -> Points:
        """Return the places in the result, by the inverse matrix."""
        del image
        a, b, c, d, e, f, g, h, i = self._matrix
        # The adjugate: the inverse but for a factor, which the division cancels.
        inverse = (
            *(e * i - f * h, c * h - b * i, b * f - c * e),
            *(f * g - d * i, a * i - c * g, c * d - a * f),
            *(d * h - e * g, b * g - a * h, a * e - b * d),
        )
        return _mapped(inverse, points)

    @property
    def _matrix(self) -> tuple[float, ...]:
        """The coefficients as a matrix of three rows."""
        return (*self.coefficients, *(0.0, 0.0, 1.0)[len(self.coefficients) - 6 :])


class Affine(_Mapping):
    """Maps the image by a matrix of six coefficients: a pixel comes from (a x + b y + c, d x + e y + f)."""

    __slots__ = ()
    _METHOD = "AFFINE"


class Perspective(_Mapping):
    """Maps the image by eight: from ((a x + b y + c) / n, (d x + e y + f) / n) with n = g x + h y + 1."""

    __slots__ = ()
    _METHOD = "PERSPECTIVE"


def _mapped(matrix: Sequence[float], points: Points) -> Points:
    """Return the points that a matrix of three rows makes of points; sums in this order, so that hosts agree."""
    a, b, c, d, e, f, g, h, i = matrix
    x, y = points[:, 0], points[:, 1]
    depth = g * x + h * y + i
    return np.stack([(a * x + b * y + c) / depth, (d * x + e * y + f) / depth], axis=1)


def levels_outside(fill: Fill, channels: int) -> tuple[int, ...]:
    """Return one level a channel; alpha outside the image is 0 unless `fill` gives it."""
    if channels == 4 and len(fill) < channels:  # noqa: PLR2004 - red, green, blue, alpha
        return (*levels_outside(fill, 3), 0)
    return fill * channels if len(fill) == 1 else fill[:channels]
