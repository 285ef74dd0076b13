"""A random rectangle of one colour."""

import math
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Literal

import numpy as np

from penstock.protocol.spec.operation import Pixels, Size, Window
from penstock.protocol.spec.step import Action, Change, Float64s, Step
from penstock.worker.imaging.operations.parameters import (
    Fill,
    Fractions,
    Ratios,
    between,
    exponential,
    logarithm,
    whole,
)

_TRIES = 10


class RandomErasing(Step):
    """Fill a rectangle of random area, aspect ratio and place, as torchvision's RandomErasing on levels.

    Area and ratio are drawn until the rectangle is smaller than the image both ways, at most ten times; then nothing is
    erased. To erase what is 0 after normalisation, give the mean levels as `value`.
    """

    op: Literal["random_erasing"]
    """Name of the operation."""
    scale: Fractions = (0.02, 0.33)
    """Least and greatest area of the rectangle, as fractions of the image's; uniform."""
    ratio: Ratios = (0.3, 3.3)
    """Least and greatest aspect ratio (height / width) of the rectangle; its logarithm is uniform."""
    value: Fill = (0,)
    """Level of the rectangle: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """Row and column of the rectangle; then area and ratio of each try."""
        return 2 + 2 * _TRIES

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the filling, if a rectangle fits."""
        window = self.window(image, draws.tolist())
        return () if window is None else (Change(partial(_filled, window=window, value=self.value)),)

    def window(self, image: Size, draws: Sequence[float]) -> Window | None:
        """Return the rectangle; None if no try fits."""
        low, high = self._log_ratio
        for area_draw, ratio_draw in zip(draws[2::2], draws[3::2], strict=True):
            area = image[0] * image[1] * between(*self.scale, area_draw)
            ratio = exponential(between(low, high, ratio_draw))
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if height < image[0] and width < image[1]:
                y, x = whole(image[0] - height + 1, draws[0]), whole(image[1] - width + 1, draws[1])
                return Window(y, x, height, width)
        return None

    @cached_property
    def _log_ratio(self) -> tuple[float, float]:
        return logarithm(self.ratio[0]), logarithm(self.ratio[1])


def _filled(pixels: Pixels, window: Window, value: tuple[int, ...]) -> Pixels:
    result = np.array(pixels, order="C")
    window.of(result)[...] = value[: pixels.shape[2]]
    return result
