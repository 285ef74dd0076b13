"""The parts of a report next to its table: other loaders on the same work, and what a sample costs in each part."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import pyplot as plt

from penstock.bench.plots import COLORS, STYLE, save
from penstock.bench.results import LOADERS, Candidate, Results, Run
from penstock.protocol.runtime.cores import usable_cores

#: Width of the longest bar in a terminal (characters).
_BAR = 40
#: The parts of a stack, in the order of a sample's way back from the trainer.
_PARTS = ("ventilator", "workers", "sink", "trainer")
#: Below this many processor seconds of a part (s), its cost is not known: the kernel counts in hundredths.
_LEAST_S = 0.05


def timed(run: Run) -> list[dict[str, float]]:
    """Return the samples of the time in which batches were timed; the last one if that was too short for any."""
    return [row for row in run.usage if is_timed(run, row)] or run.usage[-1:]


def is_timed(run: Run, row: Mapping[str, float]) -> bool:
    """Return whether batches were timed when a sample was taken."""
    return run.began_s < row["time_s"] <= run.ended_s


def cores_used(run: Run) -> float:
    """Return the mean processor seconds a second of all its processes while batches were timed."""
    rows = timed(run)
    return sum(value for row in rows for name, value in row.items() if name.endswith("_cores")) / max(1, len(rows))


def compared(results: Results) -> list[Candidate]:
    """Return the candidates to compare if other loaders ran: those of them that have runs."""
    found = [each for each in results.candidates if results.of(each)]
    return found if any(each.library in LOADERS for each in found) else []


def rate(results: Results, candidate: Candidate) -> float:
    """Return the median samples a second."""
    return statistics.median(run.samples_per_s for run in results.of(candidate))


def ratio(results: Results, other: Candidate) -> float | None:
    """Return how many times as fast ours was with as many workers, in the same rounds; None if it was not run."""
    ours = {run.round: run.samples_per_s for run in results.of(Candidate("penstock", other.workers))}
    ratios = [ours[run.round] / run.samples_per_s for run in results.of(other) if run.round in ours]
    return statistics.median(ratios) if ratios else None


def spent(results: Results, candidate: Candidate) -> str:
    """Return the median processor time of a sample (µs) in all of a candidate's processes; nothing without runs."""
    found = [1e6 * cores_used(run) / run.samples_per_s for run in results.of(candidate) if run.samples]
    return f"{statistics.median(found):,.0f}" if found else ""


def comparison_chart(results: Results) -> list[str]:
    """Return bars of all loaders for a terminal; nothing if no other loader ran."""
    candidates = compared(results)
    if not candidates:
        return []
    most = max(rate(results, each) for each in candidates)
    wide = max(len(_name(each)) for each in candidates)
    lines = ["", "samples/s, the median of the rounds"]
    for each in candidates:
        bar = "█" * max(1, round(_BAR * rate(results, each) / most))
        against = ratio(results, each) if each.library in LOADERS else None
        words = f"  Penstock: {against:.2f} ×" if against is not None else ""
        lines.append(f"  {_name(each):<{wide}} {bar:<{_BAR}} {rate(results, each):>11,.0f}{words}")
    return [*lines, ""]


