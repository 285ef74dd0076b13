"""The pictures of a benchmark: durations, speed-ups, and the use of processors and GPUs.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; marks and dashes differ as well.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import patheffects
from matplotlib import pyplot as plt

from penstock.bench.amdahl import Amdahl
from penstock.bench.results import Candidate, Results, Run

_BLUE, _ORANGE, _GREEN, _VERMILION, _YELLOW, _PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#F0E442", "#CC79A7"
_DPI = 110
_WORKERS = "worker processes (0: in the trainer's process)"
#: Parts of a run, from the bottom of a stack of areas up.
_PARTS = {"trainer": _VERMILION, "workers": _BLUE, "sink": _GREEN, "ventilator": _PINK, "other": _ORANGE}
#: Width that a label of the legend takes (inches); a figure of one round has room for a few in a row.
_LABEL_INCHES = 1.3
#: Rounds that are drawn in one picture of utilisation.
MOST_ROUNDS = 3
#: Colours for lines that are compared.
COLORS = (_BLUE, _VERMILION, _GREEN)
#: How all pictures look.
STYLE: Any = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#DDDDDD",
    "font.size": 10,
    "legend.frameon": False,
}


def draw_durations(results: Results, path: Path) -> None:
    """Draw every run's duration over its number of processes, and Keras's for comparison."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
        ours = [each for each in results.candidates if each.library == "penstock" and results.of(each)]
        dots = [(each.workers, run.duration_s) for each in ours for run in results.of(each)]
        if dots:
            axes.plot(*zip(*dots, strict=True), "o", color=_BLUE, alpha=0.35, markersize=5, label="each run")
            medians = [(each.workers, results.median_s(each)) for each in ours]
            axes.plot(*zip(*medians, strict=True), "o-", color=_BLUE, label="Penstock, median")
            axes.set_xticks([each.workers for each in ours])
        keras = Candidate("keras", 0)
        if (median := results.median_s(keras)) is not None:
            axes.axhline(median, color=_VERMILION, linestyle="--", label="Keras, median")
            for run in results.of(keras):
                axes.axhline(run.duration_s, color=_VERMILION, alpha=0.25, linewidth=0.8)
        axes.set(xlabel=_WORKERS, ylabel="duration (s)", title=results.title)
        axes.set_ylim(bottom=0)
        axes.legend()
        save(figure, path)


def draw_speed_ups(
    title: str, points: Sequence[tuple[Candidate, float]], law: Amdahl | None, cores: int, path: Path
) -> None:
    """Draw the speed-ups over one worker, the ideal line and the fitted law."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
        ours = [(each.workers, gain) for each, gain in points if each.library == "penstock"]
        most = max([cores, *(workers for workers, _ in ours)])
        steps = [1 + (most - 1) * n / 200 for n in range(201)]
        axes.plot(steps, [min(n, cores) for n in steps], "--", color="#666666", label=f"ideal, {cores} cores")
        if law is not None:
            fitted = [law.speed_up(min(n, cores)) for n in steps]
            axes.plot(steps, fitted, color=_ORANGE, label=law_label(law))
        if ours:
            axes.plot(*zip(*ours, strict=True), "o", color=_BLUE, alpha=0.6, label="Penstock, each round")
        keras = [gain for each, gain in points if each.library == "keras"]
        if keras:
            axes.plot([0] * len(keras), keras, "s", color=_VERMILION, alpha=0.6, label="Keras, in its process")
        axes.axvline(cores, color="#999999", linestyle=":", linewidth=1)
        axes.set_xticks(sorted({workers for workers, _ in ours} | ({0} if keras else set())))
        axes.set(xlabel=_WORKERS, ylabel="speed-up over one worker", title=title)
        axes.set_ylim(bottom=0)
        axes.legend()
        save(figure, path)


def law_label(law: Amdahl) -> str:
    """Return the legend's text for a fitted law."""
    error = "" if math.isnan(law.error) else f" ± {law.error:.2f}"
    slower = " (more workers were slower)" if law.parallel < 0.0 else ""
    return f"Amdahl, parallel fraction {law.parallel:.2f}{error}{slower}"


