"""Measures the machine while a program trains: processors, memory, network and GPUs, with the program's steps.

    with Monitor() as monitor:
        for batch in monitor.watch(feed):                  # a plain loop: waiting and working are separated
            train(batch)
    monitor.save("usage.csv")

    with Monitor() as monitor:                             # Keras
        model.fit(data, callbacks=[penstock.trainer.adapters.keras.Steps(monitor)])

A thread samples a few times a second. This module only measures; `penstock bench` draws the numbers.
"""

import csv
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from penstock.protocol.errors import PenstockError, SpecError
from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.runtime.gpus import Gpus, GpuUse

try:
    import psutil
except ImportError as missing:
    raise PenstockError(f"psutil is needed ({missing}): pip install 'penstock[bench]'") from missing

Value = TypeVar("Value")

#: Samples that are kept; then every second one is dropped, and they are taken half as often: memory is bounded.
_MOST_SAMPLES = 20_000
#: Steps that are kept: the latest.
_MOST_STEPS = 200_000
#: How often new processes are looked for (s): it reads all of /proc.
_LOOK_S = 0.5
#: Least time between two samples (s): the kernel counts processor time in hundredths of a second.
_LEAST_INTERVAL_S = 0.05
#: Names of the parts, by the module that a process runs.
_PARTS = {"penstock.ventilator": "ventilator", "penstock.sink": "sink", "penstock.worker": "workers"}


@dataclass(frozen=True, slots=True)
class Usage:
    """The machine between two samples; rates are of that interval."""

    #: Seconds since the monitor began.
    time_s: float
    #: Busy part of the cores that this process may use (percent), by all processes.
    cpu_percent: float
    #: Memory of the machine that is in use (percent).
    memory_percent: float
    #: Processor seconds a second, by part: `trainer` (the monitored process), `workers`, `sink`, `ventilator`, `other`.
    cores: Mapping[str, float]
    #: Memory of their own (MB, without what they share), by part.
    memory_mb: Mapping[str, float]
    #: Over all network interfaces but the loopback, and over that one (MB/s).
    sent_mb_s: float
    received_mb_s: float
    loopback_mb_s: float
    gpus: tuple[GpuUse, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the program (s)."""

    #: When its work began, since the monitor began.
    time_s: float
    #: Between the end of the step before and `time_s`.
    wait_s: float
    run_s: float


class Monitor:
    """A context manager that samples while it is entered."""

    def __init__(self, interval_s: float = 0.2, *, pid: int | None = None) -> None:
        """Take a sample every `interval_s` seconds of process `pid` (default: this one) and all it has started."""
        if not _LEAST_INTERVAL_S <= interval_s < math.inf:
            raise SpecError(f"interval_s = {interval_s}: give {_LEAST_INTERVAL_S} or more seconds")
        self.interval_s = interval_s
        self.samples: list[Usage] = []
        self.steps: deque[Step] = deque(maxlen=_MOST_STEPS)
        self.gpus = Gpus()
        self._pid = os.getpid() if pid is None else pid
        self._began = self._ended = time.perf_counter()
        self._step: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="penstock monitor", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._began = self._ended = time.perf_counter()
        self._counters = _Counters(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; raises what the sampling thread failed at."""
        self._stop.set()
        self._thread.join()
        self.gpus.close()
        if self._error:
            raise self._error

    def now(self) -> float:
        """Return the seconds since the monitor began."""
        return time.perf_counter() - self._began

    def begin(self) -> None:
        """Note that the program begins a step."""
        self._step = time.perf_counter()

    def end(self) -> None:
        """Note that the step is over."""
        if self._step is not None:
            now = time.perf_counter()
            self.steps.append(Step(self._step - self._began, self._step - self._ended, now - self._step))
            self._ended, self._step = now, None

    def watch(self, batches: Iterable[Value]) -> Iterator[Value]:
        """Yield `batches`; what happens between two of them is a step, getting the next one is waiting for it."""
        for batch in batches:
            self.begin()
            yield batch
            self.end()

    def rows(self) -> list[dict[str, float]]:
        """Return a row a sample: its numbers, flat, and how many steps ended in it with their mean times (ms)."""
        parts = sorted({part for sample in self.samples for part in sample.cores})
        ended = sorted((step.time_s + step.run_s, step) for step in self.steps)
        rows, place = [], 0
        for sample in self.samples:
            first = place
            while place < len(ended) and ended[place][0] <= sample.time_s:
                place += 1
            rows.append(_flat(sample, parts) | _mean([step for _, step in ended[first:place]]))
        return rows

    def save(self, path: str | Path) -> None:
        """Write the rows as CSV."""
        rows = self.rows()
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["time_s"])
            writer.writeheader()
            writer.writerows(rows)

    def _sample(self) -> None:
        try:
            due = time.perf_counter() + self.interval_s
            stopped = False
            while not stopped:
                stopped = self._stop.wait(max(0.0, due - time.perf_counter()))
                if stopped and self.samples and self.now() - self.samples[-1].time_s < _LEAST_INTERVAL_S:
                    return
                self.samples.append(self._counters.read(self.now(), self.gpus.read()))
                if len(self.samples) >= _MOST_SAMPLES:
                    del self.samples[::2]
                    self.interval_s *= 2
                due = max(due + self.interval_s, time.perf_counter() + _LEAST_INTERVAL_S)
        except BaseException as error:  # noqa: BLE001 - raised where the monitor is left
            self._error = error


