"""PyTorch's `DataLoader` and Penstock's loop of tensors, side by side, with the same number of worker processes.

    build/torch/bin/python benchmarks/pytorch.py [--rounds 5] [--seconds 3] [--parts loop,rate,first] [--out torch.json]

loop: samples a second of a loop over `feed.torch()` and of one over the feed's arrays, both over the limit: the bare
kernel, once a core. rate: samples a second of both loaders, on photos and on small arrays. first: seconds to the first
batch in a fresh process, since it began and since it has imported what it needs, and the processor time of all
processes until then (`first_batch.py`). Everything takes turns within one run; ratios are of neighbours in time,
medians are printed, and a round that something else disturbed is marked. Unset PYTHONDONTWRITEBYTECODE, or Penstock's
processes compile its sources each time.

It needs torch and torchvision (`make build/torch/.set-up-in`). It is not called torch.py, because scripts beside it
would then import it in place of PyTorch. `--data` is a folder with `cats-dogs/`; default: ../shared/data.
"""

import argparse
import importlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import engine
import measuring
import numpy as np
from PIL import Image

import penstock

_ROOT = Path(__file__).resolve().parent.parent
#: Photos of ImageNet's usual size that are made of the others, and small images in memory.
_PHOTOS, _WIDTH, _HEIGHT = 1000, 500, 400
_ARRAYS = 50_000
_BATCH, _SMALL_BATCH = 64, 128
#: Seconds of work before a rate is measured; slices that arrays and tensors are read in, by turns.
_WARM_S, _SLICES = 2.0, 8


def make_data(source: Path, made: Path) -> None:
    """Write photos of 500 × 400 in two classes, made of those below `source`, and small images as arrays."""
    rng = np.random.default_rng(1)
    np.save(made / "arrays.npy", rng.integers(0, 256, (_ARRAYS, 32, 32, 3), np.uint8))
    np.save(made / "labels.npy", rng.integers(0, 10, _ARRAYS))
    originals = sorted(source.glob("*/*.jpg"))
    for number in range(_PHOTOS):
        with Image.open(originals[number % len(originals)]) as image:
            out = io.BytesIO()
            image.convert("RGB").resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        path = made / "photos" / "ab"[number % 2] / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(out.getvalue())


def spec_of(case: str, made: Path) -> dict[str, Any]:
    """Return the stream of a case."""
    if case == "photos":
        source: dict[str, Any] = {"kind": "directory", "root": "data", "path": "photos"}
        transform: dict[str, Any] = {"recipe": "imagenet-train"}
    else:
        source = {"kind": "arrays", "root": "data", "images": "arrays.npy", "labels": "labels.npy"}
        transform = {"recipe": "cifar-train"}
    stream = {"source": source, "transform": transform, "batch_size": _BATCH if case == "photos" else _SMALL_BATCH}
    return {"seed": 1, "roots": {"data": str(made)}, "streams": {"train": stream}}


class SmallImages:
    """Images in memory as torchvision's CIFAR10 has them: each becomes a picture, and is transformed."""

    def __init__(self, folder: Path, transform: Any) -> None:  # noqa: ANN401 - torchvision's
        """Read them."""
        self.images, self.labels = np.load(folder / "arrays.npy"), np.load(folder / "labels.npy")
        self.transform = transform

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return an image and its label."""
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def torchs_loader(case: str, made: Path, workers: int) -> Any:  # noqa: ANN401 - PyTorch's
    """Return PyTorch's own loader of a case: uint8 tensors, as ours."""
    data, datasets, transforms, _ = imported()
    if case == "photos":
        steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
        dataset: Any = datasets.ImageFolder(str(made / "photos"), transforms.Compose(steps))
    else:
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
        dataset = SmallImages(made, transforms.Compose(steps))
    size = _BATCH if case == "photos" else _SMALL_BATCH
    return data.DataLoader(dataset, size, shuffle=True, num_workers=workers, persistent_workers=True)


@cache
def imported() -> tuple[Any, Any, Any, Any]:
    """Return PyTorch's and torchvision's modules. The import of torchvision asks for compiled operators, never used."""
    library = importlib.import_module("torch.library").Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        with suppress(RuntimeError):  # they are there
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    names = ("torch.utils.data", "torchvision.datasets", "torchvision.transforms.v2")
    data, datasets, transforms = map(importlib.import_module, names)
    return data, datasets, transforms, library  # definitions live as long as their library


def rate(batches: Iterable[Any], size: int, seconds: float) -> float:
    """Return the samples a second of a loop that does nothing; epochs follow each other."""
    began, samples, start = 0.0, 0, time.perf_counter()
    while True:
        for _ in batches:
            now = time.perf_counter()
            if began:
                samples += size
                if now - began > seconds:
                    return samples / (now - began)
            elif now - start > _WARM_S:
                began = now


