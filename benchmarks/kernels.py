"""The kernels' speed on one core, compared with hand-written loops and with other libraries in one process.

    python benchmarks/kernels.py [--only cats-dogs,arrays,...] [--rounds 7] [--data FOLDER] [--out kernels.json]

Cases of Keras and TensorFlow run in .venv; those of `kernel_recipes.py` (torchvision, Albumentations) in the
environment of `make bench-kernels`. What is not installed is left out, and named.

Every variant of a case does the same work on the same images; the variants take turns, round by round, on one core,
and a ratio is of the two times of one round. Times are the process's CPU time, which other programs disturb least.
Medians are printed, with the lowest and the highest ratio, and the median ratio by the clock. `--data` is a folder with
`cats-dogs/` and `camera/`; default: ../shared/data next to the repository.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import kernel_recipes
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from kernel_case import OURS, Case, pipeline, task_of
from rich.console import Console
from rich.table import Table

from penstock.protocol.messages import Task, TaskKey
from penstock.sources.base import Loaded

_ROOT = Path(__file__).resolve().parent.parent
#: What both sides draw: Keras's arguments are our fields.
_CHANGES: dict[str, Any] = {
    "rotation_range": 20.0,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "zoom_range": 0.2,
    "channel_shift_range": 20.0,
    "horizontal_flip": True,
}


def cats_dogs(data: Path) -> Case:
    """Files of about 400 × 360 pixels to 150 × 150, changed at random; to uint8, where Keras makes floats."""
    root, side = data / "cats-dogs", 150
    files = sorted(root.rglob("*.jpg"))[:256]
    transform = {"resize": {"height": side, "width": side, "filter": "linear"}, "augment": _CHANGES}
    ours, task = pipeline(transform, root), task_of(files, root)
    scaled = pipeline(transform | {"resize": transform["resize"] | {"dct_scaling": True}}, root)
    rng = np.random.default_rng(1)
    keras = _keras().flow_from_directory(
        str(root), target_size=(side, side), batch_size=32, interpolation="bilinear", class_mode="sparse"
    )
    return Case(
        f"cats-dogs: decode, {side}×{side}, rotation, shifts, zoom, flip, channel shift",
        "images",
        {
            OURS: (len(files), lambda: ours.run(task)),
            "penstock, DCT scaling": (len(files), lambda: scaled.run(task)),
            "hand-written": (len(files), lambda: [_by_hand(file.read_bytes(), side, rng) for file in files]),
            "Keras": (96, lambda: [next(keras) for _ in range(3)]),
        },
        ((OURS, "hand-written", 0.95), ("penstock, DCT scaling", "Keras", 5.0), ("hand-written", "Keras", 3.2)),
    )


def _by_hand(data: bytes, side: int, rng: np.random.Generator) -> Any:  # noqa: ANN401 - OpenCV's arrays
    """Do what a careful author of a loop around simplejpeg and OpenCV would write."""
    whole: Any = simplejpeg.decode_jpeg(data)
    return _change_by_hand(cv2.resize(whole, (side, side), interpolation=cv2.INTER_LINEAR), rng)


def _change_by_hand(pixels: Any, rng: np.random.Generator) -> Any:  # noqa: ANN401 - OpenCV's arrays
    height, width = pixels.shape[:2]
    theta = np.deg2rad(rng.uniform(-20, 20))
    shift_x, shift_y = rng.uniform(-0.1, 0.1, 2) * (width, height)
    zoom_x, zoom_y = rng.uniform(0.8, 1.2, 2)
    flip = -1.0 if rng.random() < 0.5 else 1.0  # noqa: PLR2004 - a coin
    cos, sin, x, y = np.cos(theta), np.sin(theta), width / 2 - 0.5, height / 2 - 0.5
    a, b, c, d = cos * zoom_x * flip, -sin * zoom_y, sin * zoom_x * flip, cos * zoom_y
    matrix = np.array([[a, b, x + shift_x - a * x - b * y], [c, d, y + shift_y - c * x - d * y]])
    pixels = cv2.warpAffine(
        pixels,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    levels = np.clip(np.arange(256) + rng.uniform(-20, 20), pixels.min(), pixels.max())
    return cv2.LUT(pixels, levels.astype(np.uint8))


def arrays(data: Path) -> Case:
    """32 × 32 × 3 arrays in memory to float32 batches of 32 between 0 and 1."""
    side, count = 32, 4096
    images = np.random.default_rng(2).integers(0, 256, (count, side, side, 3), np.uint8)
    images = np.asarray(cv2.blur(images.reshape(-1, side, 3), (3, 3)), np.uint8).reshape(images.shape)
    transform = {
        "resize": {"height": side, "width": side},
        "augment": _CHANGES,
        "normalize": {"rescale": 1 / 255},
    }
    ours, task_items = pipeline(transform, data), 256
    floats = images.astype(np.float32)
    flow = _keras(rescale=1 / 255).flow(floats, batch_size=32)
    rng, room = np.random.default_rng(3), np.empty(ours.room_bytes(task_items), np.uint8)

    def make() -> None:
        for start in range(0, count, task_items):
            part = np.arange(start, start + task_items)
            loaded = Loaded(part, np.zeros(task_items, np.int32), [""] * task_items, images[start : start + task_items])
            task = Task(key=TaskKey(stream="train", ordinal=start), attempt=0, epoch=0, items=())
            batches = ours.make(task, loaded, room).arrays[0].reshape(-1, 32, side, side, 3)
            if batches.dtype != np.float32:
                raise SystemExit("no floats")

    def by_hand() -> None:
        for start in range(0, count, 32):
            batch = np.stack([_change_by_hand(image, rng) for image in images[start : start + 32]])
            np.multiply(batch, np.float32(1 / 255), dtype=np.float32)

    return Case(
        f"{side}×{side}×3 arrays: rotation, shifts, flip, zoom, channel shift, float32 batches of 32",
        "images",
        {
            OURS: (count, make),
            "hand-written": (count, by_hand),
            "Keras": (1024, lambda: [next(flow) for _ in range(32)]),
        },
        ((OURS, "Keras", 15.0),),
    )


def center(data: Path) -> Case:
    """One centred 224 × 224 patch of a camera photo."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    root, side = data / "camera", 224
    files = sorted(root.glob("*.jpg"))[:6]
    ours = pipeline({"patch": {"kind": "center", "height": side, "width": side}}, root)
    task = task_of(files, root)

    def whole() -> None:
        for file in files:
            pixels: Any = simplejpeg.decode_jpeg(file.read_bytes())
            y, x = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
            pixels[y : y + side, x : x + side].copy()

    def cropped() -> None:
        for file in files:
            content = file.read_bytes()
            height, width = (int(length) for length in simplejpeg.decode_jpeg_header(content)[:2])
            window = [(height - side) // 2, (width - side) // 2, side, side]
            tf.image.decode_and_crop_jpeg(content, window, channels=3).numpy()

    return Case(
        f"camera photos: one centred {side}×{side} patch",
        "patches",
        {
            OURS: (len(files), lambda: ours.run(task)),
            "simplejpeg, all of it": (len(files), whole),
            "tf.image.decode_and_crop_jpeg": (len(files), cropped),
        },
        ((OURS, "tf.image.decode_and_crop_jpeg", 1.0), (OURS, "simplejpeg, all of it", 2.9)),
    )


def _keras(**more: Any) -> Any:  # noqa: ANN401 - Keras has no types
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras.src.legacy.preprocessing.image import ImageDataGenerator  # noqa: PLC0415 - takes seconds

    return ImageDataGenerator(**(_CHANGES | more))


#: Cases of .venv; those of `make bench-kernels` also get a folder for files that they make.
CASES: dict[str, Callable[[Path], Case]] = {"cats-dogs": cats_dogs, "arrays": arrays, "center": center}
RECIPES: dict[str, Callable[[Path, Path], Case]] = {
    "imagenet": kernel_recipes.imagenet,
    "rand-augment": kernel_recipes.rand_augment,
    "large-photos": kernel_recipes.large_photos,
    "detection": kernel_recipes.detection,
    "detection-large": kernel_recipes.detection_large,
    "detection-colors": kernel_recipes.detection_colors,
}
#: Samples a second by processor time and by the clock, one pair a round.
Rates = Mapping[str, list[tuple[float, float]]]


def measure(case: Case, rounds: int) -> Rates:
    """Return the rates of each variant; the first round warms up and is not counted."""
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in case.variants}
    for number in range(rounds + 1):
        for name, (count, work) in case.variants.items():
            start = time.process_time(), time.perf_counter()
            work()
            if number:
                rates[name].append((count / (time.process_time() - start[0]), count / (time.perf_counter() - start[1])))
    return rates


