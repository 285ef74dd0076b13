"""Finds the compiled loops, and says which images they take.

They are optional, and change how long an operation takes, never a byte: each caller has the same answers without them.
Tests compare the two, and set these names to None to see what a host without a C compiler makes.
"""

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_COLORS = 3
#: Longest side that the loops take (pixels).
_MAX_SIDE = 65_535


def _load(name: str) -> Any:  # noqa: ANN401 - a compiled module
    try:
        return importlib.import_module(f"penstock.worker.imaging.compiled.{name}")
    except ImportError:
        return None


#: Pillow's resizing, and its nearest pixels under an affine map; or None.
RESAMPLING = _load("_resampling")
#: Pillow's changes of colours; or None.
COLORS = _load("_colors")


def fits(pixels: Pixels) -> bool:
    """Return whether the loops take an image: three channels, a part of an image in the usual order of memory."""
    height, width, channels = pixels.shape
    sized = channels == _COLORS and 0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE
    return sized and pixels.strides[1:] == (_COLORS, 1) and pixels.strides[0] >= _COLORS * width


def new(pixels: Pixels) -> Pixels:
    """Return room for an image of the same size."""
    return np.empty(pixels.shape, np.uint8)
