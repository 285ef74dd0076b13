"""Geometry of augmentation: rotation, shift, shear, zoom and flips as one resampling of each image.

Owns the matrices, the coordinates and what lies outside the image.

An output pixel (x, y) is sampled at M · (x, y, 1), M a 2 × 3 matrix. Meanings are those of SciPy's
`ndimage.affine_transform`, which Keras calls. Linear sampling is OpenCV's `remap`, in float32. Its kernels use fused
multiply-add where the CPU has it, so the same coordinates may give other last bits elsewhere, and another rounding to
uint8. So coordinates are rounded to 1/256 pixel first: v0 + a (v1 - v0) in both directions then needs 8 + 8 + 8 bits,
which float32 holds exactly, and every CPU yields the same bytes. Sines are computed from additions and multiplications
alone for the same reason: those of numpy and the C library differ between CPUs.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from penstock.protocol.spec.augment import MAX_WARPED_SIDE, Fill
from penstock.worker.imaging.augment.spline import sample as sample_spline

Float64s = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: uint8 or float32, (height, width, channels).
Image = npt.NDArray[Any]

_BORDERS = {
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_REPLICATE,  # coordinates are wrapped beforehand: SciPy's period is a pixel less than OpenCV's
}
#: Coordinates (pixels) below which sums in float32 are fine enough without the rounding to 1/256: 2^-16 pixel.
_FINE_REACH = 256.0
#: 1.5 · 2^15: float32 holds multiples of 1/256 from 2^15 to 2^16, so adding and subtracting it rounds to them, for
#: coordinates up to `MAX_WARPED_SIDE`.
_MAGIC = np.float32(49152.0)
#: Coordinates (pixels) that are cut to this: far outside of every image, and no sum of two overflows.
_FAR = 1e9
#: A place outside of every image.
_NOWHERE = np.float32(-20_000.0)
#: Numbers of channels that OpenCV warps at full precision; others it rounds to 1/32 pixel.
_CHANNELS = (1, 3, 4)


Pair = tuple[Float64s, Float64s]


def matrices(theta: Float64s, shift: Pair, shear: Float64s, zoom: Pair, center: tuple[float, float]) -> Float64s:
    """Return (samples, 2, 3): rotation · shift · shear · zoom about `center`, in Keras's order.

    Angles are in degrees; `shift`, `zoom` and `center` are x, y, in pixels.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # absurd zooms: `_fold` sees to what is not finite
        return _matrices(theta, shift, shear, zoom, center)


def _matrices(theta: Float64s, shift: Pair, shear: Float64s, zoom: Pair, center: tuple[float, float]) -> Float64s:
    (sin, sin_shear), (cos, cos_shear) = _sine_cosine(np.stack([theta, shear]))
    result = np.empty((len(theta), 2, 3))
    result[:, 0, 0] = cos * zoom[0]
    result[:, 0, 1] = -(cos * sin_shear + sin * cos_shear) * zoom[1]
    result[:, 1, 0] = sin * zoom[0]
    result[:, 1, 1] = (cos * cos_shear - sin * sin_shear) * zoom[1]
    x, y = center
    result[:, 0, 2] = x + (cos * shift[0] - sin * shift[1]) - (result[:, 0, 0] * x + result[:, 0, 1] * y)
    result[:, 1, 2] = y + (sin * shift[0] + cos * shift[1]) - (result[:, 1, 0] * x + result[:, 1, 1] * y)
    return result


