"""The first batch of photos, as a training script would get it: Penstock beside the loaders that others have.

    python benchmarks/first_batch.py [--rounds 5] [--workers 2,16] [--loaders Penstock,DataLoader,tf.data,Grain]
                                     [--python NAME=PATH …] [--out first_batch.json]
    python benchmarks/first_batch.py LOADER FOLDER WORKERS

The first form compares: fresh processes, by turns, medians; a round that something else disturbed is marked. Each
loader runs in the interpreter that is named for it, else in this one: DataLoader needs torch and torchvision
(`make build/torch/.set-up-in`), tf.data TensorFlow, Grain `pip install grain`. A loader that is not installed is left
out, in words. Unset PYTHONDONTWRITEBYTECODE, or Penstock's processes compile its sources each time.

The second form, which the first and `pytorch.py` start, prints three numbers: the seconds since this process began,
those since it has imported what it needs, and the processor time of all its processes until then. A script that trains
with PyTorch imports torch in any case.

All of them decode photos, cut a random part, resize it to 224 × 224 and mirror half of them; batches of 64.
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Images of a batch, and height and width of a sample.
BATCH, SIDE = 64, 224
_ROOT = Path(__file__).resolve().parent.parent
#: What must be installed for each loader.
_NEEDS = {"Penstock": "penstock", "DataLoader": "torchvision", "tf.data": "tensorflow", "Grain": "grain"}
#: Longest that a first batch may take (s).
_DEADLINE_S = 300
#: Exit status where a loader is not installed.
_MISSING = 3


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
    steps = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    dataset = datasets.ImageFolder(folder, transforms.Compose(steps))
    return data.DataLoader(dataset, BATCH, shuffle=True, num_workers=workers), began


def loader_of_penstock(folder: str, workers: int) -> tuple[Any, float]:
    """Return ours, and when everything was imported: with torch, its loader for PyTorch; else `penstock.images`."""
    if importlib.util.find_spec("torch"):
        importlib.import_module("torch")
        make = importlib.import_module("penstock.trainer.adapters.torch").DataLoader
        began = time.time()
        return make(folder, BATCH, shuffle=True, num_workers=workers, transform="imagenet-train"), began
    penstock = importlib.import_module("penstock")
    began = time.time()
    return penstock.images(folder, recipe="imagenet-train", batch_size=BATCH, workers=workers).train, began


def loader_of_tensorflow(folder: str, workers: int) -> tuple[Any, float]:
    """Return tf.data's loader, with `workers` threads, and when everything was imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = importlib.import_module("tensorflow")

    def load(path: Any) -> Any:  # noqa: ANN401 - a tensor
        content = tf.io.read_file(path)
        shape = tf.image.extract_jpeg_shape(content)
        whole = tf.zeros([1, 0, 4], tf.float32)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape, whole, area_range=(0.08, 1.0), use_image_if_no_bounding_boxes=True
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(content, window, channels=3)
        image = tf.cast(tf.image.resize(image, (SIDE, SIDE)), tf.uint8)
        return tf.image.random_flip_left_right(image)

    began = time.time()
    paths = [str(path) for path in sorted(Path(folder).glob("*/*.jpg"))]
    dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths))
    return dataset.map(load, num_parallel_calls=workers).batch(BATCH).prefetch(2), began


