"""Iterators over arrays, folders and DataFrames, with the images that `ImageDataGenerator`'s tests change."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from penstock import ImageDataGenerator

RNG = np.random.default_rng(8)
IMAGES = RNG.integers(0, 256, (10, 12, 14, 3), np.uint8)
LABELS = np.arange(10)
#: Changes of every kind.
WILD: dict[str, Any] = {
    "rotation_range": 30,
    "width_shift_range": 0.2,
    "height_shift_range": [1, 2],
    "zoom_range": 0.2,
    "shear_range": 5,
    "horizontal_flip": True,
    "vertical_flip": True,
}


def flow(x: Any = IMAGES, y: Any = LABELS, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return an iterator over arrays."""
    options: dict[str, Any] = {"batch_size": 4, "seed": 1, **more}
    x, y = options.pop("x", x), options.pop("y", y)
    return ImageDataGenerator(**(arguments or {})).flow(x, y, **options)


def folder(place: Path, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return an iterator over a folder a class."""
    generator = ImageDataGenerator(**(arguments or {}))
    options: dict[str, Any] = {"target_size": (24, 32), "batch_size": 3, "seed": 1, **more}
    return generator.flow_from_directory(place, **options)


def listed(frame: pd.DataFrame, place: Path | None, **more: Any) -> Any:
    """Return an iterator over what a DataFrame names."""
    generator = ImageDataGenerator(validation_split=0.25)
    options: dict[str, Any] = {"target_size": (24, 32), "batch_size": 8, **more}
    return generator.flow_from_dataframe(frame, place, **options)
