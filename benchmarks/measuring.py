"""What the benchmarks measure by: the clock, the processor time of each part of a stack, and what disturbs both."""

import multiprocessing
import platform
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

import penstock

#: A round is marked as disturbed if other programs took more than this part of the processors.
DISTURBED = 0.03
#: Seconds of work before a measurement begins.
WARM_S = 1.5
#: Which clock of a process: that of the scheduler, of all its threads (linux/posix-timers.h).
_CPUCLOCK_SCHED = 2
#: Names of a stack's parts, by the module that a process runs.
_PARTS = {"penstock.ventilator": "ventilator", "penstock.sink": "sink", "penstock.worker": "workers"}


class Disturbance:
    """How much of the processors' time other programs took."""

    def __init__(self) -> None:
        """Count from now on."""
        self._began, self._busy, self._own = time.monotonic(), self._of_machine(), self._of_us()

    def share(self) -> float:
        """Return their part of the time of all processors; everything that was started here must have ended."""
        seconds = (time.monotonic() - self._began) * (psutil.cpu_count() or 1)
        return max(0.0, (self._of_machine() - self._busy - (self._of_us() - self._own)) / seconds)

    @staticmethod
    def _of_machine() -> float:
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    @staticmethod
    def _of_us() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast samples came."""

    #: Samples a second by the clock.
    per_s: float
    #: Processor time of a sample (µs), by part.
    cost_us: Mapping[str, float]
    #: Part of the time in which the program waited for a batch.
    waits: float = 0.0

    @property
    def total_us(self) -> float:
        """Processor time of a sample (µs), of all parts."""
        return sum(self.cost_us.values())


def looped(make: Callable[..., Callable[[], int]], given: tuple[Any, ...], processes: int, seconds: float) -> Speed:
    """Return how fast a bare loop is in so many processes at once.

    `make(number, *given)` returns, in process `number`, a function that makes some samples and says how many.
    """
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(processes), context.Queue()
    children = [
        context.Process(target=_loop, args=(make, given, seconds, number, ready, results))
        for number in range(processes)
    ]
    for child in children:
        child.start()
    found: list[tuple[float, float]] = [results.get(timeout=180) for _ in children]
    for child in children:
        child.join()
    rate = sum(rate for rate, _ in found)
    return Speed(rate, {"loop": sum(own * cost for own, cost in found) / rate})


def _loop(
    make: Callable[..., Callable[[], int]],
    given: tuple[Any, ...],
    seconds: float,
    number: int,
    ready: Any,  # noqa: ANN401 - multiprocessing's
    results: Any,  # noqa: ANN401 - the same
) -> None:
    step = make(number, *given)
    step()
    ready.wait(120)
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_S:
        step()
    samples, used, began = 0, time.process_time(), time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        samples += step()
    used = time.process_time() - used
    while time.perf_counter() - now < 1.0:  # the others still measure: leave them no free core
        step()
    results.put((samples / (now - began), used / samples * 1e6))


def through_stack(spec: dict[str, Any], workers: int, seconds: float, *, copy: bool, normalizes: bool) -> Speed:
    """Return how fast samples reach a trainer that does nothing, or only normalises."""
    with penstock.local(spec, workers=workers) as stack, stack.feed("train", copy=copy) as feed:
        finish: Callable[[Any], Any] = feed.normalizer() if normalizes else len
        began, samples, waited, before = 0.0, 0, 0.0, dict[str, float]()
        start = time.perf_counter()
        while True:
            for batch in feed:
                finish(batch["image"])
                now = time.perf_counter()
                if not began:
                    if now - start > WARM_S and feed.stats.batches:
                        before, waited, began = processor_seconds(), feed.stats.wait_s, time.perf_counter()
                    continue
                samples += len(batch["image"])
                if now - began > seconds:
                    took, after = now - began, processor_seconds()
                    costs = {part: (after[part] - before.get(part, 0.0)) / samples * 1e6 for part in after}
                    return Speed(samples / took, costs, (feed.stats.wait_s - waited) / took)


def processor_seconds() -> dict[str, float]:
    """Return the processor time of each part so far: `trainer` is this process, `ventilator`, `sink`, `workers`."""
    me, used = psutil.Process(), dict[str, float]()
    for process in (me, *me.children(recursive=True)):
        try:
            words, seconds = process.cmdline(), seconds_of(process)
        except (psutil.Error, OSError):  # it has left
            continue
        part = "trainer" if process == me else next((_PARTS[word] for word in words if word in _PARTS), "")
        if part:
            used[part] = used.get(part, 0.0) + seconds
    return used


def seconds_of(process: psutil.Process) -> float:
    """Return the processor time of all threads of a process so far, those that have ended among them.

    To the nanosecond on Linux, by the process's own clock (clock_getcpuclockid(3)): `/proc` counts in steps of 10 ms,
    which are a tenth of what a ventilator takes in a few seconds. Raises OSError or psutil.Error if it has left.
    """
    if platform.system() == "Linux":
        return time.clock_gettime((~process.pid << 3) | _CPUCLOCK_SCHED)
    times = process.cpu_times()
    return times.user + times.system


def disturbed(shares: list[float]) -> str:
    """Return the numbers of the rounds that other programs disturbed."""
    return ", ".join(str(number) for number, share in enumerate(shares, 1) if share > DISTURBED) or "none"
