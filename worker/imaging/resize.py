"""Resizes whole images by the spec's `resize`, and enlarges or rejects images that are too small.

Bytes must be the same on every host. Pillow's resampling is fixed-point arithmetic in plain C.
OpenCV's own kernels give the same bytes for every instruction set, but Intel's IPP inside it does not (its bicubic
differs between CPUs), so it is switched off. Importing this module also ends OpenCV's thread pool: there is one
worker process per core.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.transform import Patch, Resize
from penstock.worker.imaging.bicubic import height_first
from penstock.worker.imaging.compiled import loops
from penstock.worker.imaging.decode import Pixels

cv2.setNumThreads(0)

_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
#: Those of the compiled loop, which gives the same pixels, and their numbers there.
_COMPILED = {Image.Resampling.BOX: 0, Image.Resampling.BILINEAR: 1, Image.Resampling.BICUBIC: 2}
#: Pixels from the origin, up to which Pillow computes places in multiples of 2^-16 (it does so up to 2^15).
_FARTHEST = 32_000
_OPENCV = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_BORDERS = {
    "reflect": cv2.BORDER_REFLECT,
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "wrap": cv2.BORDER_WRAP,
}

Box = tuple[float, float, float, float]


def resize(pixels: Pixels, settings: Resize, out: Pixels) -> None:
    """Resize `pixels` into `out`, which has the settings' size and is C-contiguous.

    Pillow's filters widen with the reduction (antialias); of OpenCV's, `area` averages when it shrinks, and `linear`
    and `cubic` look at the nearest pixels only. Raises ItemError.
    """
    height, width = pixels.shape[:2]
    box = None if settings.fit == "stretch" else cover_box(height, width, settings.height, settings.width)
    if (height, width) == (settings.height, settings.width):
        np.copyto(out, pixels)
        return
    with _named(pixels, (settings.height, settings.width)):
        if settings.filter in _OPENCV:
            _resize_opencv(pixels, _OPENCV[settings.filter], box, out)
        else:
            _resize_pillow(pixels, _PILLOW[settings.filter], box, out)


def enlarge(pixels: Pixels, least: Size, patch: Patch, max_pixels: int) -> Pixels:
    """Return `pixels`, or if one of its sides is less than `least` (height, width) what `patch.too_small` makes of it.

    Padding adds as much on opposite sides; of an odd number the smaller half is above and to the left. Raises ItemError
    if it is to be quarantined, or would have more than `max_pixels`.
    """
    height, width = pixels.shape[:2]
    if height >= least[0] and width >= least[1]:
        return pixels
    if height == 0 or width == 0:
        raise ItemError(f"the image has {_size((height, width))}: none at all")
    if patch.too_small == "quarantine":
        wanted = f"the patch of {patch.height} × {patch.width}"
        if least != (patch.height, patch.width):
            wanted = f"the {least[0]} × {least[1]} that the manipulations need for {wanted}"
        raise ItemError(
            f"the image has {_size((height, width))}, less than {wanted}: cut smaller patches, or set patch.too_small "
            'to "pad" or "resize"'
        )
    if patch.too_small == "pad":
        size = max(height, least[0]), max(width, least[1])
    else:
        scale = max(Fraction(least[0], height), Fraction(least[1], width))
        size = round(height * scale), round(width * scale)
    if size[0] * size[1] > max_pixels:
        raise ItemError(
            f"enlarging {_size((height, width))} to {size[0]} × {size[1]} would pass the limit of "
            f"{max_pixels / 1e6:g} megapixels (transform.max_megapixels)"
        )
    with _named(pixels, size):
        if patch.too_small == "pad":
            return _pad(pixels, size, patch)
        out = np.empty((*size, pixels.shape[2]), np.uint8)
        _resize_pillow(pixels, Image.Resampling.BICUBIC, None, out)
        return out


@contextmanager
def _named(pixels: Pixels, size: Size) -> Generator[None]:
    try:
        yield
    except (cv2.error, MemoryError, ValueError) as error:
        found = _size((pixels.shape[0], pixels.shape[1]))
        raise ItemError(f"cannot resize {found} to {size[0]} × {size[1]}: {error}") from error


def _size(size: Size) -> str:
    """Return a size in words, in the order in which the spec has it."""
    return f"{size[0]} × {size[1]} pixels (height × width)"


def _pad(pixels: Pixels, size: Size, patch: Patch) -> Pixels:
    down, right = size[0] - pixels.shape[0], size[1] - pixels.shape[1]
    top, left = down // 2, right // 2
    value = [patch.pad_value] * 4
    padded = cv2.copyMakeBorder(pixels, top, down - top, left, right - left, _BORDERS[patch.pad_mode], value=value)
    return padded.reshape(*size, pixels.shape[2]).astype(
        np.uint8, copy=False
    )  # OpenCV drops the axis of a single channel


def resize_pillow(
    pixels: Pixels, filter_: str, size: Size, out: Pixels | None = None, box: Box | None = None
) -> Pixels:
    """Return `pixels` resized to `size` by a filter of Pillow's, given by its name. Raises ItemError.

    The result is in `out`, if that is given; it is of a part, if `box` is given.
    """
    if out is None:
        out = np.empty((*size, pixels.shape[2]), np.uint8)
    with _named(pixels, size):
        _resize_pillow(pixels, _PILLOW[filter_], box, out)
    return out


def transform_pillow(
    pixels: Pixels, method: Literal["AFFINE", "PERSPECTIVE"], data: Sequence[float], filter_: str, fill: Sequence[int]
) -> Pixels:
    """Return `pixels` mapped by Pillow's `transform` with the size that they have; `fill` holds a level a channel."""
    if method == "AFFINE" and filter_ == "nearest" and loops.RESAMPLING is not None and loops.fits(pixels):
        moved = _nearest(pixels, data, fill)
        if moved is not None:
            return moved
    gray = pixels.shape[2] == 1
    image = Image.fromarray(pixels[..., 0] if gray else pixels)
    color = fill[0] if gray else tuple(fill)
    result = image.transform(image.size, Image.Transform[method], data, _PILLOW[filter_], fillcolor=color)
    return np.asarray(result).reshape(pixels.shape)


