"""`penstock trace`: joins the files that `--trace` recorded into one for https://ui.perfetto.dev, and sums up the time.

Writes Google's "Trace Event Format" (the JSON object format), which Perfetto and Chrome's tracing open. `matching.py`
matches moments to tasks, and `clocks.py` aligns clocks.
"""

import json
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field
from pydantic_settings import CliPositionalArg
from rich.table import Table
from rich.text import Text

from penstock.protocol.errors import SourceError, SpecError
from penstock.protocol.runtime.printable import printable
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.version import __version__
from penstock.terminal.console import PlainConsole
from penstock.trace.files import Process, read_folder
from penstock.trace.matching import Way, ways

Event = dict[str, Any]

#: Number under which the viewer shows tasks' ways, above all processes.
_WAYS = 1
#: A task's number in its name, `stream/number` or `stream/number.item`.
_NUMBER = re.compile(r"(?<=/)\d+(?=(?:\.\d+)?$)")
#: Rows of a worker in the viewer, and the stages in each.
_THREADS = {"read": ("read",), "decode, transform, send": ("decode", "transform", "send")}


class TraceSettings(Settings):
    """Joins the files that services wrote with `--trace` or PENSTOCK_TRACE into one file for the Perfetto viewer."""

    folder: CliPositionalArg[str]
    """Folder with the trace files of all processes; copy those of several hosts into one folder first."""
    output: str = Field(default="trace.json", validation_alias=AliasChoices("o", "output"))
    """Path of the file to write; open it at https://ui.perfetto.dev."""


def to_events(processes: Sequence[Process], found: Sequence[Way]) -> dict[str, Any]:
    """Return the whole file's content: events, and the clocks' offsets in `otherData`."""
    starts = [span.begin for way in found for span in way.spans]
    zero = min(starts, default=0.0)
    numbers = {each.name: number for number, each in enumerate(processes, _WAYS + 1)}
    events = [*_names(processes, numbers), *_way_events(found, zero), *_thread_events(processes, found, numbers, zero)]
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "version": f"penstock {__version__}",
            "tasks": len(found),
            "every": max((each.every for each in processes), default=1),
            "disorder_s": max((way.disorder_s() for way in found), default=0.0),
            "reference": processes[0].name,
            "clocks": [
                {
                    "process": each.name,
                    "offset_s": each.offset.seconds,
                    "error_s": each.offset.error_s,
                    "full": each.full,
                }
                for each in processes
            ],
        },
    }


def _names(processes: Sequence[Process], numbers: dict[str, int]) -> Iterator[Event]:
    yield _meta("process_name", _WAYS, name="tasks, from lease to trainer")
    for each in processes:
        number = numbers[each.name]
        yield _meta("process_name", number, name=f"{each.service} {each.host}/{each.pid}")
        yield _meta("process_sort_index", number, sort_index=number)
        error = "by wall clocks" if each.offset.error_s is None else f"± {each.offset.error_s * 1e3:.3f} ms"
        yield _meta("process_labels", number, labels=f"clock {each.offset.seconds * 1e3:+.3f} ms {error}")
        if each.service == "worker":
            for thread, name in enumerate(_THREADS, 1):
                yield {**_meta("thread_name", number, name=name), "tid": thread}
        elif each.service == "trainer":
            yield {**_meta("thread_name", number, name="steps"), "tid": 1}


def _meta(what: str, process: int, /, **facts: object) -> Event:
    return {"ph": "M", "name": what, "pid": process, "tid": 0, "args": facts}


def _way_events(found: Sequence[Way], zero: float) -> Iterator[Event]:
    """Yield each task's way as a row of its own, its stages side by side below its whole.

    Perfetto shows a row in its process only by a local id, and sorts rows by name: so numbers have as many digits each.
    """
    digits = max((len(match[0]) for way in found if (match := _NUMBER.search(way.task))), default=0)
    for number, way in enumerate(found):
        if not way.spans:
            continue
        common = {"cat": "task", "id2": {"local": f"{number:#x}"}, "pid": _WAYS, "tid": 0}
        name = _NUMBER.sub(lambda match: match[0].zfill(digits), way.task)
        facts = {"task": way.task, "worker": way.worker, "failures": way.failures, "timings": dict(way.timings)}
        end = way.spans[-1].end
        yield {**common, "ph": "b", "name": name, "ts": _us(way.spans[0].begin, zero), "args": facts}
        for span in way.spans:
            known = {"in": span.process.name, "error_s": span.error_s}
            yield {**common, "ph": "b", "name": span.name, "ts": _us(span.begin, zero), "args": known}
            yield {**common, "ph": "e", "name": span.name, "ts": _us(max(span.begin, span.end), zero)}
        yield {**common, "ph": "e", "name": name, "ts": _us(end, zero)}


