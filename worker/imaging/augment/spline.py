"""B-splines of degree 2 to 5 through an image's pixels, sampled anywhere, as SciPy's `ndimage` understands them.

Owns the prefilter (Unser, Aldroubi and Eden, "B-Spline Signal Processing", IEEE Trans. Signal Processing 41, 1993)
and the weights. Additions and multiplications in float64 alone, so that every CPU rounds alike; 50 to 80 times
slower than linear sampling, and about as fast as SciPy.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.spec.augment import Fill

Float64s = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Image = npt.NDArray[Any]

Places = npt.NDArray[np.int64]

#: Poles of the prefilter by degree.
_POLES = {
    2: (math.sqrt(8.0) - 3.0,),
    3: (math.sqrt(3.0) - 2.0,),
    4: (
        math.sqrt(664.0 - math.sqrt(438976.0)) + math.sqrt(304.0) - 19.0,
        math.sqrt(664.0 + math.sqrt(438976.0)) - math.sqrt(304.0) - 19.0,
    ),
    5: (
        math.sqrt(67.5 - math.sqrt(4436.25)) + math.sqrt(26.25) - 6.5,
        math.sqrt(67.5 + math.sqrt(4436.25)) - math.sqrt(26.25) - 6.5,
    ),
}
#: Pixels that the edge is repeated by before `nearest` is filtered, as SciPy does: the poles' reach.
_PADDING = 12


def sample(image: Image, points: Float32s, out: Image, *, fill: Fill, cval: float, order: int) -> None:
    """Sample `image` (height, width, channels) at `points` (2, ...: x, y) into `out`; uint8 is rounded and cut."""
    padding = _PADDING if fill == "nearest" else 0
    mirror = fill in ("constant", "wrap")  # about the last pixel's centre; else about its edge
    padded = np.pad(image.astype(np.float64), ((padding, padding), (padding, padding), (0, 0)), "edge")
    weights, places = [], []
    for axis, side in enumerate((image.shape[1], image.shape[0])):
        at = points[axis].astype(np.float64)
        at = np.clip(at, -padding, side - 1 + padding) + padding if padding else at
        taps, values = _taps(at, order)
        weights.append(values)
        places.append(_fold(taps, side + 2 * padding, mirror=mirror))
    coefficients = _prefilter(_prefilter(padded, order, mirror=mirror).swapaxes(0, 1), order, mirror=mirror)
    planes = np.ascontiguousarray(coefficients.transpose(2, 1, 0)).reshape(out.shape[2], -1)
    planar, term = np.zeros((out.shape[2], *points.shape[1:])), np.empty(points.shape[1:])
    for row, row_weight in zip(places[1], weights[1], strict=True):
        first = row * padded.shape[1]
        for column, column_weight in zip(places[0], weights[0], strict=True):
            place, weight = first + column, row_weight * column_weight
            for number, plane in enumerate(planes):
                plane.take(place, out=term, mode="clip")  # none is outside; numpy's check would take another pass
                planar[number] += np.multiply(term, weight, out=term)
    result = planar.transpose(1, 2, 0)
    if fill == "constant":
        x, y = points
        result[(x < 0) | (y < 0) | (x > image.shape[1] - 1) | (y > image.shape[0] - 1)] = cval
    out[...] = np.clip(np.rint(result), 0, 255) if out.dtype == np.uint8 else result


def _taps(at: Float64s, order: int) -> tuple[list[Places], list[Float64s]]:
    """Return the order + 1 pixels around each coordinate, and their weights.

    The weights are Cox and de Boor's recursion on evenly spaced knots (de Boor, "A Practical Guide to Splines", 1978).
    """
    nearest = np.floor(at + (0.0 if order % 2 else 0.5))
    start = nearest.astype(np.int64) - order // 2
    inside = at - nearest + (0.0 if order % 2 else 0.5)
    weights = [np.ones_like(at)]
    for degree in range(1, order + 1):
        saved = np.zeros_like(at)
        for place in range(degree):
            part = weights[place] / degree
            weights[place] = saved + (place + 1 - inside) * part
            saved = (inside + (degree - 1 - place)) * part
        weights.append(saved)
    return [start + place for place in range(order + 1)], weights


def _fold(taps: list[Places], side: int, *, mirror: bool) -> list[Places]:
    """Return pixels inside the image for those outside, by symmetry about the last pixel's centre or its edge."""
    if side == 1:
        return [np.zeros_like(tap) for tap in taps]
    period, edge = (2 * side - 2, 0) if mirror else (2 * side, 1)
    folded = []
    for tap in taps:
        near = np.mod(tap, period) if tap.min() < -side or tap.max() >= period else tap  # slow, and seldom needed
        near = np.where(near < 0, -edge - near, near)
        folded.append(np.where(near >= side, period - edge - near, near))
    return folded


def _prefilter(values: Float64s, order: int, *, mirror: bool) -> Float64s:
    """Return the spline's coefficients along the first axis: one recursion forward and one backward a pole."""
    result = np.array(values, order="C")
    size = len(result)
    if size == 1:
        return result
    for pole in _POLES[order]:
        result *= (1.0 - pole) * (1.0 - 1.0 / pole)
        result[0] = _first(result, pole, mirror=mirror)
        for place in range(1, size):
            result[place] += pole * result[place - 1]
        if mirror:
            result[-1] = (pole / (pole * pole - 1.0)) * (pole * result[-2] + result[-1])
        else:
            result[-1] *= pole / (pole - 1.0)
        for place in range(size - 2, -1, -1):
            result[place] = pole * (result[place + 1] - result[place])
    return result


def _first(values: Float64s, pole: float, *, mirror: bool) -> Float64s:
    """Return the forward recursion's first value: the sum over the endless, symmetric continuation."""
    size = len(values)
    powers = np.cumprod(np.array([1.0] + [pole] * size))
    ahead = powers[:-1].reshape(size, *[1] * (values.ndim - 1))
    back = ahead[::-1]
    if mirror:
        inner: Float64s = ((ahead + powers[size - 1] * back)[1:-1] * values[1:-1]).sum(axis=0)
        whole: Float64s = values[0] + inner + powers[size - 1] * values[-1]
        whole /= 1.0 - powers[size - 1] * powers[size - 1]
        return whole
    outside: Float64s = ((ahead + powers[size] * back) * values).sum(axis=0)
    result: Float64s = values[0] + pole * outside / (1.0 - powers[size] * powers[size])
    return result
