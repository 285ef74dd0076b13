"""What the cache of decoded images saves: the kernel's rate without it, while it fills, and in later epochs.

    python benchmarks/cache.py [--rounds 5] [--out cache.json] [--folder /dev/shm] [--only imagenet]

One process runs `worker.imaging.pipeline.Pipeline` over all items of a case: an epoch without a cache, an epoch that
fills an empty one, and the epoch after that; the three take turns, and medians are printed. Clock and processor time
are both shown: on a machine that is not quiet, only the second says anything. Of the later epoch, `rest` is what
follows once the images are there (crops, resizing, augmentation): no cache of whole images can save that, so "at most"
is how many times faster a later epoch could ever be. Rounds in which other programs took much of the processors are
named as disturbed; their clock figures say nothing. `write` is what one call takes that writes as many bytes as an
image has into a new file in the cache's folder: keeping them costs that much more ("at least") unless something else
is saved, as with JPEGs whose planes are kept, or images are written together. It depends on the file system and on the
kernel. A first round is not counted: in a virtual machine, memory costs several times as much when it is touched for
the first time, whatever touches it. `--data` is a folder with `cats-dogs/` and `camera/`; default: ../shared/data next
to the repository. The files are read once before the first round.
"""

import argparse
import io
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from penstock.protocol.plan import StreamPlan
from penstock.protocol.records import TaskKey
from penstock.protocol.runtime.service import keep_freed_memory
from penstock.protocol.spec.spec import Spec, parse_spec
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.cache.images import Cache, CacheCounts
from penstock.worker.imaging.cache.store import Store
from penstock.worker.imaging.pipeline import Pipeline

_ROOT = Path(__file__).resolve().parent.parent
#: How often each of the few camera photos lies in a folder: an epoch of 14 would measure how a pipeline begins.
_COPIES = 8
#: Photos of 500 × 400 that are made of the others, as ImageNet has them.
_PHOTOS, _WIDTH, _HEIGHT = 400, 500, 400
_LIMIT_BYTES = 8_000_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """A stream to measure."""

    name: str
    spec: Spec


def cases(data: Path, made: Path) -> list[Case]:
    """Return what to measure; photos of ImageNet's size are written below `made`."""

    def case(name: str, root: Path, path: str, **stream: Any) -> Case:  # noqa: ANN401 - a stream's fields
        where = {"classes": ["camera"]} if path == "camera" else {"path": path}
        source = {"kind": "directory", "root": "data", **where}
        stream = {"source": source, "cache": {"gb": _LIMIT_BYTES / 1e9}} | stream
        return Case(name, parse_spec({"seed": 1, "roots": {"data": str(root)}, "streams": {"train": stream}}))

    _make_photos(data / "cats-dogs", made / "photos")
    _copy_photos(data / "camera", made / "camera")
    resized = {"height": 150, "width": 150, "filter": "area"}
    changes = {"rotation_range": 20.0, "zoom_range": 0.2, "horizontal_flip": True}
    centre = {"patch": {"kind": "center", "height": 224, "width": 224}}
    return [
        case("cats-dogs to 150×150", data, "cats-dogs", transform={"resize": resized}),
        case("cats-dogs to 150×150, augmented", data, "cats-dogs", transform={"resize": resized, "augment": changes}),
        case("imagenet-train from 500×400", made, "photos", transform={"recipe": "imagenet-train"}),
        case("camera photos, centre 224×224", made, "camera", transform=centre),
    ]


def _make_photos(source: Path, folder: Path) -> None:
    (folder / "all").mkdir(parents=True)
    for number, path in enumerate(sorted(source.glob("*/*.jpg"))[:_PHOTOS]):
        with Image.open(path) as image:
            out = io.BytesIO()
            image.convert("RGB").resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        (folder / "all" / f"{number:04}.jpg").write_bytes(out.getvalue())


def _copy_photos(source: Path, folder: Path) -> None:
    folder.mkdir()
    for path in source.glob("*.jpg"):
        for number in range(_COPIES):
            shutil.copyfile(path, folder / f"{number} {path.name}")


Times = tuple[float, float]


def epoch(plan: StreamPlan, catalog: Catalog, pipeline: Pipeline, number: int) -> tuple[Times, Times]:
    """Make an epoch's samples; return milliseconds a sample, by the clock and by the processor, in all and for `make`.

    Reading comes before making: what a file or the cache gives costs nothing in `make`.
    """
    tasks, samples, rest = plan.geometry.tasks_per_epoch, 0, np.zeros(2)
    began = _now()
    for ordinal in range(number * tasks, (number + 1) * tasks):
        task = catalog.task(TaskKey(stream="train", ordinal=ordinal), 0)
        loaded = pipeline.read(task)
        read = _now()
        samples += len(pipeline.make(task, loaded).arrays[0])
        rest += _now() - read
    clock, processor = (_now() - began) * 1e3 / samples
    return (clock, processor), (rest[0] * 1e3 / samples, rest[1] * 1e3 / samples)


