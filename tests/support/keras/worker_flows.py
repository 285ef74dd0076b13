"""Iterators with worker processes over files and over arrays, and the processes that they run."""

from pathlib import Path
from typing import Any

import numpy as np
from support.images import picture

from penstock import ImageDataGenerator

WILD: dict[str, Any] = {
    "rotation_range": 30,
    "width_shift_range": 0.2,
    "zoom_range": 0.2,
    "channel_shift_range": 20.0,
    "brightness_range": (0.8, 1.2),
    "horizontal_flip": True,
    "rescale": 1 / 255,
}


def from_folder(photos: Path, workers: int, **more: Any) -> Any:
    """Return an iterator over the training pictures."""
    options: dict[str, Any] = {"target_size": (40, 44), "batch_size": 8, "seed": 5, **more}
    return ImageDataGenerator(**WILD).flow_from_directory(photos / "train", workers=workers, **options)


def from_array(_: Path, workers: int, **more: Any) -> Any:
    """Return an iterator over pictures in memory."""
    images = np.stack([picture(index, index % 4, 30, 34) for index in range(44)])
    options: dict[str, Any] = {"batch_size": 8, "seed": 5, **more}
    return ImageDataGenerator(**WILD).flow(images, np.arange(44), workers=workers, **options)
