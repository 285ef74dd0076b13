"""Bytes a second through two sinks over those through one, and the processor time a gigabyte from 1 to 16 sinks.

Ventilator, sinks and trainers are real; workers make nothing, and push the same arrays over TCP for each task, to the
sinks that the task names. All processes share this machine's cores: the table says how much of a core each part takes
for a gigabyte, and so how many cores a number of sinks needs, and where this machine is the limit.

    python benchmarks/topology/sinks.py                  # about four minutes
    python benchmarks/topology/sinks.py --seconds 1 --rounds 1 --sinks 1 2
    python benchmarks/topology/sinks.py --most 0.05 --seconds 10   # each sink carries the same, however many there are

As fast as it goes, each of many sinks carries little here, and what it does whether bytes pass or not (heartbeats,
reports, looking at its connections) is divided by few bytes. So their cost is compared at the same load for each.
"""

import argparse
import math
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import psutil

import penstock

# The workers are those of throughput.py, one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from throughput import run_workers, write_spec

#: The ranks that share the stream.
RANKS = 16
#: What a sink may hold (MB): some rounds of all ranks.
_WINDOW_MB = 400
#: Processes of simulated workers, workers in each, tasks that each leases; processes that read, each for some ranks.
_PUSHERS, _WORKERS, _SLOTS, _READERS = 2, 4, 4, 2
#: Gigabytes that pass before a measurement begins, and longest time until then (s).
_WARM_GB, _START_S = 0.3, 90.0
#: From which share of a core, or of all of them, on it is called full.
_FULL = 0.9
#: The parts whose processor time is told.
PARTS = ("ventilator", "sinks", "workers", "trainers")


@dataclass(frozen=True)
class Measured:
    """One measurement."""

    gb_a_second: float
    #: Processor seconds a gigabyte, by part.
    cost: dict[str, float]
    #: Fraction of this machine's cores that other programs left idle or these processes used.
    busy: float


def run_trainers(ranks: Sequence[tuple[int, str]], passed: "Synchronized[int]", most: float) -> None:
    """Read the batches of some ranks in turn until killed, so many bytes a second at most; count them in `passed`."""
    feeds = [penstock.connect(address, rank=rank, world_size=RANKS, timeout_s=60) for rank, address in ranks]
    next_at = time.monotonic()
    while True:
        for batches in zip(*feeds, strict=True):
            size = sum(batch["image"].nbytes for batch in batches)
            with passed.get_lock():
                passed.value += size
            next_at = max(next_at + size / most, time.monotonic() - 1.0)  # what was missed is made up for a second
            time.sleep(max(0.0, next_at - time.monotonic()))


