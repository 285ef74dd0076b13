"""Random changes of samples: how they are drawn from uniforms, and how they are applied to a whole task.

The order of columns is part of the stream's definition: another order is another stream under the same fingerprint, and
a golden test pins it. A sample takes, and only if the spec asks for them, and after those that cut it: rotation; height
shift, and its sign where the shift is an integer or a list; width shift likewise; shear; zoom of the first and of the
second axis; horizontal flip; vertical flip; channel shift; brightness. That is Keras's order too.

Pixels are uint8 from one end to the other. Geometry is one warp (`warp`), levels follow (`levels`); Keras flips between
the channel shift and the brightness, which makes no difference. Refuses to know files, labels and where a patch came
from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from penstock.protocol.augment_spec import Augment, Shift
from penstock.protocol.errors import SpecError
from penstock.worker import levels, warp
from penstock.worker.decode import Pixels

Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Images = npt.NDArray[Any]

_HALF = 0.5
#: Pixels whose coordinates are computed at once: enough that numpy's call overhead vanishes, and 256 KB of them stay in
#: a core's level 2 cache until they are used.
_POINTS = 32_768


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


def sampling(settings: Augment, height: int, width: int, *, exact: bool) -> warp.Sampling:
    """Return how images of this size are sampled. Raises SpecError if they are too large to be warped."""
    if settings.warps and max(height, width) > warp.MAX_SIDE:
        raise SpecError(
            f"samples of {width} × {height} pixels are too large to be turned, shifted, sheared or zoomed: at most "
            f"{warp.MAX_SIDE} pixels a side"
        )
    cval = float(np.clip(np.rint(settings.cval), 0, 255)) if exact else settings.cval
    return warp.Sampling(height, width, settings.fill_mode, cval, settings.interpolation_order, exact)


class Augmenter:
    """Changes the samples of a stream, a task at a time; for use by one thread at a time.

    `begin` with a task's uniforms, `write` each sample (or `write_all`), `finish`.
    """

    def __init__(self, settings: Augment, shape: tuple[int, int, int]) -> None:
        """Take the spec's settings and a sample's (height, width, channels). Raises SpecError."""
        self._settings = settings
        self._height, self._width, _ = shape
        self._sampling = sampling(settings, self._height, self._width, exact=True)
        self._warps = settings.warps
        self._moves = settings.warps or settings.horizontal_flip or settings.vertical_flip
        #: Uniforms that each sample takes.
        self.columns = columns(settings)
        self._rows_a_band = max(1, _POINTS // self._width)
        self._chunk = max(1, _POINTS // (self._height * self._width))
        self._parameters: Parameters | None = None
        self._matrix: Float64s = np.empty((0, 2, 3))
        self._mirrored: Bools = np.empty((0, 2), np.bool_)
        self._points: npt.NDArray[np.float32] = np.empty((0, 2, 0, 0), np.float32)
        self._first = 0

    def begin(self, uniforms: Float64s) -> None:
        """Draw for all samples of a task; `uniforms` is (samples, columns)."""
        if not self.columns:
            return
        self._parameters = draw(self._settings, uniforms, self._height, self._width)
        if self._warps:
            self._matrix, self._mirrored = geometry(self._parameters, self._settings, self._height, self._width)
            self._points = self._points[:0]
            warp.prepare()

    def write(self, pixels: Pixels, sample: int, out: Pixels) -> None:
        """Write `pixels`, moved as sample number `sample` of the task asks for, into `out` of the same shape.

        `out` is C-contiguous and shares no memory with `pixels`, unless nothing warps.
        """
        if not self._warps:
            self._flip(pixels, sample, out)
        elif self._chunk > 1 or self._settings.interpolation_order > 1:
            self._sampling.sample(pixels, self._points_of(sample), out)
        else:
            for start in range(0, self._height, self._rows_a_band):
                rows = slice(start, start + self._rows_a_band)
                points = self._sampling.coordinates(
                    self._matrix[sample : sample + 1], self._mirrored[sample : sample + 1], rows
                )
                self._sampling.sample(pixels, points[0], out[rows])

    def write_all(self, pixels: Pixels, out: Pixels) -> None:
        """Do `write` for all samples of the task: `pixels` and `out` are (samples, height, width, channels)."""
        if not self._moves:
            np.copyto(out, pixels)
        elif self._warps and self._chunk > 1:
            for start in range(0, len(pixels), self._chunk):
                part = slice(start, start + self._chunk)
                points = self._sampling.coordinates(self._matrix[part], self._mirrored[part])
                for image, where, target in zip(pixels[part], points, out[part], strict=True):
                    self._sampling.sample(image, where, target)
        else:
            for sample, (image, target) in enumerate(zip(pixels, out, strict=True)):
                self.write(image, sample, target)

    def finish(self, samples: npt.NDArray[np.int64], out: Pixels) -> None:
        """Change the levels of what was written: row k of `out` is sample number `samples[k]` of the task."""
        parameters = self._parameters
        if parameters is None or not len(samples):
            return
        flat = out.reshape(len(out), -1)
        if parameters.channel_shift is not None:
            for start in range(0, len(out), self._chunk):  # while they are in the cache
                stop = start + self._chunk
                levels.shift_levels(flat[start:stop], parameters.channel_shift[samples[start:stop]])
        if parameters.brightness is not None:
            levels.brighten(flat, parameters.brightness[samples])

    def _points_of(self, sample: int) -> npt.NDArray[np.float32]:
        """Return where a sample's pixels are read, computed together with those of the next ones."""
        if not self._first <= sample < self._first + len(self._points):
            self._first, stop = sample, sample + self._chunk
            self._points = self._sampling.coordinates(self._matrix[sample:stop], self._mirrored[sample:stop])
        points: npt.NDArray[np.float32] = self._points[sample - self._first]
        return points

    def _flip(self, pixels: Pixels, sample: int, out: Pixels) -> None:
        horizontal = vertical = False
        if self._parameters is not None:
            horizontal = bool(self._parameters.flip_horizontal[sample])
            vertical = bool(self._parameters.flip_vertical[sample])
        if horizontal or vertical:
            flip(pixels, out, horizontal=horizontal, vertical=vertical)
        elif pixels is not out:
            np.copyto(out, pixels)


