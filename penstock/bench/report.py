"""The report of a benchmark: Markdown with pictures, and the same numbers as CSV files.

Holds the words and tables; `plots.py` draws the pictures.
"""

import csv
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from penstock.bench import amdahl, machine
from penstock.bench.comparison import (
    compared,
    comparison_table,
    cores_used,
    cost_table,
    draw_comparison,
    is_timed,
    timed,
)
from penstock.bench.plots import MOST_ROUNDS, draw_durations, draw_speed_ups, draw_usage
from penstock.bench.results import BenchSettings, Candidate, Results, Run
from penstock.protocol.runtime.cores import usable_cores

#: Runs with more than one worker that it takes to fit a law: it would pass through a single one exactly.
_LEAST_POINTS = 2
#: Up to so many cores, a report explains what that means.
_FEW_CORES = 4
#: A run that was timed for less (s) is unreliable: batches that were ready before it count, and so does any pause.
_LEAST_S = 1.0
#: The machine is idle while all processors and GPUs are less busy than this (percent); least seconds that are reported.
_IDLE_PERCENT, _TOLD_S = 5.0, 1.0


def write_report(results: Results, folder: Path) -> None:
    """Write report.md, runs.csv, usage.csv and the pictures into `folder`."""
    law = fit_law(results)
    _write_csv(folder / "runs.csv", [_run_row(run) for run in results.runs])
    _write_csv(folder / "usage.csv", [_usage_row(run, row) for run in results.runs for row in run.usage])
    draw_durations(results, folder / "duration.png")
    pictures = ["duration.png"]
    if speed_ups(results):
        draw_speed_ups(results.title, speed_ups(results), law, cores(), folder / "speed-up.png")
        pictures.append("speed-up.png")
    if compared(results):
        draw_comparison(results, folder / "comparison.png")
        pictures.insert(0, "comparison.png")
    pictures += [path.name for path in draw_usage(results, cores(), folder)]
    (folder / "report.md").write_text(_text(results, law, pictures), encoding="utf-8")


def cores() -> int:
    """Return the cores that this process may use."""
    return len(usable_cores())


def speed_ups(results: Results) -> list[tuple[Candidate, float]]:
    """Return every run's speed-up over one worker of the same round."""
    one = {run.round: run.duration_s for run in results.runs if run.candidate == Candidate("penstock", 1)}
    return [(run.candidate, one[run.round] / run.duration_s) for run in results.runs if run.round in one]


def fit_law(results: Results) -> amdahl.Amdahl | None:
    """Fit Amdahl's law to the workers' speed-ups; None if fewer than two runs had more than one worker.

    More workers than cores count as the cores.
    """
    ours = [(each, gain) for each, gain in speed_ups(results) if each.library == "penstock" and each.workers > 0]
    points = [(min(each.workers, cores()), gain) for each, gain in ours]
    if sum(n > 1 for n, _ in points) < _LEAST_POINTS:
        return None
    return amdahl.fit([n for n, _ in points], [gain for _, gain in points])


def _text(results: Results, law: amdahl.Amdahl | None, pictures: Sequence[str]) -> str:
    settings = results.settings
    finished = f"{len(results.runs)} of {len(results.candidates) * settings.rounds}"
    first = results.runs[0]
    lines = [
        f"# {results.title}",
        "",
        results.text,
        f"Each run, in a fresh process, took {first.batches:,} batches ({first.samples:,} samples), timed after the",
        f"first {settings.warm_up}. {_rounds(settings.rounds)}",
        "",
        f"`{_command(settings)}`",
        "",
    ]
    if results.cut_short:
        lines += [f"**Not complete: {finished} runs.** {results.cut_short}", ""]
    lines += [
        *_table(results),
        "",
        *comparison_table(results),
        *cost_table(results),
        *([f"**{warning[0]}** {warning[1]}", ""] if (warning := too_short(results)) else []),
        *_stood_still(results),
        _law_in_words(results, law),
        "",
    ]
    captions = {
        "comparison.png": "Samples a second of each loader, by the number of workers: the median, and each round",
        "duration.png": "Seconds that the timed batches took, by the number of worker processes",
        "speed-up.png": "Speed-up over one worker, with the ideal and the fitted law",
    }
    some = f" in the first {MOST_ROUNDS} rounds" if settings.rounds > MOST_ROUNDS else ""
    usage = f"Processors and GPUs over time{some}; between the dotted lines batches are timed"
    for name in pictures:
        caption = captions.get(name) or usage
        lines += [f"![{caption}]({name})", ""]
    lines += ["## The machine", "", *(f"- {name}: {fact}." for name, fact in machine.describe().items()), ""]
    lines += _caution()
    lines += ["Every run is in [runs.csv](runs.csv), the machine's utilisation in [usage.csv](usage.csv).", ""]
    return "\n".join(lines)


def _command(settings: BenchSettings) -> str:
    words = ["penstock", "bench", settings.spec]
    for name in sorted(settings.model_fields_set - {"spec", "config", "root", "data", "output"}):
        value = getattr(settings, name)
        words += [f"--{name.replace('_', '-')}"] if value is True else [f"--{name.replace('_', '-')}", str(value)]
    words += ["--data", "FOLDER"] if settings.data else []
    return shlex.join(words)