def free_ports(count: int) -> list[int]:
    """Return TCP ports of loopback that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def stack(sinks: int, most: float) -> Generator[tuple[dict[str, list[int]], "Synchronized[int]"]]:
    """Run everything; yield the processes of each part, and how many bytes trainers have.

    `most`: bytes a second that pass each sink at most.
    """
    ports = free_ports(1 + 2 * sinks)
    ventilator, *others = [f"tcp://127.0.0.1:{port}" for port in ports]
    results, trainers = others[:sinks], others[sinks:]
    services: list[subprocess.Popen[bytes]] = []
    children: list[BaseProcess] = []
    spawn = multiprocessing.get_context("spawn")
    passed: Any = spawn.Value("q", 0)

    def service(part: str, *flags: str) -> int:
        quiet = ["--log-level", "error", "--health", ""]
        services.append(subprocess.Popen([sys.executable, "-P", "-m", f"penstock.{part}", *flags, *quiet]))
        return services[-1].pid

    def child(target: Any, *arguments: object) -> int:  # noqa: ANN401 - a function
        children.append(spawn.Process(target=target, args=arguments, daemon=True))
        children[-1].start()
        assert children[-1].pid is not None  # noqa: S101 - it was started
        return children[-1].pid

    with tempfile.TemporaryDirectory(prefix="pk-") as folder:
        pids = {
            "ventilator": [
                service("ventilator", "--spec", str(write_spec(Path(folder), _WINDOW_MB)), "--bind", ventilator)
            ]
        }
        try:
            pids["sinks"] = [
                service(
                    "sink",
                    *(("--name", f"sink-{number}") if sinks > 1 else ()),
                    *("--ventilator", ventilator, "--results", results[number], "--bind", trainers[number]),
                    "--no-shared-memory",
                )
                for number in range(sinks)
            ]
            pids["workers"] = [child(run_workers, ventilator, _WORKERS, _SLOTS) for _ in range(_PUSHERS)]
            places = [(rank, trainers[rank * sinks // RANKS]) for rank in range(RANKS)]
            each = RANKS // _READERS
            pids["trainers"] = [
                child(run_trainers, places[start : start + each], passed, most * sinks / _READERS)
                for start in range(0, RANKS, each)
            ]
            yield pids, passed
        finally:
            for process in children:
                process.kill()
            for running in services:
                running.terminate()
            for running in services:
                running.wait(20)


def _spent(pids: Sequence[int]) -> float:
    """Return the processor seconds of processes so far."""
    total = 0.0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def measure(sinks: int, seconds: float, most: float = math.inf) -> Measured:
    """Run a stack and measure it once it flows; `most`: bytes a second that pass each sink at most."""
    with stack(sinks, most) as (pids, passed):
        deadline = time.monotonic() + _START_S
        while passed.value < min(_WARM_GB * 1e9, 3 * most * sinks):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{sinks} sinks passed {passed.value / 1e9:.2f} GB in {_START_S:.0f} s")
            time.sleep(0.05)
        before, began, bytes_before = {part: _spent(pids[part]) for part in PARTS}, time.monotonic(), passed.value
        machine = psutil.cpu_times()
        time.sleep(seconds)
        spent = {part: _spent(pids[part]) - before[part] for part in PARTS}
        took, gb = time.monotonic() - began, (passed.value - bytes_before) / 1e9
        after = psutil.cpu_times()
    others = (after.user + after.system) - (machine.user + machine.system) - sum(spent.values())
    cores = len(os.sched_getaffinity(0))
    if others > 0.1 * took * cores:
        print(f"  disturbed: other programs took {others / took:.1f} cores", flush=True)
    if not gb:
        raise RuntimeError(f"{sinks} sinks passed nothing in {took:.1f} s: measure for longer (--seconds)")
    return Measured(gb / took, {part: spent[part] / gb for part in PARTS}, sum(spent.values()) / took / cores)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Measures several sinks against one.")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each number of sinks")
    parser.add_argument("--sinks", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--most", type=float, default=math.inf, help="GB a second that pass each sink at most")
    given = parser.parse_args()
    found: dict[int, list[Measured]] = {sinks: [] for sinks in given.sinks}
    for _ in range(given.rounds):  # side by side: what disturbs the machine disturbs all of them
        for sinks in given.sinks:
            found[sinks].append(measure(sinks, given.seconds, given.most * 1e9))
            last = found[sinks][-1]
            print(f"  {sinks:2d} sinks: {last.gb_a_second:.2f} GB/s, {last.busy:.0%} of the cores", flush=True)
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores; {RANKS} ranks; processor seconds a GB:")
    print("sinks   GB/s  " + "".join(f"{part:>12}" for part in PARTS) + "   a sink's core carries")
    for sinks, rounds in found.items():
        cost = {part: statistics.median(each.cost[part] for each in rounds) for part in PARTS}
        speed = statistics.median(each.gb_a_second for each in rounds)
        row = "".join(f"{cost[part]:12.3f}" for part in PARTS)
        print(f"{sinks:5d}  {speed:5.2f}  {row}   {1 / cost['sinks']:.2f} GB/s")
    for sinks, rounds in found.items():
        busy = statistics.median(each.busy for each in rounds)
        filled = statistics.median(each.cost["sinks"] * each.gb_a_second / sinks for each in rounds)
        limit = (
            "the machine is the limit"
            if busy > _FULL > filled
            else "a sink's core is the limit"
            if filled > _FULL
            else ""
        )
        if limit:
            print(f"{sinks} sinks: {limit}: all parts use {busy:.0%} of {cores} cores, a sink {filled:.0%} of one")
    if {1, 2} <= found.keys() and math.isinf(given.most):
        ratios = [two.gb_a_second / one.gb_a_second for one, two in zip(found[1], found[2], strict=True)]
        own = [one.cost["sinks"] / two.cost["sinks"] for one, two in zip(found[1], found[2], strict=True)]
        needed = statistics.median(sum(each.cost.values()) / each.cost["sinks"] * 2 for each in found[2])
        print(f"two sinks over one here: {statistics.median(ratios):.2f} times the bytes a second;")
        print(
            f"with a core for each sink and {needed:.0f} cores in all: {2 * statistics.median(own):.2f} times "
            "(twice, less what a sink's work on a byte costs more than that of one sink)"
        )


if __name__ == "__main__":
    main()