def _nearest(pixels: Pixels, data: Sequence[float], fill: Sequence[int]) -> Pixels | None:
    """Return the nearest pixels under an affine map, or None if Pillow does not compute their places in integers."""
    a, b, c, d, e, f = data
    height, width = pixels.shape[:2]
    farthest = max(
        abs(k * x + m * y + n) for k, m, n in ((a, b, c), (d, e, f)) for x in (-1, width + 1) for y in (-1, height + 1)
    )
    if not farthest < _FARTHEST:
        return None
    out = np.empty(pixels.shape, np.uint8)
    if len(set(fill)) == 1:
        out.fill(fill[0])
    else:
        out[...] = fill
    if b == d == 0:  # Pillow adds up floating-point numbers here: only whole pixels are sure to be the same
        return _translated(pixels, int(c), int(f), out) if a == e == 1 and c == int(c) and f == int(f) else None
    numbers = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    loops.RESAMPLING.sample(pixels, out, *(math.floor(number * 65536.0 + 0.5) for number in numbers))
    return out


def _translated(pixels: Pixels, right: int, down: int, out: Pixels) -> Pixels:
    """Write the pixels from (`right`, `down`) on to the beginning of `out`, as far as there are any; return it."""
    height, width = pixels.shape[:2]
    rows, columns = max(0, height - abs(down)), max(0, width - abs(right))
    y, x = max(0, down), max(0, right)
    to_y, to_x = max(0, -down), max(0, -right)
    out[to_y : to_y + rows, to_x : to_x + columns] = pixels[y : y + rows, x : x + columns]
    return out


def _resize_pillow(pixels: Pixels, resample: Image.Resampling, box: Box | None, out: Pixels) -> None:
    if (
        resample in _COMPILED
        and box is None
        and loops.RESAMPLING is not None
        and loops.fits(pixels)
        and loops.fits(out)
    ):
        first = height_first((pixels.shape[0], pixels.shape[1]), (out.shape[0], out.shape[1]))
        loops.RESAMPLING.resize(pixels, out, _COMPILED[resample], first)
        return
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    size = (out.shape[1], out.shape[0])
    out[...] = np.asarray(image.resize(size, resample, box=box)).reshape(out.shape)


def _resize_opencv(pixels: Pixels, interpolation: int, box: Box | None, out: Pixels) -> None:
    if box is not None:  # OpenCV has no fractional boxes: the nearest whole pixels
        left, top = (min(int(edge + 0.5), side - 1) for edge, side in zip(box[:2], pixels.shape[1::-1], strict=True))
        right, bottom = max(left + 1, int(box[2] + 0.5)), max(top + 1, int(box[3] + 0.5))
        pixels = pixels[top:bottom, left:right]
    if interpolation == cv2.INTER_AREA and loops.is_averaged(pixels, out):
        loops.AREA.average(pixels, out)
        return
    flat = out[..., 0] if out.shape[2] == 1 else out
    cv2.ipp.setUseIPP(False)  # per thread, so here; it costs 0.1 µs
    result = cv2.resize(pixels, (out.shape[1], out.shape[0]), dst=flat, interpolation=interpolation)
    if result is not flat:
        out[...] = np.reshape(result, out.shape)


def cover_box(height: int, width: int, to_height: int, to_width: int) -> Box:
    """Return the largest centred (left, top, right, bottom) of an image with the aspect ratio of the wanted size."""
    if width * to_height > to_width * height:
        keep = float(Fraction(height * to_width, to_height))
        return (width - keep) / 2, 0.0, (width + keep) / 2, float(height)
    keep = float(Fraction(width * to_height, to_width))
    return 0.0, (height - keep) / 2, float(width), (height + keep) / 2