def _table(results: Results) -> list[str]:
    base = next(each for each in results.candidates if results.of(each))
    head = ["", "duration, s", "samples/s", f"over {base}", "first batch after, s", "step, ms (95 %)", "cores used"]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for candidate in results.candidates:
        runs = results.of(candidate)
        if not runs:
            continue
        durations = [run.duration_s for run in runs]
        ratios = [
            other.duration_s / run.duration_s for run in runs for other in results.of(base) if other.round == run.round
        ]
        lines.append(
            _row(
                [
                    str(candidate),
                    _with_extremes(durations),
                    f"{statistics.median(run.samples_per_s for run in runs):,.0f}",
                    f"{statistics.median(ratios):.2f} ×" if ratios else "",
                    f"{statistics.median(run.first_batch_s for run in runs):.1f}",
                    _median(run.step_median_ms for run in runs) + " (" + _median(run.step_p95_ms for run in runs) + ")",
                    _median(cores_used(run) for run in runs),
                ]
            )
        )
    return lines


def _with_extremes(values: Sequence[float]) -> str:
    """Return the median, with the extremes if there are any."""
    if len(values) == 1:
        return f"{values[0]:.2f} (one round)"
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _rounds(count: int) -> str:
    return "One round." if count == 1 else f"{count} alternating rounds; medians, and the extremes in brackets."


def _median(values: Iterable[float]) -> str:
    return f"{statistics.median(values):.2f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _law_in_words(results: Results, law: amdahl.Amdahl | None) -> str:
    if law is None:
        return (
            "No law was fitted: that takes a run with 1 worker and two with more, on a machine of more than one core; "
            "give more `--rounds` or `--workers`."
        )
    points = sum(min(each.workers, cores()) > 1 for each, _ in speed_ups(results) if each.library == "penstock")
    words = (
        f"Amdahl's law, fitted to the speed-up over one worker in the same round of {points} runs "
        f"(more workers than the {cores()} cores count as {cores()}): {law}"
    )
    words += ", by the standard error of least squares."
    if law.parallel > 1.0:
        words += " More than 1 means that one worker was slowed down by more than its own work."
    if law.parallel < 0.0:
        words += " Less than 0 means that more workers were slower than one."
    if abs(law.parallel) <= 2.0 * law.error:
        words += " That is within two errors of 0: these runs do not show that more workers make a difference."
    return words


def too_short(results: Results) -> tuple[str, ...]:
    """Return which candidates' timed parts are too short to mean much, and what to do; empty if there are none."""
    short = [str(each) for each in results.candidates if (results.median_s(each) or _LEAST_S) < _LEAST_S]
    if not short:
        return ()
    advice = "Such short times are mostly chance; give more --epochs or --batches."
    return f"Timed for less than {_LEAST_S:.0f} s: {', '.join(short)}.", advice


def _stood_still(results: Results) -> list[str]:
    """Return a list of the runs in which the machine was idle for a while, though batches were wanted."""
    lines = [
        f"- {run.candidate}, round {run.round + 1}: {seconds:.1f} s of {run.duration_s:.1f} s"
        for run in results.runs
        if (seconds := idle_s(run)) >= _TOLD_S
    ]
    return ["**Runs that stood still, with the machine idle, while they were timed:**", "", *lines, ""] if lines else []


def idle_s(run: Run) -> float:
    """Return the seconds of the timed part in which neither processors nor GPUs did anything."""
    return sum(after["time_s"] - before["time_s"] for before, after in pairwise(timed(run)) if _is_idle(after))


def _is_idle(row: Mapping[str, float]) -> bool:
    return max(row[name] for name in ("cpu_percent", *_gpu_columns(row))) < _IDLE_PERCENT


def _gpu_columns(row: Mapping[str, float]) -> list[str]:
    """Return the columns with each GPU's utilisation."""
    return [name for name in row if name.startswith("gpu") and name.endswith("_percent")]


def _caution() -> list[str]:
    if cores() > _FEW_CORES:
        return []
    return [
        f"With {cores()} cores this says little of how many workers would help: trainer, services and workers share",
        "them, one worker and a busy trainer already keep two occupied, and each further one takes its time from",
        "the others. The curves end where they would become interesting; the ratios to the first row hold for this",
        "number of cores.",
        "",
    ]


def _run_row(run: Run) -> dict[str, object]:
    memory = max(
        (
            sum(value for name, value in row.items() if name.endswith("_memory_mb") and "gpu" not in name)
            for row in run.usage
        ),
        default=0.0,
    )
    row: dict[str, object] = {
        "round": run.round + 1,
        "library": run.candidate.library,
        "workers": run.candidate.workers,
        "batches": run.batches,
        "samples": run.samples,
        "duration_s": round(run.duration_s, 4),
        "samples_per_s": round(run.samples_per_s, 1),
        "first_batch_s": round(run.first_batch_s, 3),
        "step_median_ms": round(run.step_median_ms, 3),
        "step_p95_ms": round(run.step_p95_ms, 3),
        "cores_used": round(cores_used(run), 3),
        "memory_mb": round(memory, 1),
    }
    rows = timed(run)
    for name in _gpu_columns(rows[0]) if rows else ():
        row[name] = round(statistics.fmean(each[name] for each in rows), 1)
    return row


def _usage_row(run: Run, row: Mapping[str, float]) -> dict[str, object]:
    known = {"round": run.round + 1, "library": run.candidate.library, "workers": run.candidate.workers}
    return {**known, "timed": int(is_timed(run, row)), **row}


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows whose columns may differ; a missing value is 0."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval=0)
        writer.writeheader()
        writer.writerows(rows)
