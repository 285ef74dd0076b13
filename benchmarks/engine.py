"""What Penstock costs: the rate that reaches the trainer over the limit, and what its parts can carry.

    python benchmarks/engine.py [--rounds 5] [--seconds 4] [--parts pipeline,dispatch,throughput]
                                [--cases cats-dogs,arrays-lent] [--workers 1,2,4,8] [--by-hand] [--out engine.json]

The *limit* is a bare loop in as many processes, with nothing handed over: the stream's own kernel
(`worker.imaging.pipeline.Pipeline`), a loop by hand, or tf.data (`engine_cases.py`). Limit and pipeline take turns; a
ratio is of neighbours in time, and medians are printed, by the clock and by processor time. By the clock, an idle core
counts against the pipeline; by processor time, all of its processes count, the trainer's among them. Where other
programs ran, only the second says anything, and those rounds are named. A second table gives the processor time of a
sample by part, and the rate at which each part of which there is one would fill a core. With several numbers of
`--workers`, two tables more tell for each case how both change with them. `--by-hand` also hands the kernel's samples
over by a loop that does no more than that: what any delivery costs. `--data` is a folder with `cats-dogs/` and
`camera/`; default: ../shared/data next to the repository.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import dispatch
import engine_cases
import measuring
import throughput
from engine_cases import Case
from rich import box
from rich.console import Console
from rich.table import Table

_ROOT = Path(__file__).resolve().parent.parent
#: Parts of which a stack has one.
_ALONE = ("ventilator", "sink", "trainer")


def measure_pipeline(given: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure the chosen cases in alternating rounds, with each number of workers; return two tables."""
    with tempfile.TemporaryDirectory() as made:
        known = engine_cases.cases(given.data, Path(made))
        names = given.cases.split(",") if given.cases else list(known)
        if unknown := [name for name in names if name not in known]:
            raise SystemExit(f"--cases {','.join(unknown)}: no such case; there are {', '.join(known)}")
        found = [_measure(name, known[name], workers, given) for name in names for workers in given.workers]
    return [speed for speed, _ in found], [cost for _, cost in found]


