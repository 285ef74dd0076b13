"""Normalises uint8 samples in numpy, in the worker or in the trainer, as the spec says.

Defines the arithmetic and the order of its steps; `trainer.normalize` does the same in TensorFlow.

Keras's steps, each affine, are folded into one subtraction and one multiplication a value:
((x·r - m) / d - M) / D = (x - (m + M·d) / r) · r / (d·D), m and d the sample's own mean and deviation, M and D the data
set's. A sample's sums are sums of integers, exact in any order, so that every CPU yields the same bytes; only ZCA's
matrix product leaves its order to the linear algebra library.
"""

import math
import os
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError, SpecError
from penstock.protocol.spec.normalize import Normalize
from penstock.protocol.spec.pinning import statistics_file
from penstock.protocol.spec.source import Source
from penstock.protocol.spec.statistics import EPSILON, Statistics
from penstock.protocol.storage.confined_files import open_below

Pixels = npt.NDArray[np.uint8]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

#: Values that are worked on at once: float32 of these (512 KB) stay in a core's level 2 cache.
_VALUES = 131_072


class LevelsRoom:
    """Memory where the uint8 images of samples are made before they are normalised."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Take the shapes of a sample's images."""
        self._shapes = shapes
        self._room: Pixels = np.empty(0, np.uint8)

    def of(self, samples: int) -> list[Pixels]:
        """Return memory for so many samples, an array for each of their images."""
        ends = list(accumulate(samples * math.prod(shape) for shape in self._shapes))
        if ends[-1] > self._room.size:
            self._room = np.empty(ends[-1], np.uint8)
        return [
            self._room[start:end].reshape(samples, *shape)
            for start, end, shape in zip([0, *ends], ends, self._shapes, strict=False)
        ]


class Normalizer:
    """Normalises samples of one shape; for use by one thread at a time."""

    def __init__(self, settings: Normalize, shape: tuple[int, int, int], zca: Float32s | None = None) -> None:
        """Take settings whose `mean` and `std` are filled in, a sample's (height, width, channels) and the ZCA matrix.

        Raises SpecError if they do not fit.
        """
        self.settings = settings
        self.shape = shape
        size = shape[0] * shape[1] * shape[2]
        if settings.zca_whitening and (zca is None or len(zca) != size):
            found = "no matrix" if zca is None else f"a matrix for {len(zca)} values"
            raise SpecError(f"zca_whitening of samples of {shape} = {size} values: the statistics hold {found}")
        for wanted, name in ((settings.centers_features, "mean"), (settings.scales_features, "std")):
            if wanted and getattr(settings, name) is None:
                raise SpecError(f"normalize.{name} is missing: {settings.statistics!r} was not read; give [roots]")
        self.zca = zca if settings.zca_whitening else None
        self.rescale = settings.rescale or 1.0
        self.mean = _numbers(settings.mean if settings.centers_features else None, 0.0)
        self.scale = 1.0 / (_numbers(settings.std, 0.0) + EPSILON) if settings.scales_features else np.ones(1)
        self._fixed = self._by_sample(np.zeros((1, *shape), np.uint8))

    def __call__(self, pixels: Pixels, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return `pixels` (samples, height, width, channels) normalised, in `out` if that is given.

        dtype and axes of the result are those of the settings.
        """
        settings = self.settings
        if out is None:
            out = np.empty((len(pixels), *settings.shape(*self.shape)), settings.dtype)
        direct = settings.dtype == "float32" and settings.data_format == "channels_last" and self.zca is None
        step = max(1, _VALUES // max(1, int(np.prod(self.shape))))
        for start in range(0, len(pixels), step):
            part = pixels[start : start + step]
            target = out[start : start + step]
            values = target if direct else np.empty(part.shape, np.float32)
            self._scale(part, values)
            if direct:
                continue
            if self.zca is not None:
                values = (values.reshape(len(part), -1) @ self.zca).reshape(part.shape)
            target[...] = values.transpose(0, 3, 1, 2) if settings.data_format == "channels_first" else values
        return out

    def _scale(self, pixels: Pixels, out: Float32s) -> None:
        """Do all but the whitening."""
        shift, scale = self._by_sample(pixels) if self.settings.centers_samples else self._fixed
        rows = (len(pixels), self.shape[0], -1)
        source, target = pixels.reshape(rows), out.reshape(rows)
        if shift is None:
            np.multiply(source, scale, out=target)
        else:
            np.subtract(source, shift, out=target)
            np.multiply(target, scale, out=target)

    def _by_sample(self, pixels: Pixels) -> tuple[Float32s | None, Float32s]:
        """Return what is subtracted from levels, None for nothing, and what the rest is multiplied by.

        Shaped to broadcast with (samples, height, width · channels): numpy is slow where its inner loop is a pixel's
        channels.
        """
        shift, scale = self._coefficients(pixels)
        _, width, channels = self.shape
        if max(shift.shape[1], scale.shape[1]) > 1:
            shift, scale = (np.tile(np.broadcast_to(x, (len(x), channels)), (1, width)) for x in (shift, scale))
        shift, scale = shift[:, np.newaxis], scale[:, np.newaxis]
        return shift.astype(np.float32) if shift.any() else None, scale.astype(np.float32)

    def _coefficients(self, pixels: Pixels) -> tuple[Float64s, Float64s]:
        """Return the same in float64: (samples or 1, channels or 1)."""
        rescale = self.rescale
        center, deviation = np.zeros((1, 1)), np.ones((1, 1))
        if self.settings.centers_samples:
            flat = pixels.reshape(len(pixels), -1)
            total = flat.sum(axis=1, dtype=np.int64, keepdims=True)
            center = rescale * (total / flat.shape[1])
            if self.settings.samplewise_std_normalization:
                squares = np.einsum("ij,ij->i", flat, flat, dtype=np.int64, casting="safe")[:, np.newaxis]
                variance = np.maximum(squares - total * (total / flat.shape[1]), 0.0) / flat.shape[1]
                deviation = abs(rescale) * np.sqrt(variance) + EPSILON
        return (center + self.mean * deviation) / rescale, rescale / deviation * self.scale


def _numbers(values: tuple[float, ...] | None, default: float) -> Float64s:
    return np.array([default] if values is None else values, np.float64)


def open_normalizer(
    settings: Normalize, shape: tuple[int, int, int], source: Source, roots: Mapping[str, str | Path]
) -> Normalizer:
    """Return a normaliser for `pinned` settings; a ZCA matrix is read from this host's root. Raises SpecError."""
    zca = None
    if settings.zca_whitening:
        folder, path = statistics_file(settings, source, roots)
        try:  # the plan comes from a ventilator, which may lie: the file is confined like an image
            descriptor = open_below(folder, path, allow_outside=source.allow_outside)
        except SourceError as error:
            raise SpecError(f"normalize.statistics = {path!r}: {error}") from error
        with os.fdopen(descriptor, "rb") as file:
            found, _ = Statistics.parse(Path(folder) / path, file.read(), sha256=settings.statistics_sha256)
        zca = found.zca
    return Normalizer(settings, shape, zca)
