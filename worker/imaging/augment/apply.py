"""Random changes of samples, applied to a whole task at a time.

Pixels are uint8 from one end to the other. Geometry is one warp (`warp`), levels follow (`levels`); Keras flips
between the channel shift and the brightness, which makes no difference. What is drawn is the matter of
`parameters`.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.augment import Augment
from penstock.worker.imaging.augment import intensity, warp
from penstock.worker.imaging.augment.packed_warp import CHANNELS, WIDE_PIXELS, StackWarp, WideWarp
from penstock.worker.imaging.augment.parameters import Parameters, columns, draw, geometry
from penstock.worker.imaging.decode import Pixels

__all__ = ["Augmenter", "apply_parameters", "change", "change_randomly", "columns", "random_parameters", "sampling"]

Float64s = npt.NDArray[np.float64]
Images = npt.NDArray[Any]

#: Pixels whose coordinates are computed at once: enough that numpy's call overhead vanishes, and 256 KB of them stay in
#: a core's level 2 cache until they are used.
_POINTS = 32_768
#: Bytes of samples whose levels are changed at once: they are passed over several times.
_BYTES = 262_144


def sampling(settings: Augment, height: int, width: int, *, exact: bool) -> warp.Sampling:
    """Return how images of this size are sampled. Raises SpecError if they are too large to be warped."""
    try:
        settings.check(height, width)
    except ValueError as error:
        raise SpecError(str(error)) from None
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
        #: Whether a sample's pixels may lie elsewhere than in its image.
        self.moves = settings.warps or settings.horizontal_flip or settings.vertical_flip
        #: Uniforms that each sample takes.
        self.columns = columns(settings)
        self._chunk = max(1, _POINTS // (self._height * self._width))
        self._parameters: Parameters | None = None
        self._places: warp.Places | None = None
        banded = self._chunk == 1 and settings.interpolation_order < 2  # noqa: PLR2004 - splines see the whole image
        self._rows_a_band = max(1, _POINTS // self._width) if banded else self._height
        rows = min(self._height, self._rows_a_band)
        self._room = np.empty(2 * self._chunk * rows * self._width if settings.warps else 0, np.float32)
        linear = settings.warps and settings.interpolation_order == 1 and shape[2] == CHANNELS
        stacks = linear and settings.fill_mode == "nearest" and self._chunk > 1
        self._stack = StackWarp(self._chunk, self._height, self._width) if stacks else None
        wide = linear and self._height * self._width >= WIDE_PIXELS
        self._wide = WideWarp(self._sampling, rows) if wide else None
        self._points: npt.NDArray[np.float32] = np.empty((0, 2, 0, 0), np.float32)
        self._first = 0

    def begin(self, uniforms: Float64s) -> None:
        """Draw for all samples of a task; `uniforms` is (samples, columns)."""
        if not self.columns:
            return
        self._parameters = draw(self._settings, uniforms, self._height, self._width)
        if self._warps:
            matrix, mirrored = geometry(self._parameters, self._settings, self._height, self._width)
            self._places = self._sampling.places(matrix, mirrored)
            self._points = self._points[:0]
            warp.prepare()

    def write(self, pixels: Pixels, sample: int, out: Pixels) -> None:
        """Write `pixels`, moved as sample number `sample` of the task asks for, into `out` of the same shape.

        `out` is C-contiguous and shares no memory with `pixels`, unless nothing warps.
        """
        if self._places is None:
            self._flip(pixels, sample, out)
            return
        if self._wide is not None:
            self._wide.load(pixels)
        if self._chunk > 1:
            self._sample(pixels, self._points_of(self._places, sample), out)
            return
        places = self._places[sample : sample + 1]
        for start in range(0, self._height, self._rows_a_band):
            rows = slice(start, start + self._rows_a_band)
            self._sample(pixels, self._sampling.coordinates(places, rows, self._room)[0], out[rows])

    def write_all(self, pixels: Pixels, out: Pixels) -> None:
        """Do `write` for all samples of the task: `pixels` and `out` are (samples, height, width, channels)."""
        if not self.moves:
            np.copyto(out, pixels)
        elif self._places is not None and self._chunk > 1:
            for start in range(0, len(pixels), self._chunk):
                part = slice(start, start + self._chunk)
                points = self._sampling.coordinates(self._places[part], room=self._room)
                if self._stack is not None:
                    self._stack(pixels[part], points, out[part])
                else:
                    self._sampling.sample_all(pixels[part], points, out[part])
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
            step = max(1, _BYTES // flat.shape[1])
            for start in range(0, len(out), step):
                stop = start + step
                intensity.shift_levels(flat[start:stop], parameters.channel_shift[samples[start:stop]])
        if parameters.brightness is not None:
            intensity.brighten(flat, parameters.brightness[samples], channels=out.shape[3])

    def _sample(self, pixels: Pixels, points: npt.NDArray[np.float32], out: Pixels) -> None:
        if self._wide is not None:
            self._wide.sample(points, out)
        else:
            self._sampling.sample(pixels, points, out)

    def _points_of(self, places: warp.Places, sample: int) -> npt.NDArray[np.float32]:
        """Return where a sample's pixels are read, computed together with those of the next ones."""
        if not self._first <= sample < self._first + len(self._points):
            self._first = sample
            self._points = self._sampling.coordinates(places[sample : sample + self._chunk], room=self._room)
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
    result: Images = change(image[np.newaxis], _one(parameters), settings)[0]
    return result