def loops(spec: dict[str, Any], workers: int, seconds: float) -> tuple[float, float]:
    """Return the samples a second of a loop over arrays and of one over tensors: one stack, short slices by turns."""
    with penstock.local(spec, workers=workers) as stack, stack.feed("train") as feed:
        kinds: list[Iterable[Any]] = [feed, feed.torch()]
        totals, samples = [0.0, 0.0], [0, 0]
        rate(kinds[0], 1, 0.1)
        for turn in range(2 * _SLICES):
            place = (0, 1, 1, 0)[turn % 4]
            began = time.perf_counter()
            before = feed.stats.samples
            while (took := time.perf_counter() - began) < seconds / _SLICES:
                for _ in kinds[place]:
                    if time.perf_counter() - began > seconds / _SLICES:
                        break
            totals[place] += took
            samples[place] += feed.stats.samples - before
        return samples[0] / totals[0], samples[1] / totals[1]


def measure_loops(made: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure loops over arrays and tensors, over the bare kernel's limit."""
    rows = []
    for case in ("photos", "arrays"):
        spec, found = spec_of(case, made), []
        for _ in range(given.rounds):
            others = measuring.Disturbance()
            limit = engine.limit(spec, given.workers, given.seconds)
            arrays, tensors = loops(spec, given.workers, given.seconds)
            found.append({"limit": limit, "arrays": arrays, "tensors": tensors, "others": others.share()})
        rows.append(
            {"case": case}
            | medians(found)
            | {
                "arrays / limit": statistics.median(each["arrays"] / each["limit"] for each in found),
                "tensors / limit": statistics.median(each["tensors"] / each["limit"] for each in found),
                "tensors / arrays": statistics.median(each["tensors"] / each["arrays"] for each in found),
                "rounds": found,
            }
        )
    return rows


def measure_rates(made: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both loaders."""
    rows = []
    for case, size in (("photos", _BATCH), ("arrays", _SMALL_BATCH)):
        found = []
        for _ in range(given.rounds):
            others = measuring.Disturbance()
            theirs = torchs_loader(case, made, given.workers)
            torch_rate = rate(theirs, size, given.seconds)
            del theirs  # its workers end
            with penstock.local(spec_of(case, made), workers=given.workers) as stack, stack.feed("train") as feed:
                ours = rate(feed.torch(), size, given.seconds)
            found.append({"DataLoader": torch_rate, "Penstock": ours, "others": others.share()})
        ratio = statistics.median(each["Penstock"] / each["DataLoader"] for each in found)
        rows.append({"case": case} | medians(found) | {"ratio": ratio, "rounds": found})
    return rows


def measure_first(made: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the time to the first batch, of photos, in fresh processes."""
    found: list[list[dict[str, float]]] = [[], [], []]
    for _ in range(given.rounds):
        others, rows = measuring.Disturbance(), [dict[str, float]() for _ in found]
        for whose in ("DataLoader", "Penstock"):
            command = [sys.executable, str(Path(__file__).with_name("first_batch.py")), whose]
            command += [str(made / "photos"), str(given.workers)]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
            for row, seconds in zip(rows, json.loads(ran.stdout), strict=True):
                row[whose] = seconds
        share = {"others": others.share()}
        for rounds, row in zip(found, rows, strict=True):
            rounds.append(row | share)
    return [
        {"case": case}
        | medians(each)
        | {"ratio": statistics.median(row["Penstock"] / row["DataLoader"] for row in each), "rounds": each}
        for case, each in zip(("since the process began", "since the imports", "processor time"), found, strict=True)
    ]


def medians(found: list[dict[str, float]]) -> dict[str, Any]:
    """Return the medians of the rounds, and which of them other programs disturbed."""
    row: dict[str, Any] = {name: statistics.median(each[name] for each in found) for name in found[0]}
    del row["others"]
    return row | {"disturbed rounds": measuring.disturbed([each["others"] for each in found])}


def main() -> None:
    """Measure what was asked for, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--parts", default="loop,rate,first")
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("torch.json"))
    given = parser.parse_args()
    if not (given.data / "cats-dogs").is_dir():
        parser.error(f"--data {given.data}: no such folder, or it has no cats-dogs/")
    parts = {
        "loop": ("samples/s of loops over arrays and over tensors", measure_loops),
        "rate": ("samples/s of both loaders", measure_rates),
        "first": ("seconds to the first batch", measure_first),
    }
    report: dict[str, Any] = {"cores": given.workers, "python": platform.python_version(), "cpu": platform.processor()}
    with tempfile.TemporaryDirectory(prefix="pk-") as folder:
        make_data(given.data / "cats-dogs", Path(folder))
        for name in given.parts.split(","):
            title, measure = parts[name]
            report[name] = measure(Path(folder), given)
            engine.show(title, report[name])
    given.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
