"""A small labelled set of generated JPEG files: four kinds of texture that a network learns within a minute.

Colours, brightness, scale, angle and position have the same distribution in every class, so that only the texture tells
the classes apart. Everything follows from the seed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]
Pattern = Callable[[np.random.Generator, Floats, Floats], Floats]

#: Shortest and longest side (pixels).
SIDES = (96, 160)
#: Period of the textures (pixels), and the JPEG quality.
_PERIOD, _QUALITY = (9.0, 18.0), (60, 95)
#: Of a picture's two colours: difference in brightness, and how far from gray; deviation of the noise (all of 255).
_CONTRAST, _TINT, _NOISE = (60.0, 130.0), 45.0, (4.0, 14.0)


def make_samples(folder: Path, *, train: int = 120, held_out: int = 40, seed: int = 0) -> Iterator[Path]:
    """Write the set file by file, yielding each path; `train` and `held_out` are pictures a class.

    The files are `folder/train/<class>/<number>.jpg` and `folder/held-out/<class>/<number>.jpg`.
    """
    for part, (name, count) in enumerate((("train", train), ("held-out", held_out))):
        for label, texture in enumerate(PATTERNS):
            (folder / name / texture).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                rng = np.random.default_rng([seed, part, label, number])
                path = folder / name / texture / f"{number:04}.jpg"
                quality = int(rng.integers(*_QUALITY, endpoint=True))
                Image.fromarray(make_picture(rng, texture)).save(path, quality=quality)
                yield path


def make_picture(rng: np.random.Generator, texture: str, sides: tuple[int, int] = SIDES) -> npt.NDArray[np.uint8]:
    """Return a picture (height, width, 3) of one class; its sides (pixels) lie between the two given."""
    height, width = rng.integers(*sides, 2, endpoint=True).tolist()
    y, x = (grid.astype(np.float32) for grid in np.mgrid[0:height, 0:width])
    cover = PATTERNS[texture](rng, y, x)[..., np.newaxis]
    one, other = _colours(rng)
    slope = rng.uniform(-0.35, 0.35, 2)
    light = 1.0 + slope[0] * (y / height - 0.5) + slope[1] * (x / width - 0.5)
    values = (one + (other - one) * cover) * light[..., np.newaxis]
    values += rng.standard_normal(values.shape, np.float32) * np.float32(rng.uniform(*_NOISE))
    return np.asarray(np.clip(values, 0.0, 255.0), np.uint8)


def _colours(rng: np.random.Generator) -> Floats:
    """Return a dark and a bright colour of any hue."""
    middle, contrast = rng.uniform(95.0, 160.0), rng.uniform(*_CONTRAST)
    grays = np.array([[middle - contrast / 2.0], [middle + contrast / 2.0]])
    return (grays + rng.uniform(-_TINT, _TINT, (2, 3))).astype(np.float32)


def _turn(rng: np.random.Generator, y: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Return the coordinates in periods of a texture, turned by any angle and moved by any distance."""
    angle, period = rng.uniform(0.0, np.pi), rng.uniform(*_PERIOD)
    along = (np.cos(angle) * x + np.sin(angle) * y) / period + rng.uniform()
    across = (np.cos(angle) * y - np.sin(angle) * x) / period + rng.uniform()
    return along.astype(np.float32), across.astype(np.float32)


def _edge(value: npt.NDArray[Any]) -> Floats:
    """Return 0 to 1 with soft edges where `value` passes 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(4.0 * value), np.float32)


def _stripes(rng: np.random.Generator, y: Floats, x: Floats) -> Floats:
    along, _ = _turn(rng, y, x)
    return _edge(np.sin(2.0 * np.pi * along))


def _checks(rng: np.random.Generator, y: Floats, x: Floats) -> Floats:
    along, across = _turn(rng, y, x)
    return _edge(np.sin(np.pi * along) * np.sin(np.pi * across) * 2.0)


def _dots(rng: np.random.Generator, y: Floats, x: Floats) -> Floats:
    along, across = _turn(rng, y, x)
    from_centre = np.hypot(along % 1.0 - 0.5, across % 1.0 - 0.5)
    return _edge((0.38 - from_centre) * 3.0)


def _rings(rng: np.random.Generator, y: Floats, x: Floats) -> Floats:
    height, width = y.shape
    centre_y, centre_x = rng.uniform(0.2, 0.8, 2) * (height, width)
    radius = np.hypot(y - np.float32(centre_y), x - np.float32(centre_x)) / np.float32(rng.uniform(*_PERIOD))
    return _edge(np.sin(2.0 * np.pi * (radius + np.float32(rng.uniform()))))


#: Class: its texture, as how much of the second colour each pixel has (0 to 1).
PATTERNS: dict[str, Pattern] = {"checks": _checks, "dots": _dots, "rings": _rings, "stripes": _stripes}