def flip(pixels: Images, out: Images, *, horizontal: bool, vertical: bool) -> None:
    """Mirror, in place too; numpy's reversed strides would take 30 times as long."""
    cv2.ipp.setUseIPP(True)  # `patches` switches it off, but moving pixels is exact and five times as fast with it
    result = cv2.flip(pixels, -1 if horizontal and vertical else 0 if vertical else 1, dst=out)
    if result is not out:
        np.copyto(out, result.reshape(out.shape))


def random_parameters(settings: Augment, shape: tuple[int, ...], uniforms: Float64s) -> dict[str, Any]:
    """Return what `uniforms` (columns) stand for as the dict of Keras's `get_random_transform`.

    `shape` begins with (height, width).
    """
    drawn = draw(settings, uniforms[np.newaxis], shape[0], shape[1])
    return {
        "theta": float(drawn.theta[0]),
        "tx": float(drawn.tx[0]),
        "ty": float(drawn.ty[0]),
        "shear": float(drawn.shear[0]),
        "zx": float(drawn.zx[0]),
        "zy": float(drawn.zy[0]),
        "flip_horizontal": bool(drawn.flip_horizontal[0]),
        "flip_vertical": bool(drawn.flip_vertical[0]),
        "channel_shift_intensity": None if drawn.channel_shift is None else float(drawn.channel_shift[0]),
        "brightness": None if drawn.brightness is None else float(drawn.brightness[0]),
    }


def apply_parameters(image: Images, parameters: Mapping[str, Any], settings: Augment) -> Images:
    """Return an image (height, width, channels), changed as Keras's `apply_transform` changes it; same dtype.

    `parameters` are those of `random_parameters`; what is missing changes nothing. uint8 is changed as in a worker;
    anything else in float32, at full precision. Raises SpecError if a parameter is no finite number.
    """
    whole = image.dtype == np.uint8
    result: Images = np.ascontiguousarray(image if whole else image.astype(np.float32))
    height, width = image.shape[:2]
    drawn = _one(parameters)
    if _moves(drawn):
        prepared = sampling(settings, height, width, exact=whole)
        matrix, mirrored = geometry(drawn, settings, height, width)
        warp.prepare()
        source = result
        result = np.empty_like(source)
        prepared.sample(source, prepared.coordinates(matrix, mirrored)[0], result)
    else:
        result = result.copy()
        if drawn.flip_horizontal[0] or drawn.flip_vertical[0]:
            sides = {"horizontal": bool(drawn.flip_horizontal[0]), "vertical": bool(drawn.flip_vertical[0])}
            flip(result.copy(), result, **sides)
    flat: Images = result.reshape(1, -1)
    if drawn.channel_shift is not None:
        if whole:
            levels.shift_levels(flat, drawn.channel_shift)
        else:
            result = levels.shift_levels_float(result, drawn.channel_shift[0])
    if drawn.brightness is not None:
        if whole:
            levels.brighten(flat, drawn.brightness)
        else:
            result = levels.brighten_float(result, drawn.brightness[0])
    return result.astype(image.dtype, copy=False)


def _one(parameters: Mapping[str, Any]) -> Parameters:
    def number(name: str, default: float) -> Float64s:
        value = float(parameters.get(name, default))
        if not np.isfinite(value):
            raise SpecError(f"{name} = {value!r} is not a finite number")
        return np.array([value])

    def optional(name: str) -> Float64s | None:
        return None if parameters.get(name) is None else number(name, 0.0)

    return Parameters(
        **{name: number(name, 0.0) for name in ("theta", "tx", "ty", "shear")},
        **{name: number(name, 1.0) for name in ("zx", "zy")},
        flip_horizontal=np.array([bool(parameters.get("flip_horizontal", False))]),
        flip_vertical=np.array([bool(parameters.get("flip_vertical", False))]),
        channel_shift=optional("channel_shift_intensity"),
        brightness=optional("brightness"),
    )


def _moves(drawn: Parameters) -> bool:
    still = (drawn.theta, drawn.tx, drawn.ty, drawn.shear)
    return any(value[0] != 0.0 for value in still) or drawn.zx[0] != 1.0 or drawn.zy[0] != 1.0