def load_by_pillow(path: str) -> Any:  # noqa: ANN401 - an array
    """Return one sample; Grain's processes import this."""
    np, image = importlib.import_module("numpy"), importlib.import_module("PIL.Image")
    rng = np.random.default_rng()
    with image.open(path) as opened:
        area = opened.width * opened.height * rng.uniform(0.08, 1.0)
        ratio = float(np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))))
        width, height = min(opened.width, (area * ratio) ** 0.5), min(opened.height, (area / ratio) ** 0.5)
        left, top = rng.uniform(0, opened.width - width), rng.uniform(0, opened.height - height)
        box = (left, top, left + width, top + height)
        made = opened.convert("RGB").resize((SIDE, SIDE), image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(made)
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels  # noqa: PLR2004 - half of them


def loader_of_grain(folder: str, workers: int) -> tuple[Any, float]:
    """Return Grain's loader, and when everything was imported."""
    grain = importlib.import_module("grain")
    importlib.import_module("PIL.Image")
    importlib.import_module("absl.flags").FLAGS.mark_as_parsed()  # as absl.app.run does
    began = time.time()
    paths = [str(path) for path in sorted(Path(folder).glob("*/*.jpg"))]
    samples = grain.MapDataset.source(paths).shuffle(seed=1).map(load_by_pillow)
    options = grain.multiprocessing.MultiprocessingOptions(num_workers=workers)
    return samples.batch(BATCH).to_iter_dataset().mp_prefetch(options), began


_LOADERS = {
    "DataLoader": loader_of_torch,
    "Penstock": loader_of_penstock,
    "tf.data": loader_of_tensorflow,
    "Grain": loader_of_grain,
}


def one(whose: str, folder: str, workers: int) -> int:
    """Print the numbers of one loader; return the exit status."""
    if importlib.util.find_spec(_NEEDS[whose]) is None:
        print(f"{whose} needs {_NEEDS[whose]}, which {sys.executable} does not have", file=sys.stderr)
        return _MISSING
    loader, began = _LOADERS[whose](folder, workers)
    next(iter(loader))
    now = time.time()
    me = importlib.import_module("psutil").Process()
    started, used = me.create_time(), 0.0
    for process in (me, *me.children(recursive=True)):
        with suppress(importlib.import_module("psutil").Error):  # it has left
            times = process.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    print(json.dumps([now - started, now - began, used]), flush=True)
    return 0


def measured(whose: str, python: str, folder: Path, workers: int) -> list[float] | None:
    """Return the numbers of a fresh process; None if the loader is not installed there."""
    command = [python, str(Path(__file__)), whose, str(folder), str(workers)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    if ran.returncode == _MISSING:
        print(ran.stderr.strip())
        return None
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)}: status {ran.returncode}\n{ran.stderr}")
    seconds: list[float] = json.loads(ran.stdout.splitlines()[-1])
    return seconds


def compare(given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure all loaders by turns; return a row for each number of workers and each loader."""
    measuring = importlib.import_module("measuring")
    pythons = dict(each.split("=", 1) for each in given.python)
    rows: list[dict[str, Any]] = []
    for workers in map(int, given.workers.split(",")):
        found: dict[str, list[list[float]]] = {name: [] for name in given.loaders.split(",")}
        disturbed = []
        for number in range(given.rounds + 1):  # the first fills the page cache and compiles
            others = measuring.Disturbance()
            for name in [*found]:
                seconds = measured(name, pythons.get(name, sys.executable), folder, workers)
                if seconds is None:
                    del found[name]
                elif number:
                    found[name].append(seconds)
            if number and others.share() > measuring.DISTURBED:
                disturbed.append(str(number))
        for name, rounds in found.items():
            row = {
                "workers": workers,
                "loader": name,
                "since the process began, s": rounds,
                "since the imports, s": rounds,
                "processor time, s": rounds,
            }
            row |= {key: statistics.median(each[place] for each in rounds) for place, key in enumerate([*row][2:])}
            rows.append(row | {"disturbed rounds": ", ".join(disturbed) or "none", "rounds": rounds})
    return rows


def main() -> int:
    """Measure one loader, or compare."""
    if len(sys.argv) == 4 and sys.argv[1] in _LOADERS:  # noqa: PLR2004 - its three arguments
        return one(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", default="2,16")
    parser.add_argument("--loaders", default=",".join(_LOADERS))
    parser.add_argument("--python", action="append", default=[], metavar="LOADER=PATH")
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("first_batch.json"))
    given = parser.parse_args()
    if unknown := {*given.loaders.split(","), *(each.split("=", 1)[0] for each in given.python)} - set(_LOADERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(_LOADERS)}")
    pytorch, engine = importlib.import_module("pytorch"), importlib.import_module("engine")
    with tempfile.TemporaryDirectory(prefix="pk-") as folder:
        pytorch.make_data(given.data / "cats-dogs", Path(folder))
        rows = compare(given, Path(folder) / "photos")
    engine.show("seconds to the first batch", rows)
    given.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
