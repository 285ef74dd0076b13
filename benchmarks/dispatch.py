"""How many tasks a second the ventilator leases and has confirmed, and what each costs it: by workers, sinks and items.

The ventilator is the real process; this one plays the workers, which do nothing, and the sinks, which confirm
(`topology/busy_peers.py`). All share this machine's cores. What counts is the ventilator's processor time for a task,
of the thread that runs its core and of the one that ZeroMQ sends and receives in; the rate is what two cores make of
it together with the peers. The ventilator's own memory, without the pages of files that the kernel keeps for it, is
told at the beginning and at the end of each measurement.

    python benchmarks/dispatch.py                                # the table: about two minutes
    python benchmarks/dispatch.py --items 100000000 --seconds 300 --every 30 --rounds 1 --workers 1000 --sinks 16 \
        --folder build/dispatch
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from topology.busy_peers import WINDOW, BusyPeers

#: Seconds of warming up, and for what is under way to come through twice then; until the ventilator has listed; rows
#: that are written at once.
_WARM_S, _FLOWING_S, _START_S, _ROWS = 1.0, 60.0, 3600.0, 100_000
_ALL = 2**62


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: for so long, or until so many tasks are through."""

    workers: int
    slots: int
    seconds: float
    tasks: int = _ALL
    sinks: int = 1
    items: int = 200_000
    #: Whether a worker finishes all that it has got in one message.
    together: bool = True
    #: Whether sinks report every 10 ms, changed and answered or not.
    eager: bool = False
    #: Whether each sink is on a host with its share of the workers.
    near: bool = False
    #: Where manifests stay for the next run.
    folder: Path | None = None
    #: After so many seconds each, tell how it goes (0: not).
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement."""

    tasks: int
    rate: float
    #: Processor time a task (µs): of the ventilator's core, of its other threads, and of the peers.
    core_us: float
    transport_us: float
    peers_us: float
    #: Memory of its own that the ventilator has at the beginning and at the end (MB): no pages of files, which the
    #: kernel may drop, such as those of the index of a manifest.
    before_mb: float
    after_mb: float


@contextmanager
def ventilator(address: str, items: int, folder: Path, *flags: str) -> Generator[int]:
    """Run a real ventilator over a manifest of `items` images that are never opened; yield its process ID."""
    place = folder / f"{items}.csv"
    if not place.exists():
        with place.with_suffix(".part").open("wb") as file:
            file.write(b"path,label\n")
            for first in range(0, items, _ROWS):
                file.write(_rows(np.arange(first, min(first + _ROWS, items))))
        place.with_suffix(".part").rename(place)
    spec = folder / f"{items}.toml"
    spec.write_text(
        f'[roots]\nhere = "{folder}"\n[streams.train]\ntask_items = 1\nmix = 1\n'
        f'[streams.train.source]\nkind = "manifest"\nroot = "here"\npath = "{place.name}"\n'
        '[streams.train.transform]\ncolor = "gray"\nresize = {height = 1, width = 1}\n'
    )
    service = [sys.executable, "-P", "-m", "penstock.ventilator"]
    process = subprocess.Popen([*service, "--spec", str(spec), "--bind", address, "--log-level", "error", *flags])
    try:
        deadline = time.monotonic() + _START_S
        path = Path(address.removeprefix("ipc://"))
        while not path.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def _rows(numbers: npt.NDArray[np.int64]) -> bytes:
    """Return the lines of a manifest for made-up images of these numbers, which have eight digits at most."""
    line = b"images/00000000.jpg,c0\n"
    found = np.tile(np.frombuffer(line, np.uint8), (len(numbers), 1))
    for place in range(8):
        found[:, 14 - place] += (numbers // 10**place % 10).astype(np.uint8)
    found[:, -2] += (numbers % 10).astype(np.uint8)
    return found.tobytes()


def measure_case(case: Case, *flags: str) -> Measured:
    """Measure a fresh ventilator, with `flags`."""
    with tempfile.TemporaryDirectory(prefix="pk-") as own:
        path = Path(own) / "v.sock"
        with ventilator(f"ipc://{path}", case.items, case.folder or Path(own), *flags) as pid:
            peers = BusyPeers(
                str(path),
                "train",
                workers=case.workers,
                slots=case.slots,
                sinks=case.sinks,
                together=case.together,
                eager=case.eager,
                near=case.near,
            )
            peers.run(_WARM_S)
            peers.run(_FLOWING_S, 2 * WINDOW)
            before_mb, used, own_s, began = _own_mb(pid), _used(pid), time.process_time(), time.perf_counter()
            done = _run(peers, case, pid)
            took = time.perf_counter() - began
            now, a_task = _used(pid), 1e6 / max(1, done)
            measured = Measured(
                done,
                done / took,
                (now[0] - used[0]) * a_task,
                (now[1] - used[1]) * a_task,
                (time.process_time() - own_s) * a_task,
                before_mb,
                _own_mb(pid),
            )
            peers.close()
            return measured


def _run(peers: BusyPeers, case: Case, pid: int) -> int:
    """Let the peers work; return how many tasks were finished. If asked, print what each stretch of time cost."""
    if not case.every:
        return peers.run(case.seconds, case.tasks)
    began, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < case.seconds and done < case.tasks:
        used, since = _used(pid)[0], time.perf_counter()
        more = peers.run(min(case.every, case.seconds - passed), case.tasks - done)
        done += more
        cost, rate = (_used(pid)[0] - used) * 1e6 / max(1, more), more / (time.perf_counter() - since)
        passed = time.perf_counter() - began
        print(
            f"  after {passed:4.0f} s: {done:11,} tasks, {rate:6,.0f}/s, core {cost:.1f} µs a task, "
            f"{_own_mb(pid):.0f} MB, {peers.greeted_again} peers were lost",
            flush=True,
        )
    return done


def measure(workers: int, slots: int, seconds: float, *flags: str) -> float:
    """Return the tasks a second that a fresh ventilator, with `flags`, leases to `workers` and has confirmed."""
    return measure_case(Case(workers, slots, seconds), *flags).rate


def _used(pid: int) -> tuple[float, float]:
    """Return the processor seconds of a process's first thread, and of its others: the kernel's own, in nanoseconds."""
    each = {
        int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e9
        for task in Path(f"/proc/{pid}/task").iterdir()
    }
    return each[pid], sum(each.values()) - each[pid]


def _own_mb(pid: int) -> float:
    resident, of_files = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (resident - of_files) * resource.getpagesize() / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--sinks", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    parser.add_argument("--tasks", type=int, default=_ALL, help="end a measurement after so many tasks")
    parser.add_argument("--rounds", type=int, default=3, help="medians are shown")
    parser.add_argument("--apart", action="store_true", help="workers finish each task in a message of its own")
    parser.add_argument("--eager", action="store_true", help="sinks report every 10 ms, changed or not")
    parser.add_argument("--every", type=float, default=0.0, help="tell how it goes after so many seconds each")
    parser.add_argument("--near", action="store_true", help="each sink is on a host with its share of the workers")
    parser.add_argument("--folder", type=Path, default=None, help="keeps manifests and their index for the next run")
    options = parser.parse_args(arguments)
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = options.folder and options.folder.resolve()
    cases = [
        Case(
            workers,
            options.slots,
            options.seconds if options.tasks == _ALL else _START_S,
            options.tasks,
            sinks,
            items,
            not options.apart,
            options.eager,
            options.near,
            folder,
            options.every,
        )
        for sinks in options.sinks
        for workers in options.workers
        for items in options.items
    ]
    found: dict[Case, list[Measured]] = {case: [] for case in cases}
    for _ in range(options.rounds):
        for case in cases:
            found[case].append(measure_case(case))
    print("| sinks | workers | items | tasks/s | core, µs a task | transport, µs | peers, µs | memory, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for case, each in found.items():
        rate, core, transport, peers = (
            statistics.median(getattr(one, name) for one in each)
            for name in ("rate", "core_us", "transport_us", "peers_us")
        )
        last = each[-1]
        print(
            f"| {case.sinks} | {case.workers} × {case.slots} | {case.items:,} | {rate:,.0f} | {core:.1f} | "
            f"{transport:.1f} | {peers:.1f} | {last.before_mb:.0f} → {last.after_mb:.0f} ({last.tasks:,} tasks) |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
