"""The built-in benchmarks of `penstock bench`, which compare Keras's ImageDataGenerator with ours in one run.

They repeat those in the notebook of an older project that let the Keras class use processes: images in memory, with and
without training, and JPEG files with training. This module defines the images and the augmentation; `run.py` measures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: Random changes of every image: supported by both classes, and usual in scripts.
CHANGES: dict[str, Any] = {
    "rotation_range": 15,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "zoom_range": 0.1,
    "horizontal_flip": True,
    "channel_shift_range": 20.0,
    "rescale": 1 / 255,
}
BATCH_SIZE = 32
#: Images of the array, and their classes.
_ARRAY, _CLASSES = (50_000, 32, 32, 3), 10
#: Size that files are resized to (pixels).
_SIDE = 150


@dataclass(frozen=True, slots=True)
class Case:
    """One benchmark."""

    title: str
    #: The measurement as a sentence.
    text: str
    #: Batches of a run without and with training, unless the command line sets them.
    batches: int
    train_batches: int
    #: Whether image files are needed.
    files: bool
    #: From a generator class's instance, a folder and further arguments of `flow…` to an iterator.
    flow: Callable[[Any, Path, dict[str, Any]], Any]


def _arrays(generator: Any, _: Path, more: dict[str, Any]) -> Any:  # noqa: ANN401 - either library's
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, _ARRAY, np.uint8), rng.integers(0, _CLASSES, _ARRAY[0])
    return generator.flow(images, labels, batch_size=BATCH_SIZE, seed=1, **more)


def _files(generator: Any, folder: Path, more: dict[str, Any]) -> Any:  # noqa: ANN401 - either library's
    return generator.flow_from_directory(
        str(folder),
        target_size=(_SIDE, _SIDE),
        interpolation="bilinear",
        class_mode="sparse",
        batch_size=BATCH_SIZE,
        seed=1,
        **more,
    )


CASES = {
    "in-memory": Case(
        title="Images in memory",
        text=f"{_ARRAY[0]:,} uint8 images of 32 × 32 in memory, in batches of {BATCH_SIZE}, by `flow`.",
        batches=2000,
        train_batches=300,
        files=False,
        flow=_arrays,
    ),
    "jpegs": Case(
        title="JPEG files",
        text=f"JPEG files from disk to {_SIDE} × {_SIDE}, in batches of {BATCH_SIZE}, by `flow_from_directory`.",
        batches=60,
        train_batches=50,
        files=True,
        flow=_files,
    ),
}


def open_flow(name: str, library: str, workers: int, folder: Path) -> Any:  # noqa: ANN401 - either library's
    """Return a case's iterator, by `library` "keras" or "penstock"."""
    if library == "keras":
        from keras.src.legacy.preprocessing.image import ImageDataGenerator as KerasGenerator  # noqa: PLC0415 - seconds

        return CASES[name].flow(KerasGenerator(**CHANGES), folder, {})
    from penstock.image_data_generator.generator import ImageDataGenerator  # noqa: PLC0415 - Keras does without

    return CASES[name].flow(ImageDataGenerator(**CHANGES), folder, {"workers": workers})
