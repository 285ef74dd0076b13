"""Real streams for tests: folders of real JPEG files, specs, running stacks, and the digest of what a trainer got.

Owns short heartbeats, so that a loss is noticed while a test waits. Knows no part's inside: a stack is started, fed
from and killed as a user (or a machine) would.
"""

import csv
import hashlib
import os
import socket
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
from support.images import encode, picture

from penstock.launcher.stack import Addresses, LocalStack
from penstock.protocol.wire import Array
from penstock.trainer.feed.batch_feed import BatchFeed

#: Losses are noticed within about two seconds, and no stall of a busy machine passes for one.
INTERVALS = {"heartbeat_s": 0.2, "silence_s": 2.0}
#: Options of every service of a test's stack; random kills must not add up to a poisonous item.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "ventilator": {**INTERVALS, "confirm_s": 1.0, "hedge_s": 0.5, "attempts": 50},
    "sink": INTERVALS,
    "worker": INTERVALS,
}
#: Longest that any wait of a test takes (s): far more than a loaded machine needs.
DEADLINE_S = 60.0

Batch = dict[str, Array]
Value = TypeVar("Value")


def make_images(folder: Path, each: int = 60, classes: Iterable[str] = ("cat", "dog"), size: int = 64) -> Path:
    """Write `each` JPEG files a class below `folder`, all different, their sides `size` to `size + 31`; return it."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            rng = np.random.default_rng([label, number])
            height, width = (size + rng.integers(0, 32, 2)).tolist()
            (folder / name / f"{number:04}.jpg").write_bytes(encode(picture(number, label, height, width)))
    return folder


def make_manifest(root: Path) -> str:
    """Write a CSV manifest of all JPEG files below `root`, in an order of its own; return its name below the root."""
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows((path, path.partition("/")[0]) for path in files[::-1])
    return "manifest.csv"


def make_stream(**changes: Any) -> dict[str, Any]:
    """Return the spec of a stream that uses much at once: random crops, flips, mix windows, several patches an item."""
    return {
        "source": {"kind": "directory", "root": "photos"},
        "transform": {
            "patch": {"kind": "random", "height": 32, "width": 40},
            "augment": {"horizontal_flip": True},
        },
        "patches": 3,
        "mix": 8,
        "task_items": 4,
        "batch_size": 16,
        "window_mb": 0.1,
        **changes,
    }


def make_spec(root: Path, seed: int = 11, **streams: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec over the images below `root`; default: one stream, `train`."""
    return {"seed": seed, "roots": {"photos": str(root)}, "streams": streams or {"train": make_stream()}}


def run_stack(
    spec: Mapping[str, Any],
    workers: int,
    *,
    addresses: Addresses | None = None,
    run_dir: Path | None = None,
    keys: str | None = None,
    dashboard: str = "",
    standby: bool = False,
    **options: Mapping[str, Any],
) -> LocalStack:
    """Return a stack, not yet started, with short heartbeats; `options` by service go before the usual ones."""
    merged = {name: {**OPTIONS[name], **options.get(name, {})} for name in OPTIONS}
    return LocalStack(
        spec,
        workers=workers,
        addresses=addresses,
        run_dir=run_dir,
        keys=keys,
        dashboard=dashboard,
        standby=standby,
        options=merged,
    )


def take(feed: BatchFeed[Any], batches: int) -> list[Batch]:
    """Return the next batches, across epochs' ends; the last counts as consumed once the feed is asked for more."""
    taken: list[Batch] = []
    while len(taken) < batches:
        for batch in feed:
            taken.append(batch)
            if len(taken) == batches:
                break
    return taken


def epochs(feed: BatchFeed[Any], count: int) -> list[Batch]:
    """Return the batches of the next `count` epochs."""
    return [batch for _ in range(count) for batch in feed]


def read_in_step(spec: Mapping[str, Any], ranks: int, count: int) -> list[list[Batch]]:
    """Return the batches of `count` epochs that each of so many ranks gets from one sink that nothing disturbs."""
    with run_stack(spec, workers=2) as stack:
        feeds = [stack.feed(rank=rank, world_size=ranks) for rank in range(ranks)]
        rounds = [batches for _ in range(count) for batches in zip(*feeds, strict=True)]
    return [list(batches) for batches in zip(*rounds, strict=True)]


def digest(batches: Iterable[Batch]) -> str:
    """Return the SHA-256 of all fields of the batches, in order: names, types, shapes and bytes."""
    sha = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch):
            array = batch[name]
            sha.update(f"{name} {array.dtype} {array.shape};".encode())
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def until(condition: Callable[[], Value], what: str, seconds: float = DEADLINE_S) -> Value:
    """Return what `condition` returns as soon as that is true; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.02)  # how often to look, not how long to wait
    return value


def told(stack: LocalStack, part: str) -> dict[str, Any]:
    """Return what a part says of itself, as soon as it says anything: one that gets no processor answers late."""

    def answer() -> dict[str, Any] | None:
        status = stack.status()[part]
        return None if str(status.get("why", "")).startswith("no answer") else status

    return until(answer, f"{part} to answer") or {}


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs. One that ended does not, though its parent may take seconds to notice."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def services() -> list[psutil.Process]:
    """Return the running processes below this one, without that which forks them: it is kept for the next stack.

    After a minute it leaves, and is a zombie until that stack.
    """
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # or a zombie
            if "penstock.launcher.fork_server" not in child.cmdline():
                found.append(child)
    return found


def gone(processes: Iterable[psutil.Process]) -> None:
    """Wait until none of the processes runs."""
    until(lambda: not any(is_alive(each) for each in processes), f"these to be gone: {processes}")


def joined(stack: LocalStack, workers: int) -> None:
    """Wait until so many workers stand in the ventilator's books."""
    until(lambda: workers == told(stack, "ventilator").get("workers"), f"{workers} workers to join")


@contextmanager
def held_ports(count: int) -> Generator[list[int]]:
    """Hold TCP ports of loopback: no other process gets them by chance, and one that asks by number can bind.

    That is so because both sides allow an address to be used again, and no process listens here.
    """
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]


def memory_mb(stack: LocalStack) -> float:
    """Return the memory (MB) of all processes of a stack and of this one: their own, and what they share, once.

    Without the pages of files: those are shared with whatever else runs on the machine, so that their share changes
    when other tests come and go.
    """
    pids = [os.getpid(), *(child.process.pid for child in stack.children.values())]
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    own_kb = sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return own_kb / 1e3 + sum(shared_segments(pids).values()) / 1e6


def shared_segments(pids: Iterable[int]) -> dict[int, int]:
    """Return the segments of shared memory that processes have open or mapped: inode to bytes in memory."""
    found: dict[int, int] = {}
    for pid in pids:
        for entry in [*Path(f"/proc/{pid}/fd").iterdir(), *Path(f"/proc/{pid}/map_files").iterdir()]:
            with suppress(OSError):  # closed meanwhile
                if str(entry.readlink()).startswith("/memfd:penstock"):
                    status = entry.stat()
                    found[status.st_ino] = status.st_blocks * 512
    return found
