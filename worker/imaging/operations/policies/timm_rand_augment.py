"""RandAugment as timm applies it: fifteen changes, each by chance, of a magnitude that varies."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from penstock.protocol.spec.operation import Pixels, Size
from penstock.protocol.spec.step import Action, Change, Float64s, Levels, Step
from penstock.worker.imaging.operations.color import blending, enhance
from penstock.worker.imaging.operations.geometry.moves import Affine, Sampling
from penstock.worker.imaging.operations.parameters import Fill, sine_cosine, waiting_time, whole
from penstock.worker.imaging.operations.policies.augmentations import actions

#: The changes in timm's order, of its list of those that grow with the magnitude ("inc1"); a uniform chooses one.
NAMES = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
#: Uniforms of each change: which, whether it is applied, two for its magnitude, its sign.
_UNIFORMS = 5
_HIGHEST = 10.0
_HALF = 0.5
_LEVELS = np.arange(256, dtype=np.uint8)
_MIDDLE = 128


class TimmRandAugment(Step):
    """Apply `num_ops` of fifteen changes, each chosen at random, and each with probability one half, as timm does.

    Equals timm's RandAugment with `inc1`: `magnitude = 7` and `magnitude_std = 0.5` are its "rand-m7-mstd0.5-inc1".
    """

    op: Literal["timm_rand_augment"]
    """Name of the operation."""
    num_ops: int = Field(default=2, ge=1, le=16)
    """Number of changes, timm's `n`."""
    magnitude: Annotated[float, Field(ge=0, le=10)] = 9.0
    """Mean magnitude, 0 to 10, timm's `m`."""
    magnitude_std: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Standard deviation of the magnitude, which is normally distributed and cut at 0 and 10, timm's `mstd`."""
    filter: Sampling = "bicubic"
    """How pixels are sampled by rotations, shears and translations, as Pillow does."""
    fill: Fill = (124, 116, 104)
    """Level outside the image: one for all channels, or one for each; default: the mean of ImageNet."""

    @property
    def uniforms(self) -> int:
        """For each change: which, whether it is applied, two for its magnitude, its sign."""
        return _UNIFORMS * self.num_ops

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the changes."""
        chosen: list[Action] = []
        for choice, applied, one, other, sign in draws.reshape(-1, _UNIFORMS).tolist():
            if applied <= _HALF:
                chosen += self.change(NAMES[whole(len(NAMES), choice)], self.magnitude_of(one, other), sign, image)
        return chosen

    def magnitude_of(self, one: float, other: float) -> float:
        """Return the magnitude that two uniforms stand for: by Box and Muller's method, the same on every host."""
        normal = math.sqrt(2.0 * waiting_time(one)) * sine_cosine(360.0 * other)[1]
        return max(0.0, min(self.magnitude + self.magnitude_std * normal, _HIGHEST))

    def change(self, name: str, magnitude: float, sign: float, image: Size) -> Sequence[Action]:
        """Return what a change of this magnitude does to an image of this size; `sign` above one half is negative."""
        part, turn = magnitude / _HIGHEST, -1.0 if sign > _HALF else 1.0
        match name:
            case "Rotate":
                return self._applied(name, turn * part * 30.0, image)
            case "ShearX" | "ShearY":
                return self._applied(name, turn * part * 0.3, image)
            case "TranslateX":
                return (Affine((1.0, 0.0, turn * part * 0.45 * image[1], 0.0, 1.0, 0.0), self.filter, self.fill),)
            case "TranslateY":
                return (Affine((1.0, 0.0, 0.0, 0.0, 1.0, turn * part * 0.45 * image[0]), self.filter, self.fill),)
            case "Color" | "Contrast" | "Brightness" | "Sharpness":
                return (_enhanced(name, max(0.1, 1.0 + turn * part * 0.9)),)
            case "Posterize":
                return (Levels(_LEVELS & np.uint8(256 - (1 << (4 + int(part * 4))) & 255)),)
            case "Solarize":
                return (Levels(np.where(_LEVELS < 256 - int(part * 256), _LEVELS, 255 - _LEVELS)),)
            case "SolarizeAdd":
                return (Levels(_added(int(part * 110))),)
            case _:
                return self._applied(name, 0.0, image)

    def _applied(self, name: str, magnitude: float, image: Size) -> Sequence[Action]:
        return actions(name, magnitude, image, self.filter, self.fill)


def _enhanced(name: str, factor: float) -> Action:
    """Return a change of `ImageEnhance`."""
    match name:
        case "Brightness":
            return Levels(blending.brightness_table(factor))
        case "Color":
            return Change(partial(blending.saturation, factor=factor))
        case "Contrast":
            return Change(partial(blending.contrast, factor=factor))
        case _:
            return Change(partial(enhance.sharpened, factor=factor))


def _added(add: int) -> Pixels:
    """Return the levels, the dark ones brighter by `add`."""
    levels = np.arange(256)
    return np.where(levels < _MIDDLE, np.minimum(255, levels + add), levels).astype(np.uint8)