def _sine_cosine(degrees: Float64s) -> tuple[Float64s, Float64s]:
    """Return sines and cosines, to about an ulp and the same everywhere: Taylor's polynomials on [-45°, 45°]."""
    quarter = np.rint(degrees / 90.0)
    x = (degrees - quarter * 90.0) * (math.pi / 180.0)
    square = x * x
    sin, cos = np.zeros_like(x), np.zeros_like(x)
    for power in range(18, -2, -2):  # the next terms are below 10^-19
        sign = (-1.0) ** (power // 2)
        sin = sin * square + sign / math.factorial(power + 1)
        cos = cos * square + sign / math.factorial(power)
    sin *= x
    turn = np.mod(quarter, 4.0)
    odd = np.mod(turn, 2.0) == 1.0
    sin, cos = np.where(odd, cos, sin), np.where(odd, sin, cos)
    return np.where(turn > 1.0, -sin, sin), np.where(np.abs(turn - 1.5) < 1.0, -cos, cos)


@dataclass(frozen=True, slots=True)
class Places:
    """Coordinates of samples, as sums of what depends on the column and what on the row alone.

    Where `near`, float32 is enough and nothing lies so far outside that it must be folded in. The sums are then matrix
    products, (row, 1) · (1, column): twice as fast as numpy's broadcast addition, and rounded once, whatever does it.
    """

    #: (samples, 2: x and y, width) in float64, or (samples, 2, 2, width) in float32.
    by_column: npt.NDArray[Any]
    #: (samples, 2: x and y, height) in float64, or (samples, 2, height, 2) in float32.
    by_row: npt.NDArray[Any]
    near: bool

    def __getitem__(self, samples: slice) -> "Places":
        """Return the places of some samples."""
        return Places(self.by_column[samples], self.by_row[samples], self.near)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How images of one size are sampled: the same for every image of a stream."""

    height: int
    width: int
    fill: Fill
    #: Level outside the image for `constant`.
    cval: float
    #: Degree of the spline: 0 nearest, 1 linear, 2 to 5 B-splines.
    order: int
    #: Whether coordinates are rounded so that every CPU makes the same bytes; else they are as fine as float32.
    exact: bool

    def places(self, matrix: Float64s, mirrored: Bools) -> "Places":
        """Return where samples are read, by column and by row.

        `matrix` is (samples, 2, 3), `mirrored` (samples, 2): whether the result is mirrored left-right, top-bottom.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            by_column = matrix[:, :, :1] * np.arange(self.width) + matrix[:, :, 2:]
            by_row = matrix[:, :, 1:2] * np.arange(self.height)
            by_column[mirrored[:, 0]] = by_column[mirrored[:, 0], :, ::-1]
            by_row[mirrored[:, 1]] = by_row[mirrored[:, 1], :, ::-1]
            reach = max(np.abs(part).max(initial=0.0) for part in (by_column, by_row))
            if not reach < _FAR:  # an absurd zoom or shift, which may have overflowed
                by_column, by_row = (np.clip(np.nan_to_num(part), -_FAR, _FAR) for part in (by_column, by_row))
        limit = MAX_WARPED_SIDE if self.exact else _FINE_REACH
        near = bool(self.order == 1 and self.fill != "wrap" and 2 * reach < limit)
        if near:
            columns = np.ones((*by_column.shape[:2], 2, self.width), np.float32)
            columns[:, :, 1] = by_column
            rows = np.ones((*by_row.shape, 2), np.float32)
            rows[..., 0] = by_row
            return Places(columns, rows, near)
        return Places(by_column, by_row, near)

    def coordinates(self, places: "Places", rows: slice = slice(None), room: Float32s | None = None) -> Float32s:
        """Return where each output pixel of `rows` is sampled, (samples, 2, rows, width): x, then y.

        Outside of the image, coordinates are folded in for `wrap` and sent far away for `constant`. `room` is memory
        that they may lie in (one-dimensional, large enough).
        """
        by_column, by_row = places.by_column, places.by_row[:, :, rows]
        count, _, height = by_row.shape[:3]
        shape = (2, count, height, self.width)  # in memory, all of x lies before all of y
        result = np.empty(shape, np.float32) if room is None else room[: math.prod(shape)].reshape(shape)
        result = result.transpose(1, 0, 2, 3)
        if places.near:
            np.matmul(by_row, by_column, out=result)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                for axis, side in enumerate((self.width, self.height)):
                    whole = by_column[:, axis, np.newaxis] + by_row[:, axis, :, np.newaxis]
                    result[:, axis] = _fold(whole, side, self.fill)
        self._round(result)
        return result

    def _round(self, points: Float32s) -> None:
        """Round in place, after marking what is outside: what rounds into the image counts as inside."""
        outside, fine = None, points
        if self.exact and self.order <= 1:
            fine = points if self.order == 1 else points.copy()
            fine += _MAGIC
            fine -= _MAGIC
        if self.fill == "constant":
            x, y = fine[:, 0], fine[:, 1]
            outside = (x < 0.0) | (x > self.width - 1) | (y < 0.0) | (y > self.height - 1)
        if self.order == 0:
            points += np.float32(0.5)
            np.floor(points, out=points)
        if outside is not None:
            np.copyto(points[:, 0], _NOWHERE, where=outside)

    def sample(self, image: Image, points: Float32s, out: Image) -> None:
        """Sample `image` (height, width, channels) at `points` (2, rows, width), as `coordinates` returns them.

        `out` (rows, width, channels) has the image's dtype, is C-contiguous and another array. uint8 is rounded, half
        to even. Call `prepare` first on the same thread.
        """
        self.sample_all((image,), points[np.newaxis], (out,))

    def sample_all(self, images: Iterable[Image], points: Float32s, outs: Iterable[Image]) -> None:
        """Do `sample` for many images; `points` is (samples, 2, rows, width)."""
        interpolation = cv2.INTER_LINEAR if self.order else cv2.INTER_NEAREST
        border, value, remap = _BORDERS[self.fill], (self.cval,) * 4, cv2.remap  # looked up once: many are small
        for image, x, y, out in zip(images, points[:, 0], points[:, 1], outs, strict=True):
            if self.order > 1:
                sample_spline(image, np.stack([x, y]), out, fill=self.fill, cval=self.cval, order=self.order)
            elif out.shape[2] not in _CHANNELS:
                for channel in range(out.shape[2]):
                    out[..., channel] = remap(
                        np.ascontiguousarray(image[..., channel]), x, y, interpolation, None, border, value
                    )
            else:
                result = remap(image, x, y, interpolation, out, border, value)
                if result is not out:
                    np.copyto(out, result.reshape(out.shape))


def prepare() -> None:
    """Switch Intel's IPP off on this thread: its kernels round differently from CPU to CPU."""
    cv2.ipp.setUseIPP(False)


def _fold(whole: Float64s, side: int, fill: Fill) -> Float64s:
    """Bring coordinates that lie far outside near enough for OpenCV's 16-bit places."""
    if fill == "wrap":
        period = float(max(side - 1, 1))
        folded: Float64s = whole - period * np.floor(whole / period)  # ten times as fast as numpy's modulo
        last = (folded == 0.0) & ((whole < 0.0) | (whole == side - 1))  # as SciPy: -period too is the last pixel
        folded[last] = side - 1
        return folded if side > 1 else np.zeros_like(folded)
    if fill == "reflect":
        np.mod(whole, 2.0 * side, out=whole, where=np.abs(whole) > side)
    return np.clip(whole, -MAX_WARPED_SIDE, MAX_WARPED_SIDE)