def _measure(key: str, case: Case, workers: int, given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    pairs, shares, hands = [], [], []
    seconds, how = given.seconds, {"copy": case.copy, "normalizes": case.normalizes}
    processes, arguments = (1, (*case.given, workers)) if case.threads else (workers, case.given)
    for _ in range(given.rounds):
        others = measuring.Disturbance()
        bare = measuring.looped(case.loop, arguments, processes, seconds)
        ours = measuring.through_stack(case.spec, workers, seconds, **how)
        pairs.append((bare, ours))
        if given.by_hand and case.loop is engine_cases.kernel:
            hands.append((bare, measuring.by_hand(engine_cases.into, case.spec, workers, seconds, **how)))
        shares.append(others.share())
    median = statistics.median
    ratios = [ours.per_s / bare.per_s for bare, ours in pairs]
    spent = [bare.total_us / ours.total_us for bare, ours in pairs]
    name: dict[str, Any] = {"case": key, "workers": workers}
    by_hand = {
        "by hand, clock": median(hand.per_s / bare.per_s for bare, hand in hands) if hands else "",
        "by hand, processor": median(bare.total_us / hand.total_us for bare, hand in hands) if hands else "",
    }
    costs = {part: median(ours.cost_us.get(part, 0.0) for _, ours in pairs) for part in (*_ALONE, "workers")}
    full = {f"{part} fills a core": round(1e6 / max(costs[part], 1e-3)) for part in _ALONE}
    speed = {
        "what": case.title,
        "limit/s": median(bare.per_s for bare, _ in pairs),
        "pipeline/s": median(ours.per_s for _, ours in pairs),
        "by clock": median(ratios),
        "by processor": median(spent),
        **(by_hand if given.by_hand else {}),
        "aim": case.aim or "",
        "trainer waits": median(ours.waits for _, ours in pairs),
        "disturbed": measuring.disturbed(shares),
        "rounds": [
            vars_of(bare) | {f"ours_{key}": value for key, value in vars_of(ours).items()} for bare, ours in pairs
        ],
    }
    bare_us = median(bare.total_us for bare, _ in pairs)
    return name | speed, name | {"limit_us": bare_us} | {f"{part}_us": cost for part, cost in costs.items()} | full


def by_workers(
    speeds: list[dict[str, Any]], costs: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return tables with a column for each number of workers: the part of the limit, and what the single parts cost."""
    ratios: dict[str, dict[str, Any]] = {}
    for row in speeds:
        told = f"{row['by clock']:.2f} / {row['by processor']:.2f}{'' if row['disturbed'] == 'none' else ' *'}"
        ratios.setdefault(row["case"], {"case": row["case"]})[_named(row["workers"])] = told
    spent: dict[tuple[str, str], dict[str, Any]] = {}
    for row in costs:
        for part in _ALONE:
            named = {"case": row["case"], "part": part}
            spent.setdefault((row["case"], part), named)[_named(row["workers"])] = f"{row[f'{part}_us']:.3g}"
    return [*ratios.values()], [*spent.values()]


def _named(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


def vars_of(speed: measuring.Speed) -> dict[str, Any]:
    """Return a speed for the file."""
    return {"per_s": speed.per_s, "cost_us": dict(speed.cost_us), "waits": speed.waits}


def limit(spec: dict[str, Any], processes: int, seconds: float) -> float:
    """Return the samples a second of a stream's bare kernel in `processes` processes."""
    return measuring.looped(engine_cases.kernel, (engine_cases.in_workers(spec),), processes, seconds).per_s


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


def show(title: str, rows: list[dict[str, Any]], lines: box.Box = box.HEAVY_HEAD) -> None:
    """Print one part's table."""
    table = Table(title=title, box=lines)
    columns = [key for key in rows[0] if not isinstance(rows[0][key], list)]
    for column in columns:
        table.add_column(column, justify="left" if column in ("case", "what", "part") else "right")
    for row in rows:
        table.add_row(*(_number(row[key]) for key in columns))
    Console(width=150).print(table)


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:,.3f}"  # noqa: PLR2004 - four digits are enough
    return f"{value:,}" if isinstance(value, int) else str(value)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workers", default=str(len(os.sched_getaffinity(0))), help="numbers, such as 1,2,4,8")
    parser.add_argument("--parts", default="pipeline,dispatch,throughput")
    parser.add_argument("--cases", default="", help="cases of the pipeline, with commas between; default: all")
    parser.add_argument("--by-hand", action="store_true", help="also hand samples over by a loop by hand")
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("engine.json"))
    given = parser.parse_args()
    given.parts = given.parts.split(",")
    given.workers = [int(number) for number in given.workers.split(",")]
    if "pipeline" in given.parts and not given.data.is_dir():
        parser.error(f"--data {given.data}: no such folder; give one with cats-dogs/ and camera/")
    return given


def main() -> None:
    """Measure what was asked for, print tables, write JSON."""
    given = parse()
    report: dict[str, Any] = {"workers": given.workers, "python": platform.python_version()}
    report["cpu"] = platform.processor()
    if "pipeline" in given.parts:
        report["pipeline"], report["costs"] = measure_pipeline(given)
        show("samples/s that reach the trainer, over the limit", report["pipeline"])
        show("processor time of a sample (µs), and samples/s at which a part fills a core", report["costs"])
        if len(given.workers) > 1:
            report["ratios_by_workers"], report["costs_by_workers"] = by_workers(report["pipeline"], report["costs"])
            title = "of the limit of as many processes, by the clock / by processor time (*: rounds were disturbed)"
            show(title, report["ratios_by_workers"], box.MARKDOWN)
            show("processor time of a sample (µs) by the single parts", report["costs_by_workers"], box.MARKDOWN)
    if "dispatch" in given.parts:
        report["dispatch"] = measure_dispatch(given.rounds, given.seconds)
        show("tasks/s that the ventilator leases and has confirmed", report["dispatch"])
    if "throughput" in given.parts:
        report["throughput"] = measure_throughput(given.rounds, given.seconds)
        show("bytes/s through the sink, and through a bare pyzmq relay", report["throughput"])
    given.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