def comparison_table(results: Results) -> list[str]:
    """Return the report's part on other loaders; nothing if none ran."""
    others = [each for each in compared(results) if each.library in LOADERS]
    if not others:
        return []
    lines = [
        "## Against other loaders",
        "",
        "All of them make the same pixels, by Penstock's own kernel. PyTorch's DataLoader calls it once an item, in as",
        "many processes, and collects tensors; tf.data calls it in as many threads of one Python process, which share",
        "its interpreter. With operations of their own, either may be faster or slower, and the pixels would differ.",
        "Neither sets bad items apart, or goes on exactly where it stopped. Ratios are of the same round. The last",
        "two columns are the processor time of a sample in all processes together, theirs and ours: where other",
        "programs ran meanwhile, these say more than the clock.",
        "",
        "| | samples/s | Penstock with as many workers | µs a sample | Penstock's |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for each in others:
        ours = Candidate("penstock", each.workers)
        against = ratio(results, each)
        cells = [f"{rate(results, each):,.0f}", f"{against:.2f} ×" if against else "", spent(results, each)]
        lines.append("| " + " | ".join([str(each), *cells, spent(results, ours)]) + " |")
    return [*lines, ""]


def cost_table(results: Results) -> list[str]:
    """Return the processor time of a sample by part; nothing without a run that had workers."""
    found = [(each, costs(results.of(each))) for each in results.candidates if each.library == "penstock"]
    rows = [(each, cost) for each, cost in found if each.workers and cost]
    if not rows:
        return []
    lines = [
        "## Processor time of a sample",
        "",
        "In µs, by part. Ventilator, sink and trainer are one process each: *full at* is the rate at which the",
        "costliest of them fills a core, however many workers there are. *At most* is what all the costs allow on the",
        f"{len(usable_cores())} cores of this machine: the least of workers ÷ *workers*, 1 ÷ each of the others, and",
        "cores ÷ the sum. In a disturbed run, less is measured.",
        "",
        "| | " + " | ".join(_PARTS) + " | full at, samples/s | at most | measured |",
        "| --- |" + " ---: |" * (len(_PARTS) + 3),
    ]
    for each, cost in rows:
        alone = max((cost.get(part, 0.0) for part in _PARTS if part != "workers"), default=0.0)
        cells = [f"{cost[part]:.1f}" if part in cost else "too little to count" for part in _PARTS]
        full = f"{1e6 / alone:,.0f}" if alone else ""
        most = f"{bound(cost, each.workers, len(usable_cores())):,.0f}"
        lines.append("| " + " | ".join([str(each), *cells, full, most, f"{rate(results, each):,.0f}"]) + " |")
    return [*lines, ""]


def bound(cost: Mapping[str, float], workers: int, cores: int) -> float:
    """Return the most samples a second that costs (µs) allow; docs/benchmarks.md gives the formula."""
    alone = [1e6 / us for part, us in cost.items() if part != "workers" and us]
    among = [workers * 1e6 / us for part, us in cost.items() if part == "workers" and us]
    return min([*alone, *among, cores * 1e6 / max(sum(cost.values()), 1e-9)])


def costs(runs: Sequence[Run]) -> dict[str, float]:
    """Return the processor time of a sample (µs) by part, over all runs; parts that hardly ran are left out."""
    samples = sum(run.samples for run in runs)
    spent: dict[str, float] = {}
    for run in runs:
        rows = timed(run)
        for part in _PARTS:
            mean = sum(row.get(f"{part}_cores", 0.0) for row in rows) / max(1, len(rows))
            spent[part] = spent.get(part, 0.0) + mean * run.duration_s
    return {part: seconds / samples * 1e6 for part, seconds in spent.items() if samples and seconds >= _LEAST_S}


def draw_comparison(results: Results, path: Path) -> None:
    """Draw each loader's rate over its number of workers."""
    colors = dict(zip(("penstock", *LOADERS), COLORS, strict=False))
    marks = dict(zip(("penstock", *LOADERS), "os^", strict=False))
    candidates = compared(results)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
        for library in dict.fromkeys(each.library for each in candidates):
            mine = [each for each in candidates if each.library == library]
            dots = [(each.workers, run.samples_per_s) for each in mine for run in results.of(each)]
            axes.plot(*zip(*dots, strict=True), marks[library], color=colors[library], alpha=0.35, markersize=5)
            medians = [(each.workers, rate(results, each)) for each in mine]
            axes.plot(*zip(*medians, strict=True), f"{marks[library]}-", color=colors[library], label=_title(library))
        axes.set_xticks(sorted({each.workers for each in candidates}))
        axes.set(xlabel="worker processes, or threads of tf.data (0: in the trainer's process)", ylabel="samples/s")
        axes.set_title(results.title)
        axes.set_ylim(bottom=0)
        axes.legend()
        save(figure, path)


def _title(library: str) -> str:
    return LOADERS[library].title if library in LOADERS else "Penstock"


def _name(candidate: Candidate) -> str:
    return str(candidate) if candidate.library in LOADERS else f"Penstock, {candidate}"
