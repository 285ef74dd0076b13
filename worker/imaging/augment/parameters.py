"""What is drawn for a sample's random changes: from uniforms to parameters, and from parameters to matrices.

Owns the distributions, which are Keras's, and the order of columns, which is part of the stream's definition:
another order is another stream under the same fingerprint, and a golden test pins it. A sample takes, and only if
the spec asks for them, and after those that cut it: rotation; height shift, and its sign where the shift is an
integer or a list; width shift likewise; shear; zoom of the first and of the second axis; horizontal flip; vertical
flip; channel shift; brightness.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.protocol.spec.augment import Augment, Shift
from penstock.worker.imaging.augment import warp

Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was drawn, one entry a sample, under Keras's names and in its units (degrees, pixels)."""

    theta: Float64s
    #: Shift by `height_shift_range`.
    tx: Float64s
    #: Shift by `width_shift_range`.
    ty: Float64s
    shear: Float64s
    zx: Float64s
    zy: Float64s
    flip_horizontal: Bools
    flip_vertical: Bools
    #: Levels; None if the spec asks for none.
    channel_shift: Float64s | None
    #: Factor; None if the spec asks for none.
    brightness: Float64s | None


def columns(settings: Augment) -> int:
    """Return how many uniforms a sample takes."""
    shifts = (settings.height_shift_range, settings.width_shift_range)
    return (
        bool(settings.rotation_range)
        + sum((1 if isinstance(shift, float) else 2) for shift in shifts if _given(shift))
        + bool(settings.shear_range)
        + 2 * (settings.zoom != (1.0, 1.0))
        + settings.horizontal_flip
        + settings.vertical_flip
        + bool(settings.channel_shift_range)
        + (settings.brightness_range is not None)
    )


def draw(settings: Augment, uniforms: Float64s, height: int, width: int) -> Parameters:
    """Return the parameters that `uniforms` (samples, columns) stand for, for images of height × width pixels."""
    count, column = len(uniforms), iter(uniforms.T)

    def between(low: float, high: float) -> Float64s:
        result: Float64s = low + (high - low) * next(column)
        return result

    def symmetric(limit: float) -> Float64s:
        return between(-limit, limit) if limit else np.zeros(count)

    def shift(limit: Shift, side: int) -> Float64s:
        if not _given(limit):
            return np.zeros(count)
        if isinstance(limit, float):
            return symmetric(limit) * (side if limit < 1.0 else 1)
        values = np.array(range(limit) if isinstance(limit, int) else limit, np.float64)
        size = values[(next(column) * len(values)).astype(np.int64)]
        fraction = isinstance(limit, tuple) and max(limit) < 1
        result: Float64s = np.where(next(column) < _HALF, -1.0, 1.0) * size * (side if fraction else 1)
        return result

    low, high = settings.zoom
    zooms = (low, high) != (1.0, 1.0)
    brightness = settings.brightness_range
    return Parameters(
        theta=symmetric(settings.rotation_range),
        tx=shift(settings.height_shift_range, height),
        ty=shift(settings.width_shift_range, width),
        shear=symmetric(settings.shear_range),
        zx=between(low, high) if zooms else np.ones(count),
        zy=between(low, high) if zooms else np.ones(count),
        flip_horizontal=next(column) < _HALF if settings.horizontal_flip else np.zeros(count, np.bool_),
        flip_vertical=next(column) < _HALF if settings.vertical_flip else np.zeros(count, np.bool_),
        channel_shift=symmetric(settings.channel_shift_range) if settings.channel_shift_range else None,
        brightness=between(*brightness) if brightness else None,
    )


def _given(shift: Shift) -> bool:
    return bool(shift)


def geometry(parameters: Parameters, settings: Augment, height: int, width: int) -> tuple[Float64s, Bools]:
    """Return each sample's matrix (samples, 2, 3) and whether it is mirrored (samples, 2: left-right, top-bottom)."""
    center, shift = (width / 2 - 0.5, height / 2 - 0.5), (parameters.ty, parameters.tx)
    if settings.axes == "keras":
        center, shift = (center[1], center[0]), (shift[1], shift[0])
    matrix = warp.matrices(parameters.theta, shift, parameters.shear, (parameters.zx, parameters.zy), center)
    return matrix, np.stack([parameters.flip_horizontal, parameters.flip_vertical], axis=1)
