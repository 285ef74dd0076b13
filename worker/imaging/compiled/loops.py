"""Finds the compiled loops, and says which images they take.

They are optional, and change how long an operation takes, never a byte: each caller has the same answers without them.
Tests compare the two, and set these names to None to see what a host without a C compiler makes.
"""

import importlib
import platform
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_COLORS = 3
#: Numbers of channels that are averaged.
_AVERAGED = (1, 3, 4)
#: Whether OpenCV's averages were compared with ours on such a processor. On others, its compiler may have fused a
#: product and a sum into one operation, which rounds once.
COMPARED = platform.machine() in {"x86_64", "AMD64"}
#: Longest side that the loops take (pixels).
_MAX_SIDE = 65_535


def _load(name: str) -> Any:  # noqa: ANN401 - a compiled module
    try:
        return importlib.import_module(f"penstock.worker.imaging.compiled.{name}")
    except ImportError:
        return None


#: OpenCV's averages of areas; or None.
AREA = _load("_area")
#: Pillow's resizing, and its nearest pixels under an affine map; or None.
RESAMPLING = _load("_resampling")
#: Pillow's changes of colours; or None.
COLORS = _load("_colors")


def fits(pixels: Pixels) -> bool:
    """Return whether the loops take an image: three channels, a part of an image in the usual order of memory."""
    return pixels.shape[2] == _COLORS and _is_usual(pixels)


def is_averaged(pixels: Pixels, out: Pixels) -> bool:
    """Return whether `AREA` makes `out` of an image as OpenCV does: no side is enlarged, and one is reduced brokenly.

    OpenCV takes other ways to enlarge, and to reduce both sides by whole factors, with other rounding.
    """
    if AREA is None or not COMPARED or pixels.shape[2] not in _AVERAGED or not (_is_usual(pixels) and _is_usual(out)):
        return False
    scales = [1.0 / (to / length) for length, to in zip(pixels.shape[:2], out.shape[:2], strict=True)]
    return min(scales) >= 1 and any(abs(scale - round(scale)) >= sys.float_info.epsilon for scale in scales)


def _is_usual(pixels: Pixels) -> bool:
    height, width, channels = pixels.shape
    sized = 0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE
    return sized and pixels.strides[1:] == (channels, 1) and pixels.strides[0] >= channels * width


def new(pixels: Pixels) -> Pixels:
    """Return room for an image of the same size."""
    return np.empty(pixels.shape, np.uint8)
