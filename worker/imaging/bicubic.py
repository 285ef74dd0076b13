"""Resizes a part of an image bicubically, bit for bit as Pillow resizes the whole image.

Pillow resizes in two passes, with 8-bit pixels between them. Each output pixel is a weighted sum whose weights follow
from its place in the *whole* image, in double precision, and are then rounded to 22 bits (Pillow's
src/libImaging/Resample.c; the kernel is that of Keys, "Cubic Convolution Interpolation for Digital Image Processing",
IEEE TASSP 1981, with a = -1/2, widened by the reduction). `Image.resize(box=...)` cannot give the same for a part: its
box is of single precision, so almost all weights would differ. So the weights are computed here, with the same
operations in the same order; the sums are of integers, in which no order matters.

Since version 13 Pillow changes the height first where that loses far more pixels than the width (python-pillow/Pillow,
pull request 9549; the rule in `height_first` was found by trying sizes). Older versions start with the width.
"""

import cv2
import numpy as np
import numpy.typing as npt

from penstock.worker.imaging.decode import Pixels

#: Fraction bits of a weight.
_PRECISION = 22
#: Where the kernel ends, in pixels of the source, or of the result if that is the coarser.
_SUPPORT = 2.0
#: Pixels (int32) gathered at once: half a megabyte stays in a core's own cache.
_GATHERED = 1 << 17

_Ints = npt.NDArray[np.int32]
_Floats = npt.NDArray[np.float64]


def resize_part(pixels: Pixels, size: tuple[int, int], y: int, x: int, height: int, width: int) -> Pixels:
    """Return rows y.. and columns x.. of `pixels` (height, width, channels; uint8) resized to `size` (height, width).

    The result (`height`, `width`, channels; C-contiguous) equals `Image.resize(size, BICUBIC)`, cut. The part must lie
    inside the resized image. Reads and computes nothing that the part does not need.
    """
    top, bottom = source_span(pixels.shape[0], size[0], y, height)
    left, right = source_span(pixels.shape[1], size[1], x, width)
    source = pixels[top:bottom, left:right]
    starts_y, weights_y = _weights(pixels.shape[0], size[0], y, height)
    starts_x, weights_x = _weights(pixels.shape[1], size[1], x, width)
    if height_first(pixels.shape[:2], size):
        high = _sums(source, starts_y - top, weights_y)
        return _transpose(_sums(_transpose(high), starts_x - left, weights_x))
    wide = _transpose(_sums(_transpose(source), starts_x - left, weights_x))
    return _sums(wide, starts_y - top, weights_y)


def source_span(size_in: int, size_out: int, first: int, count: int) -> tuple[int, int]:
    """Return the [start, stop) of a side of the source that `count` pixels of the resized side follow from."""
    _, starts, stops = _reach(size_in, size_out, np.array([first, first + count - 1], np.float64))
    return int(starts[0]), int(stops[1])


def height_first(source: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Return whether Pillow changes the height before the width."""
    return source[0] - size[0] > max(0, 2 * (source[1] - size[1]))


def _reach(size_in: int, size_out: int, places: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Return the centre of each output pixel in the source, and the [start, stop) of the source pixels it weighs."""
    scale = size_in / size_out
    support = _SUPPORT * max(scale, 1.0)
    centers: _Floats = (places + 0.5) * scale
    starts = np.maximum(np.trunc(centers - support + 0.5), 0.0)
    stops = np.minimum(np.trunc(centers + support + 0.5), size_in)
    return centers, starts, stops


def _weights(size_in: int, size_out: int, first: int, count: int) -> tuple[_Ints, _Ints]:
    """Return where the sums of `count` output pixels start, and their weights (count, taps), 0 from their stop on."""
    centers, starts, stops = _reach(size_in, size_out, np.arange(first, first + count, dtype=np.float64))
    places = starts[:, np.newaxis] + np.arange(int((stops - starts).max()))
    weights = _cubic((places - centers[:, np.newaxis] + 0.5) * (1.0 / max(size_in / size_out, 1.0)))
    weights[places >= stops[:, np.newaxis]] = 0.0
    total = np.zeros(count)
    for tap in weights.T:  # one after the other, as Pillow does: numpy's own sum adds in pairs
        total += tap
    scaled = weights / total[:, np.newaxis] * (1 << _PRECISION)
    fixed = np.trunc(scaled + np.where(scaled < 0.0, -0.5, 0.5)).astype(np.int32)
    return starts.astype(np.int32), fixed


def _cubic(x: _Floats) -> _Floats:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return np.where(x < 1.0, near, np.where(x < _SUPPORT, far, 0.0))


def _sums(pixels: Pixels, starts: _Ints, weights: _Ints) -> Pixels:
    """Return (count, columns, channels): each row a weighted sum of rows of `pixels`, rounded and clipped."""
    rows = pixels.reshape(len(pixels), -1).astype(np.int32)
    count, taps = weights.shape
    out = np.empty((count, rows.shape[1]), np.uint8)
    # Weights beyond a pixel's stop are 0, so what they are multiplied by does not matter.
    places = np.minimum(starts[:, np.newaxis] + np.arange(taps), len(rows) - 1)
    step = max(1, _GATHERED // (taps * rows.shape[1]))
    for at in range(0, count, step):
        sums = np.einsum("rk,rkc->rc", weights[at : at + step], rows[places[at : at + step]])
        sums += 1 << (_PRECISION - 1)
        sums >>= _PRECISION
        np.clip(sums, 0, 255, out=out[at : at + step], casting="unsafe")
    return out.reshape(count, *pixels.shape[1:])


def _transpose(pixels: Pixels) -> Pixels:
    """Swap rows and columns; numpy's own copy takes 15 times as long."""
    turned = cv2.transpose(pixels).reshape(pixels.shape[1], pixels.shape[0], pixels.shape[2])
    return turned.astype(np.uint8, copy=False)
