"""The changes of the AutoAugment family, each with one magnitude, as torchvision applies them."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from penstock.protocol.spec.operation import Pixels, Size
from penstock.protocol.spec.step import Action, Change, Levels
from penstock.worker.imaging.operations.color import blending, enhance
from penstock.worker.imaging.operations.geometry.affine import affine_matrix
from penstock.worker.imaging.operations.geometry.moves import Affine, Fill, Sampling
from penstock.worker.imaging.operations.geometry.rotate import rotation

#: The changes of RandAugment and TrivialAugment, in torchvision's order; a uniform chooses one.
NAMES = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
#: Those that go either way.
SIGNED = frozenset(NAMES[1:10])
_HALF = 0.5
_LEVELS = np.arange(256, dtype=np.uint8)
_GEOMETRY = frozenset(NAMES[1:6])


def spaced(low: float, high: float, bins: int, place: int) -> float:
    """Return one of `bins` evenly spaced numbers, as torch's `linspace`: single precision, each rounded once."""
    start, end = float(np.float32(low)), float(np.float32(high))
    step = float(np.float32(end - start) / np.float32(bins - 1))
    if place < bins // 2:
        return float(np.float32(start + step * place))
    return float(np.float32(end - step * (bins - place - 1)))


def bits(bins: int, place: int, lost: int) -> float:
    """Return how many bits `Posterize` keeps, from 8 down by `lost`."""
    return float(round(8 - place / ((bins - 1) / lost)))


def signed(name: str, magnitude: float, draw: float) -> float:
    """Return a magnitude with its sign: half of the draws make that of a change that goes either way negative."""
    return -magnitude if name in SIGNED and draw <= _HALF else magnitude


@lru_cache(maxsize=1024)
def magnitude_of(name: str, place: int, bins: int, image: Size) -> float:
    """Return one of `bins` magnitudes of a change, without its sign, by the ranges of AutoAugment and RandAugment."""
    match name:
        case "ShearX" | "ShearY":
            return spaced(0.0, 0.3, bins, place)
        case "TranslateX" | "TranslateY":
            return spaced(0.0, 150.0 / 331.0 * image[1 if name == "TranslateX" else 0], bins, place)
        case "Rotate":
            return spaced(0.0, 30.0, bins, place)
        case "Brightness" | "Color" | "Contrast" | "Sharpness":
            return spaced(0.0, 0.9, bins, place)
        case "Posterize":
            return bits(bins, place, 4)
        case "Solarize":
            return spaced(1.0, 0.0, bins, place)
        case _:
            return 0.0


@lru_cache(maxsize=4096)
def actions(name: str, magnitude: float, image: Size, sampling: Sampling, fill: Fill) -> Sequence[Action]:
    """Return what a change of this magnitude does to an image of this size; remembered, as magnitudes are few."""
    if name == "Identity":
        return ()
    if name in _GEOMETRY:
        return (Affine(_matrix(name, magnitude, image), sampling, fill),)
    tables: dict[str, Callable[[], Pixels]] = {
        "Brightness": lambda: blending.brightness_table(1.0 + magnitude),
        "Invert": lambda: 255 - _LEVELS,
        "Posterize": lambda: _LEVELS & np.uint8(256 - (1 << (8 - int(magnitude)))),
        "Solarize": lambda: np.where(_LEVELS < 255.0 * magnitude, _LEVELS, 255 - _LEVELS),
    }
    if name in tables:
        return (Levels(tables[name]()),)
    changes: dict[str, Callable[[Pixels], Pixels]] = {
        "Color": partial(blending.saturation, factor=1.0 + magnitude),
        "Contrast": partial(blending.contrast, factor=1.0 + magnitude),
        "Sharpness": partial(enhance.sharpened, factor=1.0 + magnitude),
        "AutoContrast": enhance.autocontrasted,
        "Equalize": enhance.equalized,
    }
    return (Change(changes[name]),)


def _matrix(name: str, magnitude: float, image: Size) -> tuple[float, float, float, float, float, float]:
    match name:
        case "ShearX":
            return 1.0, magnitude, 0.0, 0.0, 1.0, 0.0
        case "ShearY":
            return 1.0, 0.0, 0.0, magnitude, 1.0, 0.0
        case "TranslateX":
            return affine_matrix(image, 0.0, (int(magnitude), 0), 1.0, (0.0, 0.0))
        case "TranslateY":
            return affine_matrix(image, 0.0, (0, int(magnitude)), 1.0, (0.0, 0.0))
        case _:
            return rotation(image, magnitude)
