"""`penstock.ImageDataGenerator` beside Keras's own class of that name: images a second that `next` gives.

    .venv/bin/python benchmarks/image_data_generator.py [--data FOLDER] [--rounds 3] [--seconds 3]

Rounds alternate between the candidates, so that whatever else the machine does meets all of them; the table shows
medians and their ratio to Keras. FOLDER holds a folder a class; default: generated pictures of about 128 × 128.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras.src.legacy.preprocessing.image import ImageDataGenerator as KerasGenerator

from penstock import ImageDataGenerator
from penstock.samples import make_samples

#: What the issue's targets name: rotation, shifts, zoom, flip, channel shift.
CHANGES: dict[str, Any] = {
    "rotation_range": 15,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "zoom_range": 0.1,
    "horizontal_flip": True,
    "channel_shift_range": 20.0,
    "rescale": 1 / 255,
}
#: Images of the array: enough that Keras, which copies it as floats, needs no more than 620 MB.
ARRAY = (50_000, 32, 32, 3)


def rate(iterator: Iterator[Any], seconds: float) -> float:
    """Return images a second, the first batches left out: they wait for processes to start."""
    for _ in range(3):
        next(iterator)
    images, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        images += len(next(iterator)[0])
    return images / (time.perf_counter() - began)


def measure(candidates: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> None:
    """Print each candidate's median rate and its ratio to the first one's."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, make in candidates.items():
            iterator = make()
            rates[name].append(rate(iterator, seconds))
            if hasattr(iterator, "close"):
                iterator.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:<28}{median:>12,.0f} images/s{median / first:>8.1f} ×")


def main() -> None:
    """Measure arrays and files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    keras, ours = KerasGenerator(**CHANGES), ImageDataGenerator(**CHANGES)
    cores = len(os.sched_getaffinity(0))
    numbers = sorted({0, 1, cores})
    images, labels = np.random.default_rng(0).integers(0, 256, ARRAY, np.uint8), np.arange(ARRAY[0])
    print(f"flow: {ARRAY[0]:,} uint8 images of 32 × 32, batches of 32")
    arrays: dict[str, Callable[[], Any]] = {"Keras": lambda: keras.flow(images, labels)}
    for number in numbers:
        arrays[f"Penstock, workers={number}"] = partial(ours.flow, images, labels, workers=number)
    measure(arrays, options.rounds, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder, "train")
        if not options.data:
            for _ in make_samples(Path(folder), train=250, held_out=0):
                pass
        files: dict[str, Callable[[], Any]] = {"Keras": lambda: keras.flow_from_directory(str(data), **FILES)}
        for number in numbers:
            files[f"Penstock, workers={number}"] = partial(ours.flow_from_directory, data, **FILES, workers=number)
        print("flow_from_directory: to 150 × 150, bilinear, batches of 32")
        measure(files, options.rounds, options.seconds)


#: How files are read.
FILES: dict[str, Any] = {"target_size": (150, 150), "interpolation": "bilinear", "class_mode": "binary"}

if __name__ == "__main__":
    main()
