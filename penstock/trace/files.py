"""Reads and checks the folder of `--trace`: one file a process."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.protocol.errors import SourceError
from penstock.trace.clocks import Offset, RoundTrip, align

#: Order of services, and the reference's place in it.
SERVICES = ("ventilator", "worker", "sink", "trainer")

Row = dict[str, Any]


@dataclass(slots=True)
class Process:
    """One process's part of a trace."""

    name: str
    service: str
    host: str
    pid: int
    #: Which clock its times are of, and what that showed when the wall clock showed 0 (s).
    clock: str
    wall: float
    every: int
    rows: list[Row] = field(repr=False)
    #: Set once all are read.
    offset: Offset = field(default_factory=lambda: Offset(0.0, 0.0))
    #: Whether it stopped recording, because its file was full.
    full: bool = False

    def time(self, seconds: float) -> float:
        """Return a time of its clock in the reference's."""
        return seconds + self.offset.seconds


def read_folder(folder: Path, progress: Callable[[Path], object] = lambda _: None) -> list[Process]:
    """Return all processes, their clocks aligned, by service. Raises SourceError if there are none, or none of ours."""
    processes = []
    for path in sorted(folder.glob("*.jsonl")):
        progress(path)
        if each := _read(path):
            processes.append(each)
    if not processes:
        raise SourceError(
            f"{folder}: no *.jsonl files of a trace; give the folder that --trace or PENSTOCK_TRACE named"
        )
    processes.sort(key=lambda each: (SERVICES.index(each.service), each.host, each.pid, each.name))
    clocks = {each.name: each.clock for each in processes}
    trips = [
        RoundTrip(each.clock, clocks[row["peer"]], tuple(row["times"]))
        for each in processes
        for row in each.rows
        if row["what"] == "ping" and row["peer"] in clocks and clocks[row["peer"]] != each.clock
    ]
    offsets = align(processes[0].clock, {each.clock: each.wall for each in processes}, trips)
    for each in processes:
        each.offset = offsets[each.clock]
    return processes


def _read(path: Path) -> Process | None:
    rows: list[Row] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break  # the process was killed while it wrote this
        try:
            row = json.loads(line)
            if not isinstance(row["what"], str) or not math.isfinite(row["at"]):
                raise ValueError("what, at")  # noqa: TRY301 - told below, with the others
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path}, line {number}: not a row of a trace: {error!r}; remove the file") from error
        rows.append(row)
    if not rows:
        return None  # it was killed before it wrote anything
    if rows[0]["what"] != "process" or rows[0].get("service") not in SERVICES:
        raise SourceError(f"{path}: not a trace of a Penstock process; remove the file")
    head = rows.pop(0)
    return Process(
        name=head["process"],
        service=head["service"],
        host=head["host"],
        pid=head["pid"],
        clock=head["clock"],
        wall=head["at"] - head["wall_s"],
        every=head["every"],
        rows=rows,
        full=bool(rows and rows[-1].get("full")),
    )
