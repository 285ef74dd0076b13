"""What Penstock costs: the rate that reaches the trainer over the limit, and what its parts can carry.

    python benchmarks/engine.py [--rounds 3] [--seconds 8] [--parts pipeline,dispatch,throughput] [--out engine.json]

The *limit* is the same kernel (`worker.pipeline.Pipeline`) looping in one process a core with nothing handed over.
Limit and pipeline take turns within one run; a ratio is of neighbours in time, and medians are printed. `--data` is a
folder with `cats-dogs/` and `camera/`; default: ../shared/data next to the repository.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dispatch
import numpy as np
import throughput
from rich.console import Console
from rich.table import Table

import penstock
from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.spec import parse_spec
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.pipeline import Pipeline

_ROOT = Path(__file__).resolve().parent.parent
#: Images of the case in memory.
_ARRAYS = 50_000
#: What is done to them, in the words of Keras's ImageDataGenerator.
_CHANGES = {
    "rotation_range": 20.0,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "zoom_range": 0.2,
    "channel_shift_range": 20.0,
    "horizontal_flip": True,
}
#: Seconds of work before a measurement begins.
_WARM_S = 2.0


def cases(data: Path, made: Path) -> dict[str, dict[str, Any]]:
    """Return the specs to measure, by name; what must be made for them is written below `made`."""

    def spec(root: Path, **stream: Any) -> dict[str, Any]:  # noqa: ANN401 - a stream's fields
        stream["source"] = {"root": "data", **stream["source"]}
        return {"seed": 1, "roots": {"data": str(root)}, "streams": {"train": stream}}

    def small(where: str) -> dict[str, Any]:
        return spec(
            made,
            source={"kind": "arrays", "images": arrays.name},
            transform={
                "resize": {"height": 32, "width": 32},  # as they are
                "augment": _CHANGES,
                "normalize": {"rescale": 1 / 255, "where": where},
            },
            batch_size=32,
        )

    arrays = made / "arrays.npy"
    if not arrays.exists():
        np.save(arrays, np.random.default_rng(1).integers(0, 256, (_ARRAYS, 32, 32, 3), np.uint8))
    return {
        "cats-dogs, 150×150, 1 sample an image": spec(
            data,
            source={"kind": "directory", "path": "cats-dogs"},
            transform={"resize": {"height": 150, "width": 150, "filter": "area"}},
            batch_size=64,
        ),
        "camera photos, 10 patches of 224×224": spec(
            data,
            source={"kind": "directory", "classes": ["camera"]},
            transform={"patch": {"kind": "random", "height": 224, "width": 224}},
            patches=10,
            batch_size=40,
        ),
        "32×32 arrays to float32, batches of 32, by the trainer": small("trainer"),
        "32×32 arrays to float32, batches of 32, by workers": small("worker"),
    }


def in_workers(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec with nothing left to the trainer: what the kernel must do for the same batches."""
    stream = spec["streams"]["train"]
    transform = stream["transform"]
    if "normalize" not in transform:
        return spec
    transform = transform | {"normalize": transform["normalize"] | {"where": "worker"}}
    return spec | {"streams": {"train": stream | {"transform": transform}}}


def _loop(spec: dict[str, Any], seconds: float, first: int, ready: Any, results: Any) -> None:  # noqa: ANN401 - multiprocessing's
    parsed = parse_spec(in_workers(spec))
    book = Catalog.open(parsed, parsed.roots)
    [plan] = book.plans
    pipeline = Pipeline(plan, parsed.roots)
    ordinal, samples, began = first * plan.geometry.tasks_per_epoch, 0, 0.0
    stop = time.perf_counter() + 2.0 + _WARM_S + seconds
    ready.wait(60)
    start = time.perf_counter()
    while True:
        outcome = pipeline.run(book.task(TaskKey(stream="train", ordinal=ordinal), 0))
        ordinal += 1
        now = time.perf_counter()
        if began:
            samples += len(outcome.arrays[0])
        elif now - start > _WARM_S:
            began, samples = now, 0
        if (began and now - began > seconds) or now > stop + 60:
            break
    results.put(samples / (now - began))