def report(case: Case, rates: Rates, console: Console) -> dict[str, Any]:
    """Print a case's table and its aims; return both for the file."""
    table = Table(title=case.title, title_justify="left")
    for column in (f"{case.unit}/s on one core", "median", "µs each", "of ours"):
        table.add_column(column, justify="left" if column[0] != "m" else "right")
    medians = {name: statistics.median(rate for rate, _ in values) for name, values in rates.items()}
    for name, rate in medians.items():
        table.add_row(name, f"{rate:,.0f}", f"{1e6 / rate:,.1f}", f"{rate / medians[OURS]:.3f}")
    console.print(table)
    aims = []
    for one, other, least in case.aims:
        pairs = list(zip(rates[one], rates[other], strict=True))
        ratios = [a[0] / b[0] for a, b in pairs]
        ratio, by_clock = statistics.median(ratios), statistics.median(a[1] / b[1] for a, b in pairs)
        found = {"ratio": ratio, "low": min(ratios), "high": max(ratios), "by_clock": by_clock}
        aims.append({"of": one, "over": other, "aim": least, **found})
        console.print(
            f"  {one} / {other}: {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}; by the clock {by_clock:.2f}), "
            f"aim {least}: {'met' if ratio >= least else 'NOT MET'}"
        )
    return {"title": case.title, "rates": medians, "aims": aims}


def case_of(name: str, data: Path, made: Path) -> Case | None:
    """Return a case; None, and say why, if one of the packages that it compares with is not installed."""
    try:
        return CASES[name](data) if name in CASES else RECIPES[name](data, made)
    except ModuleNotFoundError as error:
        print(f"{name}: left out, because {error.name} is not installed")
        return None


def main() -> None:
    """Measure the chosen cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join((*CASES, *RECIPES)), help="cases, with commas between")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in CASES and name not in RECIPES]:
        parser.error(f"--only {','.join(unknown)}: no such case; there are {', '.join((*CASES, *RECIPES))}")
    warnings.simplefilter("ignore")  # Keras calls SciPy by a deprecated name
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    console = Console(width=120)
    found = {}
    with tempfile.TemporaryDirectory() as made:
        for name in names:
            if (case := case_of(name, options.data, Path(made))) is not None:
                found[name] = report(case, measure(case, options.rounds), console)
    if options.out:
        host = {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }
        options.out.write_text(json.dumps({"host": host, "cases": found}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
