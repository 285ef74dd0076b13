"""`penstock bench`: the same work with 0, 1, 2 … worker processes, and a report with pictures.

Schedules the runs, each in a fresh process; an interrupt keeps the runs that are finished. `run.py` times one run, and
`report.py` writes the report.
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TimeElapsedColumn

from penstock.bench.cases import CASES, Case
from penstock.bench.loaders import open_spec, parse_loaders
from penstock.bench.results import BenchSettings, Candidate, Results, Run
from penstock.demo.images import make_samples
from penstock.protocol.errors import PenstockError, SpecError
from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.runtime.service import run
from penstock.protocol.spec.spec import only_stream
from penstock.terminal.child_process import ReportingProcess
from penstock.terminal.console import PlainColumn, PlainConsole
from penstock.terminal.interrupts import Interrupts, interrupted

#: Most workers of a run, and most numbers of workers in a benchmark.
_MOST_WORKERS, _MOST_NUMBERS = 512, 32
#: Pictures a class that are drawn where a case needs files and none are given.
_MADE = 250


def parse_workers(text: str, *, cores: int) -> list[int]:
    """Return the numbers of workers. Raises SpecError."""
    if not text:
        return list(range(cores + 1)) if cores <= 8 else [0, *(2**n for n in range(cores.bit_length()))]  # noqa: PLR2004
    what = f"--workers {text!r}"
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise SpecError(f"{what}: give whole numbers with commas between them, such as 0,1,2,4") from None
    if bad := [number for number in numbers if not 0 <= number <= _MOST_WORKERS]:
        raise SpecError(f"{what}: {bad[0]} is not from 0 to {_MOST_WORKERS}")
    if len(set(numbers)) != len(numbers) or len(numbers) > _MOST_NUMBERS:
        raise SpecError(f"{what}: give each number once, and at most {_MOST_NUMBERS}")
    return sorted(numbers)


def prepare(settings: BenchSettings) -> tuple[Results, dict[str, Any]]:
    """Return empty results and the order for every run. Raises SpecError and others for a run that is impossible."""
    if settings.epochs is not None and settings.batches is not None:
        raise SpecError(f"--epochs {settings.epochs} and --batches {settings.batches}: give one of the two")
    if missing := [name for name in ("matplotlib", "psutil") if find_spec(name) is None]:
        raise PenstockError(f"penstock bench needs {' and '.join(missing)}: pip install 'penstock[bench]'")
    workers = parse_workers(settings.workers, cores=len(usable_cores()))
    case = CASES.get(settings.spec)
    if (settings.train or case) and (missing := [n for n in ("tensorflow", "keras") if find_spec(n) is None]):
        raise PenstockError(
            f"this benchmark needs TensorFlow, and {' and '.join(missing)} cannot be found: "
            "pip install 'penstock[tf-cpu]'"
        )
    if settings.data is not None and not (case and case.files):
        raise SpecError(f"--data {settings.data!r}: only `penstock bench jpegs` takes it; a spec names its own roots")
    if settings.data is not None and not Path(settings.data).is_dir():
        raise SpecError(f"--data {settings.data!r}: no such folder; give one with a folder of JPEG files a class")
    libraries = ("penstock", *_others(settings, case))
    candidates = [Candidate(library, number) for library in libraries for number in workers]
    doing = "training a small network" if settings.train else "without training"
    order: dict[str, Any] = {"case": "", "library": "penstock", "spec": settings.spec, "stream": settings.stream}
    if case:
        batches = settings.batches
        if batches is None and settings.epochs is None:
            batches = case.train_batches if settings.train else case.batches
        order |= {"case": settings.spec, "batches": batches}
        title, text, candidates = f"{case.title}, {doing}", case.text, [Candidate("keras", 0), *candidates]
        for name in ("stream", "root"):
            if getattr(settings, name):
                raise SpecError(f"--{name}: {settings.spec!r} is no spec; leave it out")
    else:
        spec = open_spec(settings.spec)
        spec.map_roots(settings.root)  # refuses names of roots that no stream has
        [(name, stream)] = only_stream(spec, settings.stream).streams.items()
        order |= {"batches": settings.batches}
        title, text = f"Stream {name}, {doing}", f"Stream `{name}`, in batches of {stream.batch_size}."
    order |= {"epochs": settings.epochs or 1.0, "warm_up": settings.warm_up, "train": settings.train}
    order |= {"roots": settings.root, "interval_s": settings.interval_s, "data": settings.data or ""}
    return Results(settings, title, text, candidates), order


def _others(settings: BenchSettings, case: Case | None) -> list[str]:
    """Return the other loaders that were asked for. Raises SpecError, and PenstockError for what is not installed."""
    others = parse_loaders(settings.against)
    if others and (case or settings.train):
        what = f"{settings.spec!r} compares with Keras" if case else "--train times Keras's fit"
        raise SpecError(f"--against {settings.against!r}: {what}; give a spec or a folder, and leave --train out")
    return others


def schedule(candidates: Sequence[Candidate], rounds: int) -> list[tuple[int, Candidate]]:
    """Return the runs in order: every second round backwards, so that a machine that slows down is fair to all."""
    return [(n, each) for n in range(rounds) for each in (candidates if n % 2 == 0 else reversed(candidates))]


def serve(settings: BenchSettings) -> int:
    """Run the benchmark and write its report; return the exit status."""
    results, order = prepare(settings)
    folder = Path(settings.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # fails now rather than after all runs
            pass
    except OSError as error:
        raise SpecError(f"-o {settings.output!r}: {error}; name a folder that can be written to") from error
    console, interrupts = PlainConsole(), Interrupts()
    failure: PenstockError | None = None
    with suppress(KeyboardInterrupt), ExitStack() as cleanup, interrupts.armed():
        try:
            _run_all(results, order, console, cleanup)
        except PenstockError as error:
            failure = error
    console.show_cursor()
    if interrupts.seen is not None:
        results.cut_short = "It was interrupted."
    elif failure:
        results.cut_short = f"A run failed: {failure}"
    if results.runs:
        from penstock.bench.comparison import comparison_chart  # noqa: PLC0415 - matplotlib takes a second
        from penstock.bench.report import too_short, write_report  # noqa: PLC0415 - the same

        try:
            write_report(results, folder)
        except OSError as error:
            raise PenstockError(f"the report cannot be written to {folder}: {error}") from error
        for line in (*comparison_chart(results), *too_short(results)):
            console.print(line, soft_wrap=True)
        count = f"{len(results.runs)} run{'s' if len(results.runs) > 1 else ''}"
        console.print(f"{count}: {folder / 'report.md'}", soft_wrap=True)
    if failure:
        raise failure
    if interrupts.seen is not None:
        console.print("interrupted: everything is stopped" + ("" if results.runs else "; no run was finished"))
        return interrupted(interrupts.status)
    return 0


def _run_all(results: Results, order: Mapping[str, Any], console: PlainConsole, cleanup: ExitStack) -> None:
    """Do everything that may be interrupted."""
    settings = results.settings
    scratch = Path(
        # A short name: paths of sockets, which lie below, may have 107 bytes.
        cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pk-", ignore_cleanup_errors=True))
    )
    if order["case"] and CASES[order["case"]].files and not order["data"]:
        with console.waiting("drawing JPEG files"):
            made = sum(1 for _ in make_samples(scratch, train=_MADE, held_out=0))
        results.text += f" {made:,} files of about 128 × 128 were drawn for it."
        order = {**order, "data": str(scratch / "train")}
    runs = schedule(results.candidates, settings.rounds)
    progress = Progress(
        PlainColumn("  {task.description:<34}"),
        BarColumn(bar_width=20),
        PlainColumn("{task.percentage:>3.0f} %  {task.fields[facts]}"),
        TimeElapsedColumn(),
        console=console,
    )
    with progress:
        whole = progress.add_task("all runs", total=len(runs), facts="")
        for number, (each, candidate) in enumerate(runs):
            name = f"round {each + 1}, {candidate}"
            bar = progress.add_task(name, total=None, facts="starting")
            folder = scratch / f"{number}"
            folder.mkdir()
            began = time.perf_counter()
            told: Mapping[str, Any] = {}
            with ReportingProcess("penstock.bench.run", f"{candidate}", folder / "run.log") as process:
                process.order(**{**order, "library": candidate.library, "workers": candidate.workers})
                for told in process.reports():
                    if told["event"] == "batch":
                        progress.update(bar, completed=told["done"], total=told["total"], facts="")
            results.runs.append(_finished(each, candidate, told))
            rate = f"{results.runs[-1].samples_per_s:,.0f} samples/s"
            progress.update(bar, visible=False)
            progress.update(whole, completed=number + 1)
            text = f"  {name:<34}{rate:>18} in {results.runs[-1].duration_s:.1f} s"
            progress.console.print(f"{text} of {time.perf_counter() - began:.1f}")


def _finished(number: int, candidate: Candidate, told: Mapping[str, Any]) -> Run:
    if told.get("event") != "done":
        raise PenstockError(f"round {number + 1}, {candidate}: the run ended before it was done")
    return Run(number, candidate, **{name: value for name, value in told.items() if name != "event"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock bench`."""
    return run(BenchSettings, serve, "bench", arguments)


if __name__ == "__main__":
    sys.exit(main())