def change_randomly(images: Images, settings: Augment, uniforms: Float64s) -> Images:
    """Return images (samples, height, width, channels), changed as `uniforms` (samples, columns) say; same dtype.

    Sample by sample the same as `apply_parameters` with `random_parameters`, and far faster for many small images.
    """
    return change(images, draw(settings, uniforms, images.shape[1], images.shape[2]), settings)


def change(images: Images, drawn: Parameters, settings: Augment) -> Images:
    """Return images (samples, height, width, channels), each changed by its parameters; see `apply_parameters`."""
    whole = images.dtype == np.uint8
    source: Images = np.ascontiguousarray(images if whole else images.astype(np.float32))
    result = _moved(source, drawn, settings) if _moves(drawn) else _flipped(source, drawn)
    flat: Images = result.reshape(len(result), -1)
    if drawn.channel_shift is not None:
        (intensity.shift_levels if whole else intensity.shift_levels_float)(flat, drawn.channel_shift)
    if drawn.brightness is not None:
        if whole:
            intensity.brighten(flat, drawn.brightness, channels=images.shape[3])
        else:
            for image, factor in zip(result, drawn.brightness.tolist(), strict=True):
                image[...] = intensity.brighten_float(image, factor)
    return result.astype(images.dtype, copy=False)


def _moved(images: Images, drawn: Parameters, settings: Augment) -> Images:
    _, height, width, _ = images.shape
    result = np.empty_like(images)
    prepared = sampling(settings, height, width, exact=images.dtype == np.uint8)
    places = prepared.places(*geometry(drawn, settings, height, width))
    warp.prepare()
    step = max(1, _POINTS // (height * width))
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        prepared.sample_all(images[part], prepared.coordinates(places[part]), result[part])
    return result


def _flipped(images: Images, drawn: Parameters) -> Images:
    result = images.copy()
    for number in np.flatnonzero(drawn.flip_horizontal | drawn.flip_vertical).tolist():
        horizontal, vertical = bool(drawn.flip_horizontal[number]), bool(drawn.flip_vertical[number])
        flip(images[number], result[number], horizontal=horizontal, vertical=vertical)
    return result


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
    still = (drawn.theta, drawn.tx, drawn.ty, drawn.shear, drawn.zx - 1.0, drawn.zy - 1.0)
    return any(values.any() for values in still)
