"""What a recorded stream saves: reading it, compared with decoding the JPEGs again and with a sequential h5py read.

    python benchmarks/hdf5.py [--rounds 5] [--seconds 5] [--parts reading,writing] [--cold] [--out hdf5.json]

The files are written from one stream by `penstock write`. Both sides of a ratio take turns within one run; medians are
printed. *Decoding* is the workers' own kernel in one process a core; *sequential* is `data[i : i + batch]` of images
and labels from the first to the last. The feed gives shuffled batches to a program that does nothing with them. The
first epoch of a feed is not timed: it makes the buffers that all others use. `--data` is a folder with `cats-dogs/`;
default: ../shared/data next to the repository, or generated JPEGs where there is none.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import engine
import h5py
import hdf5_writing

from penstock.demo.images import make_samples
from penstock.trainer import Hdf5Feed

_ROOT = Path(__file__).resolve().parent.parent
#: Samples in a batch, and epochs that are written: 4,000 samples of 150×150 are 270 MB.
BATCH, EPOCHS = 64, 4
#: How the files are stored: options of `penstock write`.
STORED = {
    "uncompressed": (),
    "uncompressed, in shards": ("--shard-size", "1000"),
    "lzf": ("--compression", "lzf"),
    "zstd": ("--compression", "zstd"),
}


def make_spec(data: Path, made: Path) -> dict[str, Any]:
    """Return the stream that is written and decoded: one sample an image, as the benchmark of the whole pipeline."""
    path = "cats-dogs"
    if not (data / path).is_dir():
        data, path = made, "train"
        for _ in make_samples(made, train=250, held_out=0):
            pass
    return {
        "seed": 1,
        "roots": {"data": str(data)},
        "streams": {
            "train": {
                "source": {"kind": "directory", "root": "data", "path": path},
                "transform": {"resize": {"height": 150, "width": 150, "filter": "area"}},
                "batch_size": BATCH,
            }
        },
    }


def write(spec: dict[str, Any], folder: Path, name: str, options: Sequence[str]) -> Path:
    """Return a file written from the stream."""
    (folder / "spec.json").write_text(json.dumps(spec))
    target = folder / f"{name}.h5"
    command = [sys.executable, "-P", "-m", "penstock", "write", str(folder / "spec.json"), "-o", str(target)]
    done = subprocess.run([*command, "--epochs", str(EPOCHS), *options], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return target


def through_feed(feed: Hdf5Feed) -> Callable[[], float]:
    """Return what measures the samples a second of an epoch of shuffled batches."""

    def measure() -> float:
        began, samples = time.perf_counter(), 0
        for batch in feed:
            samples += len(batch["image"])
        return samples / (time.perf_counter() - began)

    return measure


def sequential(path: Path) -> Callable[[], float]:
    """Return what measures the samples a second of h5py reading the same fields from the first to the last."""

    def measure() -> float:
        with h5py.File(path, "r") as file:
            images: Any = file["image"]
            labels: Any = file["label"]
            began = time.perf_counter()
            for start in range(0, len(images), BATCH):
                labels[start : start + BATCH]
                images[start : start + BATCH]
            return len(images) / (time.perf_counter() - began)

    return measure


def forget(folder: Path) -> None:
    """Drop the files below a folder from the page cache."""
    for path in folder.glob("*.h5"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure_reading(data: Path, rounds: int, seconds: float, *, cold: bool) -> list[dict[str, Any]]:
    """Measure every way of storing, decoding in between."""
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        spec = make_spec(data, folder)

        def decode() -> float:
            return engine.limit(spec, len(os.sched_getaffinity(0)), seconds)

        def before() -> None:
            if cold:
                forget(folder)

        for name, options in STORED.items():
            path = write(spec, folder, "set", options)
            with Hdf5Feed(path, fields=("image", "label")) as feed:
                list(feed)
                sides = (("feed", through_feed(feed)), ("sequential", sequential(path)))
                rows.append({"case": name} | _measure(sides, decode, rounds, seconds, before))
            for each in folder.glob("set*.h5"):
                each.unlink()
    return rows


def _measure(
    sides: Sequence[tuple[str, Callable[[], float]]],
    decode: Callable[[], float],
    rounds: int,
    seconds: float,
    before: Callable[[], None],
) -> dict[str, Any]:
    """Return the medians of one case; passes of either side are repeated for `seconds` a round, `before` each."""
    found: dict[str, list[float]] = {"feed": [], "sequential": [], "decoding": []}
    for number in range(rounds):
        passes: dict[str, list[float]] = {"feed": [], "sequential": []}
        stop = time.perf_counter() + 2 * seconds
        while time.perf_counter() < stop:
            for side, measure in sides if number % 2 else sides[::-1]:
                before()
                passes[side].append(measure())
        for side, rates in passes.items():
            found[side].append(statistics.median(rates))
        found["decoding"].append(decode())
    to_plain, to_decoding = (
        [one / other for one, other in zip(found["feed"], found[side], strict=True)]
        for side in ("sequential", "decoding")
    )
    return {
        "feed_per_s": statistics.median(found["feed"]),
        "sequential_per_s": statistics.median(found["sequential"]),
        "decoding_per_s": statistics.median(found["decoding"]),
        "over_sequential": statistics.median(to_plain),
        "over_decoding": statistics.median(to_decoding),
        "ratios": [to_plain, to_decoding],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--parts", default="reading,writing")
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--cold", action="store_true", help="drop the files from the page cache before each pass")
    parser.add_argument("--out", type=Path, default=Path("hdf5.json"))
    given = parser.parse_args(arguments)
    report: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "cold": given.cold}
    if "reading" in given.parts.split(","):
        report["reading"] = measure_reading(given.data, given.rounds, given.seconds, cold=given.cold)
        engine.show("samples/s read back in shuffled batches", report["reading"])
    if "writing" in given.parts.split(","):
        with tempfile.TemporaryDirectory() as made:
            spec = make_spec(given.data, Path(made))
            report["writing"] = hdf5_writing.measure_writing(spec, given.rounds, given.seconds)
        engine.show("samples/s with a trainer, a file, both", report["writing"])
    given.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