def draw_usage(results: Results, cores: int, folder: Path) -> list[Path]:
    """Draw a picture a candidate: processors by part and GPUs over time, a column a round; return the files."""
    drawn = []
    for candidate in results.candidates:
        runs = results.of(candidate)[:MOST_ROUNDS]
        if not runs:
            continue
        path = folder / f"usage-{re.sub('[^a-z0-9]+', '-', str(candidate).lower())}.png"
        with plt.rc_context(STYLE):
            save(usage_figure(runs, cores), path)
        drawn.append(path)
    return drawn


def usage_figure(runs: Sequence[Run], cores: int) -> Any:  # noqa: ANN401 - matplotlib's
    """Return a figure with a panel a run, in all of which the same parts lie in the same order and colours."""
    wide = 3.4 * len(runs) + 1.2
    figure, grid = plt.subplots(1, len(runs), figsize=(wide, 2.9), sharey=True, squeeze=False, layout="constrained")
    rows = [row for run in runs for row in run.usage]
    present = [part for part in _PARTS if any(row.get(f"{part}_cores", 0.0) for row in rows)]
    for axes, run in zip(grid[0], runs, strict=True):
        _draw_run(axes, run, cores, present)
    grid[0][0].set_ylabel("cores in use")
    named = [named for axes in grid[0] for named in zip(*axes.get_legend_handles_labels(), strict=True)]
    legend = {label: handle for handle, label in reversed(named)}  # the first panel's handle of each
    labels = list(dict.fromkeys(label for _, label in named))
    handles = [legend[label] for label in labels]
    columns = max(1, min(len(labels), int(wide / _LABEL_INCHES)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=9)
    return figure


def _draw_run(axes: Any, run: Run, cores: int, parts: Sequence[str]) -> None:  # noqa: ANN401 - matplotlib's
    times = [row["time_s"] for row in run.usage]
    stacks = [[row.get(f"{part}_cores", 0.0) for row in run.usage] for part in parts]
    if times and stacks:
        colors = [_PARTS[part] for part in parts]
        axes.stackplot(times, stacks, labels=parts, colors=colors, step="pre", linewidth=0)
    machine = [row["cpu_percent"] / 100 * cores for row in run.usage]
    axes.plot(times, machine, color="black", linewidth=0.8, label="whole machine")
    for moment in (run.began_s, run.ended_s):
        axes.axvline(moment, color="#333333", linestyle=":", linewidth=1)
    axes.set(
        xlabel="time since the run began (s)", title=f"{run.candidate}, round {run.round + 1}", ylim=(0, cores * 1.1)
    )
    _draw_gpus(axes, run, times)


def _draw_gpus(axes: Any, run: Run, times: Sequence[float]) -> None:  # noqa: ANN401 - matplotlib's
    """Draw a line a GPU on an axis of its own, at the right."""
    known = run.usage[0] if run.usage else {}
    gpus = [name for name in known if name.startswith("gpu") and name.endswith("_percent")]
    if not gpus:
        return
    right = axes.twinx()
    for number, name in enumerate(gpus):
        style = ("-", "--", "-.")[number % 3]
        outlined = [patheffects.Stroke(linewidth=3, foreground="black"), patheffects.Normal()]
        values = [row[name] for row in run.usage]
        right.plot(times, values, color=_YELLOW, linewidth=1.6, linestyle=style, path_effects=outlined)
        axes.plot([], [], color=_YELLOW, linestyle=style, path_effects=outlined, label=f"GPU {number}")
    right.set(ylim=(0, 110), ylabel="GPU in use (%)")
    right.grid(visible=False)


def save(figure: Any, path: Path) -> None:  # noqa: ANN401 - matplotlib's
    """Write a figure as a picture, and close it."""
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
