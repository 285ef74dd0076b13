"""The first batch of photos, as a training script would get it; `pytorch.py` starts this and compares.

    python benchmarks/first_batch.py DataLoader|Penstock FOLDER WORKERS

Prints two numbers: the seconds since this process began, and those since it has imported what it needs. A script that
trains with PyTorch imports torch in any case.
"""

import importlib
import json
import sys
import time
from contextlib import suppress
from typing import Any

#: Images of a batch.
BATCH = 64


def loader_of_torch(folder: str, workers: int) -> tuple[Any, float]:
    """Return PyTorch's loader, and when everything was imported."""
    # The import of torchvision asks for compiled operators, which are never used.
    library = importlib.import_module("torch.library").Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        with suppress(RuntimeError):  # they are there
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    datasets, transforms = map(importlib.import_module, ("torchvision.datasets", "torchvision.transforms.v2"))
    data = importlib.import_module("torch.utils.data")
    began = time.time()
    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    dataset = datasets.ImageFolder(folder, transforms.Compose(steps))
    return data.DataLoader(dataset, BATCH, shuffle=True, num_workers=workers), began


def loader_of_penstock(folder: str, workers: int) -> tuple[Any, float]:
    """Return ours, and when everything was imported."""
    importlib.import_module("torch")
    make = importlib.import_module("penstock.trainer.adapters.torch").DataLoader
    began = time.time()
    return make(folder, BATCH, shuffle=True, num_workers=workers, transform="imagenet-train"), began


def main(whose: str, folder: str, workers: str) -> None:
    """Print both numbers."""
    make = loader_of_torch if whose == "DataLoader" else loader_of_penstock
    loader, began = make(folder, int(workers))
    next(iter(loader))
    now = time.time()
    started = importlib.import_module("psutil").Process().create_time()
    print(json.dumps([now - started, now - began]))


if __name__ == "__main__":
    main(*sys.argv[1:])