def limit(spec: dict[str, Any], processes: int, seconds: float) -> float:
    """Return the samples a second of the bare kernel in `processes` processes."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(processes), context.Queue()
    children = [context.Process(target=_loop, args=(spec, seconds, n, ready, results)) for n in range(processes)]
    for child in children:
        child.start()
    rates: list[float] = [results.get(timeout=120) for _ in children]
    for child in children:
        child.join()
    return sum(rates)


def pipeline(spec: dict[str, Any], workers: int, seconds: float) -> tuple[float, float]:
    """Return the samples a second that reach a trainer that does nothing, and the fraction of time that it waits."""
    with penstock.local(spec, workers=workers) as stack, stack.feed("train") as feed:
        finish: Callable[[Any], Any] = feed.normalizer() if spec != in_workers(spec) else len
        began, samples, waited = 0.0, 0, 0.0
        start = time.perf_counter()
        while True:
            for batch in feed:
                now = time.perf_counter()
                if began:
                    finish(batch["image"])
                    samples += len(batch["image"])
                elif now - start > _WARM_S and feed.stats.batches:
                    began, waited = now, feed.stats.wait_s
                if began and now - began > seconds:
                    return samples / (now - began), (feed.stats.wait_s - waited) / (now - began)


def measure_pipeline(data: Path, workers: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure every case in alternating rounds."""
    with tempfile.TemporaryDirectory() as made:
        specs = cases(data, Path(made))
        return [_measure(name, spec, workers, rounds, seconds) for name, spec in specs.items()]


def _measure(name: str, spec: dict[str, Any], workers: int, rounds: int, seconds: float) -> dict[str, Any]:
    pairs = [(limit(spec, workers, seconds), *pipeline(spec, workers, seconds)) for _ in range(rounds)]
    ratios = [through / bare for bare, through, _ in pairs]
    return {
        "case": name,
        "limit_per_s": statistics.median(bare for bare, _, _ in pairs),
        "pipeline_per_s": statistics.median(through for _, through, _ in pairs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "trainer_waits": statistics.median(waits for _, _, waits in pairs),
    }


def measure_dispatch(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure the ventilator with few and with many workers."""
    rows = []
    for workers, slots in ((2, 64), (200, 4)):
        rates = [dispatch.measure(workers, slots, seconds) for _ in range(rounds)]
        rows.append(
            {"case": f"{workers} workers × {slots} slots", "tasks_per_s": statistics.median(rates), "all": rates}
        )
    return rows


def measure_throughput(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure the sink and a bare relay, in alternating rounds."""
    rows = []
    for transport in ("ipc", "tcp"):
        for workers in (2, 200):
            pairs = [
                (throughput.bare_relay(transport, seconds), throughput.through_sink(transport, workers, seconds))
                for _ in range(rounds)
            ]
            rows.append(
                {
                    "case": f"{transport}, {workers} workers",
                    "bare_relay_gb_per_s": statistics.median(bare for bare, _ in pairs) / 1e9,
                    "sink_gb_per_s": statistics.median(through for _, through in pairs) / 1e9,
                    "ratio": statistics.median(through / bare for bare, through in pairs),
                }
            )
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print one part's table."""
    table = Table(title=title)
    columns = [key for key in rows[0] if not isinstance(rows[0][key], list)]
    for column in columns:
        table.add_column(column, justify="left" if column == "case" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(f"{row[key]:,.3f}" if isinstance(row[key], float) else str(row[key]) for key in columns))
    Console(width=120).print(table)


def main() -> None:
    """Measure what was asked for, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--parts", default="pipeline,dispatch,throughput")
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("engine.json"))
    given = parser.parse_args()
    parts = given.parts.split(",")
    if "pipeline" in parts and not given.data.is_dir():
        parser.error(f"--data {given.data}: no such folder; give one with cats-dogs/ and camera/")
    report: dict[str, Any] = {"cores": given.workers, "python": platform.python_version(), "cpu": platform.processor()}
    if "pipeline" in parts:
        report["pipeline"] = measure_pipeline(given.data, given.workers, given.rounds, given.seconds)
        show("samples/s that reach the trainer, over the kernel's own limit", report["pipeline"])
    if "dispatch" in parts:
        report["dispatch"] = measure_dispatch(given.rounds, given.seconds)
        show("tasks/s that the ventilator leases and has confirmed", report["dispatch"])
    if "throughput" in parts:
        report["throughput"] = measure_throughput(given.rounds, given.seconds)
        show("bytes/s through the sink, and through a bare pyzmq relay", report["throughput"])
    given.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