def _flat(sample: Usage, parts: list[str]) -> dict[str, float]:
    row = {"time_s": sample.time_s, "cpu_percent": sample.cpu_percent, "memory_percent": sample.memory_percent}
    row |= {f"{part}_cores": sample.cores.get(part, 0.0) for part in parts}
    row |= {f"{part}_memory_mb": sample.memory_mb.get(part, 0.0) for part in parts}
    row |= {"sent_mb_s": sample.sent_mb_s, "received_mb_s": sample.received_mb_s, "loopback_mb_s": sample.loopback_mb_s}
    for number, gpu in enumerate(sample.gpus):
        row |= {f"gpu{number}_percent": gpu.percent, f"gpu{number}_memory_mb": gpu.memory_mb}
    return {name: round(value, 4) for name, value in row.items()}


def _mean(steps: list[Step]) -> dict[str, float]:
    count = max(1, len(steps))
    waited, ran = sum(step.wait_s for step in steps), sum(step.run_s for step in steps)
    return {
        "steps": len(steps),
        "step_wait_ms": round(waited / count * 1e3, 3),
        "step_run_ms": round(ran / count * 1e3, 3),
    }


class _Counters:
    """Counters of the kernel, and their differences from one reading to the next."""

    def __init__(self, pid: int) -> None:
        self._cores = usable_cores()
        self._root = psutil.Process(pid)
        self._processes: list[psutil.Process] = []
        self._parts: dict[psutil.Process, str] = {}
        self._looked = -math.inf
        self._find(time.perf_counter())
        self._time = time.perf_counter()
        self._busy = self._processors()
        self._spent = {process: spent for process, (spent, _) in self._usage().items()}
        self._network = self._interfaces()

    def read(self, now: float, gpus: tuple[GpuUse, ...]) -> Usage:
        """Return the differences since the last reading."""
        clock = time.perf_counter()
        seconds, self._time = max(clock - self._time, 1e-6), clock
        self._find(clock)
        busy, self._busy = self._busy, self._processors()
        total, used = self._busy[0] - busy[0], self._busy[1] - busy[1]
        network, self._network = self._network, self._interfaces()
        sent, received, loopback = (
            max(0, new - old) / seconds / 1e6 for new, old in zip(self._network, network, strict=True)
        )
        spent, usage = self._spent, self._usage()
        self._spent = {process: value for process, (value, _) in usage.items()}
        cores: dict[str, float] = {}
        memory: dict[str, float] = {}
        for process, (value, own) in usage.items():
            # A new process counts from the sample after this one on: until it has become its own program, a copy of
            # its parent seems to have the parent's memory.
            if process in spent:
                part = self._parts[process]
                cores[part] = cores.get(part, 0.0) + max(0.0, value - spent[process]) / seconds
                memory[part] = memory.get(part, 0.0) + own / 1e6
        return Usage(
            time_s=now,
            cpu_percent=100.0 * min(1.0, used / total) if total > 0 else 0.0,
            memory_percent=float(psutil.virtual_memory().percent),
            cores=cores,
            memory_mb=memory,
            sent_mb_s=sent,
            received_mb_s=received,
            loopback_mb_s=loopback,
            gpus=gpus,
        )

    def _find(self, now: float) -> None:
        """Look for processes that were started since."""
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        try:
            self._processes = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            self._processes = []

    def _part(self, process: psutil.Process) -> str:
        """Return the part that a process belongs to, by its command line. Raises psutil.Error.

        The command line is its parent's until it runs its own program.
        """
        if process == self._root:
            return "trainer"
        return next((_PARTS[word] for word in process.cmdline() if word in _PARTS), "other")

    def _usage(self) -> dict[psutil.Process, tuple[float, float]]:
        """Return processor time (s) and memory of its own (bytes) of each process that is there, and learn its part."""
        found, parts = {}, self._parts
        self._parts = {}
        for process in self._processes:
            part = parts.get(process, "other")
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
                    with suppress(psutil.ZombieProcess):  # it has ended, and its parent has not waited for it yet
                        part = self._part(process)
            except psutil.Error:  # it has left
                continue
            self._parts[process] = part
            found[process] = (times.user + times.system, float(max(0, memory.rss - getattr(memory, "shared", 0))))
        return found

    def _processors(self) -> tuple[float, float]:
        """Return the time of the cores that this process may use, and how much of it they were busy (s)."""
        times: list[Any] = psutil.cpu_times(percpu=True)
        mine = [times[core] for core in self._cores if core < len(times)] or times
        total = sum(sum(core) - getattr(core, "guest", 0) - getattr(core, "guest_nice", 0) for core in mine)
        return total, total - sum(core.idle + getattr(core, "iowait", 0.0) for core in mine)

    @staticmethod
    def _interfaces() -> tuple[int, int, int]:
        """Return the bytes that were sent and received, and those over the loopback."""
        sent = received = loopback = 0
        for name, counters in psutil.net_io_counters(pernic=True).items():
            if name == "lo":
                loopback += counters.bytes_sent
            else:
                sent, received = sent + counters.bytes_sent, received + counters.bytes_recv
        return sent, received, loopback