def _thread_events(
    processes: Sequence[Process], found: Sequence[Way], numbers: dict[str, int], zero: float
) -> Iterator[Event]:
    """Yield the stages of each worker's threads, and the trainers' steps."""
    places = {stage: thread for thread, stages in enumerate(_THREADS.values(), 1) for stage in stages}
    workers = {f"{each.host}/{each.pid}": each for each in processes if each.service == "worker"}
    for way in found:
        for span in way.spans:
            if span.name not in places:
                continue
            # A send ends where the next process has it: on the thread, when the transport does.
            seconds = way.timings["send_s"] if span.name == "send" else span.end - span.begin
            yield _slice(numbers[workers[way.worker].name], places[span.name], span, seconds, zero, task=way.task)
    seen: set[tuple[str, float]] = set()
    for way in found:
        for span in way.spans:
            if span.name == "consume" and (span.process.name, span.begin) not in seen:
                seen.add((span.process.name, span.begin))
                yield _slice(numbers[span.process.name], 1, span, span.end - span.begin, zero, stop=way.stop)


def _slice(process: int, thread: int, span: Any, seconds: float, zero: float, **facts: object) -> Event:  # noqa: ANN401
    common = {"ph": "X", "cat": "work", "name": span.name, "pid": process, "tid": thread}
    return {**common, "ts": _us(span.begin, zero), "dur": max(0.0, round(seconds * 1e6, 3)), "args": facts}


def _us(seconds: float, zero: float) -> float:
    return round((seconds - zero) * 1e6, 3)


def summarise(found: Sequence[Way]) -> Table:
    """Return a table of the stages: how long they take, and which part of a delivered task's way they are."""
    stages: dict[str, list[float]] = {}
    for way in found:
        for span in way.spans:
            stages.setdefault(span.name, []).append(max(0.0, span.end - span.begin))
    whole = sum(sum(times) for times in stages.values()) or 1.0
    table = Table("stage", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("tasks", "median, ms", "95 %, ms", "of the way"):
        table.add_column(name, justify="right")
    for name, times in stages.items():
        high = sorted(times)[min(len(times) - 1, len(times) * 95 // 100)]
        cells = [f"{len(times):,}", f"{statistics.median(times) * 1e3:,.2f}", f"{high * 1e3:,.2f}"]
        table.add_row(name, *cells, f"{sum(times) / whole:.0%}")
    return table


def serve(settings: TraceSettings) -> int:
    """Join the trace files, write the result and print a summary; return the exit status."""
    console = PlainConsole()
    with console.waiting("reading") as status:
        processes = read_folder(
            Path(settings.folder), lambda path: status.update(Text(printable(f"reading {path.name}")))
        )
        found = ways(processes)
        if not found:
            raise SourceError(f"{settings.folder}: no task's result came to a sink while this was recorded")
        content = to_events(processes, found)
        try:
            Path(settings.output).write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
        except OSError as error:
            raise SpecError(f"-o {settings.output!r}: {error}; name a file that can be written") from error
    console.print(summarise(found))
    console.print()
    for each in processes:
        known = each.offset.error_s
        words = "aligned by wall clocks only" if known is None else f"clock known to ± {known * 1e3:.3f} ms"
        full = "; its file was full, so the rest is missing" if each.full else ""
        console.print(f"{each.service} {each.host}/{each.pid}: {words}{full}", soft_wrap=True)
    counts = f"{len(found):,} tasks, {len(content['traceEvents']):,} events"
    console.print(f"{settings.output}: {counts}; open it at https://ui.perfetto.dev", soft_wrap=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock trace`."""
    return run(TraceSettings, serve, "trace", arguments)


if __name__ == "__main__":
    sys.exit(main())