def _now() -> npt.NDArray[np.float64]:
    return np.array([time.perf_counter(), time.process_time()])


def measure(case: Case, rounds: int, folder: Path) -> dict[str, Any]:
    """Measure a case in alternating rounds, after one that is not counted."""
    catalog = Catalog.open(case.spec, case.spec.roots)
    [plan] = catalog.plans
    epoch(plan, catalog, Pipeline(plan, case.spec.roots), 0)
    found: dict[str, list[Times]] = {"without": [], "filling": [], "later": [], "rest": [], "write": []}
    hits = held = 0
    shares = []
    for turn in range(rounds + 1):
        others = measuring.Disturbance()
        place = Path(tempfile.mkdtemp(prefix="penstock-cache-", dir=folder))
        try:
            cache = Cache(Store(str(place), _LIMIT_BYTES), CacheCounts(), settled_s=-1e9)
            cached = Pipeline(plan, case.spec.roots, cache=cache)
            plain = Pipeline(plan, case.spec.roots)  # as new as the other: both touch their memory for the first time
            without, _ = epoch(plan, catalog, plain, 2 * turn)
            filling, _ = epoch(plan, catalog, cached, 2 * turn)
            later, rest = epoch(plan, catalog, cached, 2 * turn + 1)
            write = bare_write(place, plan.items, cache.counts.written_bytes // plan.items)
            hits = cache.counts.hits
            held = cache.store.used_bytes()
            cache.store.close()
        finally:
            shutil.rmtree(place)
        if turn:
            shares.append(others.share())
            for part, taken in zip(found.values(), (without, filling, later, rest, write), strict=True):
                part.append(taken)
    return _row(case.name, plan.items, found, hits, held) | {"disturbed": measuring.disturbed(shares)}


def bare_write(folder: Path, images: int, size: int) -> Times:
    """Write that many images of `size` bytes to a new file; return milliseconds an image, as `epoch` does."""
    content = np.random.default_rng(0).integers(0, 256, max(size, 1), np.uint8)
    with (folder / "bare").open("wb", buffering=0) as file:
        began = _now()
        for number in range(images):
            os.pwrite(file.fileno(), content.data, number * size)
        clock, processor = (_now() - began) * 1e3 / images
    return clock, processor


def _row(name: str, items: int, found: dict[str, list[Times]], hits: int, held: int) -> dict[str, Any]:
    row: dict[str, Any] = {"case": name, "items": items, "hits": hits, "held_mb": held / 1e6}
    for place, kind in enumerate(("clock", "cpu")):
        taken = {part: [each[place] for each in times] for part, times in found.items()}
        row |= {f"{part}_{kind}_ms": statistics.median(times) for part, times in taken.items()}
        filling = [one / other for one, other in zip(taken["filling"], taken["without"], strict=True)]
        later = [one / other for one, other in zip(taken["without"], taken["later"], strict=True)]
        row |= {f"filling_{kind}_ratio": statistics.median(filling), f"later_{kind}_speedup": statistics.median(later)}
        row |= {f"least_{kind}_ratio": 1.0 + row[f"write_{kind}_ms"] / row[f"without_{kind}_ms"]}
        row |= {f"most_{kind}_speedup": row[f"without_{kind}_ms"] / row[f"rest_{kind}_ms"]}
        row |= {f"filling_{kind}_ratios": filling, f"later_{kind}_speedups": later}
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table for the clock, and one for processor time."""
    for kind in ("clock", "cpu"):
        table = Table(title=f"milliseconds a sample in one process, {kind}")
        for column in (
            "case",
            "without",
            "filling",
            "later",
            "rest",
            "write",
            "filling / without",
            "at least",
            "without / later",
            "at most",
            "disturbed",
        ):
            table.add_column(column, justify="left" if column == "case" else "right")
        for row in rows:
            keys = [f"{part}_{kind}_ms" for part in ("without", "filling", "later", "rest", "write")]
            ratios = [f"{row[f'{name}_{kind}_ratio']:.3f}" for name in ("filling", "least")]
            ratios += [f"{row[f'{name}_{kind}_speedup']:.1f}" for name in ("later", "most")]
            table.add_row(row["case"], *(f"{row[key]:.3f}" for key in keys), *ratios, row["disturbed"])
        Console(width=150).print(table)


def main() -> None:
    """Measure all cases, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the cache lies")
    parser.add_argument("--only", default="", help="measure the cases whose names hold this")
    parser.add_argument("--out", type=Path, default=Path("cache.json"))
    given = parser.parse_args()
    if not given.data.is_dir():
        parser.error(f"--data {given.data}: no such folder; give one with cats-dogs/ and camera/")
    keep_freed_memory()  # as a worker does: else the kernel clears the pages of each image anew
    with tempfile.TemporaryDirectory() as made:
        chosen = [case for case in cases(given.data, Path(made)) if given.only in case.name]
        rows = [measure(case, given.rounds, given.folder) for case in chosen]
    show(rows)
    report = {"python": platform.python_version(), "cpu": platform.processor(), "cases": rows}
    given.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
