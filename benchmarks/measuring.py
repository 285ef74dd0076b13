"""What the benchmarks measure by: the clock, the processor time of each part of a stack, and what disturbs both."""

import multiprocessing
import platform
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

import penstock
from penstock.protocol.spec.spec import parse_spec
from penstock.trainer.adapters.normalize import batch_normalizer
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.pipeline import Pipeline

#: A round is marked as disturbed if other programs took more than this part of the processors.
DISTURBED = 0.03
#: Seconds of work before a measurement begins. Two seconds after its last request, a stack's fork server imports what
#: the next stack needs.
WARM_S = 3.0
#: Which clock of a process: that of the scheduler, of all its threads (linux/posix-timers.h).
_CPUCLOCK_SCHED = 2
#: Names of a stack's parts, by the module that a process runs.
_PARTS = {"penstock.ventilator": "ventilator", "penstock.sink": "sink", "penstock.worker": "workers"}

#: By hand: rooms of each process that makes samples, and batches that the taker's memory holds.
_ROOMS, _HELD = 4, 4

Spec = Mapping[str, Any]
#: Makes a task's samples in the memory that it gets, and says how many.
Step = Callable[[Any], int]


class Disturbance:
    """How much of the processors' time other programs took."""

    def __init__(self) -> None:
        """Count from now on."""
        self._began, self._busy, self._own = time.monotonic(), self._of_machine(), self._of_us()

    def share(self) -> float:
        """Return their part of the time of all processors. What was started here may still run."""
        seconds = (time.monotonic() - self._began) * (psutil.cpu_count() or 1)
        return max(0.0, (self._of_machine() - self._busy - (self._of_us() - self._own)) / seconds)

    @staticmethod
    def _of_machine() -> float:
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    @staticmethod
    def _of_us() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = sum(each.ru_utime + each.ru_stime for each in used)
        for process in psutil.Process().children(recursive=True):  # such as a fork server that waits for the next stack
            with suppress(psutil.Error):
                seconds += sum(process.cpu_times()[:4])  # and of those of its children that have ended
        return seconds


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


def by_hand(
    into: Callable[[int, Spec], Step], spec: Spec, makers: int, seconds: float, *, copy: bool, normalizes: bool
) -> Speed:
    """Return how fast samples get from so many processes to one that copies or normalises them: the least to do.

    Each of them makes tasks into rooms of shared memory that it uses in turns, by what `into(number, spec)` returns. A
    further process takes them, copies each batch into memory that it uses again (or normalises it, or leaves it where
    it lies), and gives the room back. Nothing is kept in order, checked, asked for or repeated.
    """
    context = multiprocessing.get_context("spawn")
    size = _pipeline(spec).room_bytes(_plan(spec).geometry.task_items)
    rooms = [[context.RawArray("B", size) for _ in range(_ROOMS)] for _ in range(makers)]
    free, full = [context.SimpleQueue() for _ in range(makers)], context.SimpleQueue()
    taken = context.RawValue("Q", 0)
    children = [
        context.Process(target=_make, args=(into, number, spec, rooms[number], free[number], full))
        for number in range(makers)
    ]
    children.append(context.Process(target=_take, args=(spec, rooms, free, full, taken, (copy, normalizes))))
    for child in children:
        child.start()
    try:
        return _measured(children, taken, seconds)
    finally:
        for child in children:
            child.kill()
            child.join()


def _measured(children: list[Any], taken: Any, seconds: float) -> Speed:  # noqa: ANN401 - multiprocessing's
    deadline = time.monotonic() + 180
    while not taken.value:
        if time.monotonic() > deadline or not all(child.is_alive() for child in children):
            raise SystemExit("the loop by hand brought no sample")
        time.sleep(0.05)
    time.sleep(WARM_S)
    processes = [psutil.Process(child.pid) for child in children]
    before, count, began = [seconds_of(each) for each in processes], taken.value, time.perf_counter()
    time.sleep(seconds)
    used = [seconds_of(each) - start for each, start in zip(processes, before, strict=True)]
    samples, took = taken.value - count, time.perf_counter() - began
    costs = {"workers": sum(used[:-1]), "trainer": used[-1]}
    return Speed(samples / took, {part: cost / samples * 1e6 for part, cost in costs.items()})


def _plan(spec: Spec) -> Any:  # noqa: ANN401 - a StreamPlan
    parsed = parse_spec(spec)
    [plan] = Catalog.open(parsed, parsed.roots).plans
    return plan


def _pipeline(spec: Spec) -> Pipeline:
    return Pipeline(_plan(spec), parse_spec(spec).roots)


def _make(
    into: Callable[[int, Spec], Step],
    number: int,
    spec: Spec,
    rooms: list[Any],
    free: Any,  # noqa: ANN401 - a queue
    full: Any,  # noqa: ANN401 - the same
) -> None:
    memory = [np.frombuffer(room, np.uint8) for room in rooms]
    step = into(number, spec)
    for place in range(_ROOMS):
        full.put((number, place, step(memory[place])))
    while True:
        place = free.get()
        full.put((number, place, step(memory[place])))


def _take(
    spec: Spec,
    rooms: list[list[Any]],
    free: list[Any],
    full: Any,  # noqa: ANN401 - a queue
    taken: Any,  # noqa: ANN401 - a shared number
    how: tuple[bool, bool],
) -> None:
    copy, normalizes = how
    plan, memory = _plan(spec), [[np.frombuffer(room, np.uint8) for room in each] for each in rooms]
    batch, image = plan.settings.batch_size, plan.schema[0]
    step = batch * plan.sample_bytes
    held, turn = [np.empty(step, np.uint8) for _ in range(_HELD)], 0
    normalizer = batch_normalizer(plan, None) if normalizes else None
    while True:
        number, place, samples = full.get()
        room = memory[number][place]
        if normalizer:
            images = room[: samples * image.sample_bytes].view(image.dtype).reshape(samples, *image.shape)
            for start in range(0, samples, batch):
                normalizer(images[start : start + batch])
        elif copy:
            for start in range(0, samples * plan.sample_bytes, step):
                part = room[start : min(start + step, samples * plan.sample_bytes)]
                np.copyto(held[turn % _HELD][: len(part)], part)
                turn += 1
        taken.value += samples
        free[number].put(place)


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
