"""How many tasks a second the ventilator leases and has confirmed: a real ventilator, workers that do nothing.

This process plays the workers and the sink that confirms (`penstock plan` measures by the same peers); the ventilator
is the real process. What is measured is the ventilator with its socket, its core and its task book.
"""

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import structlog

from penstock.commands.planning.simulated_peers import SimulatedPeers
from penstock.protocol.transport.sockets import Hub


@contextmanager
def ventilator(address: str, items: int, folder: Path, *flags: str) -> Generator[None]:
    """Run a real ventilator over a manifest of `items` images that are never opened."""
    (folder / "list.csv").write_text("path,label\n" + "".join(f"images/{i:08d}.jpg,c{i % 10}\n" for i in range(items)))
    (folder / "spec.toml").write_text(
        f'[roots]\nhere = "{folder}"\n[streams.train]\ntask_items = 1\n'
        '[streams.train.source]\nkind = "manifest"\nroot = "here"\npath = "list.csv"\n'
        '[streams.train.transform]\ncolor = "gray"\nresize = {height = 1, width = 1}\n'
    )
    service = [sys.executable, "-P", "-m", "penstock.ventilator"]
    command = [*service, "--spec", str(folder / "spec.toml"), "--bind", address]
    process = subprocess.Popen([*command, "--log-level", "error", *flags])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def measure(workers: int, slots: int, seconds: float, *flags: str) -> float:
    """Return the tasks a second that a fresh ventilator, with `flags`, leases to `workers` and has confirmed."""
    with tempfile.TemporaryDirectory(prefix="pk-") as folder:
        address = f"ipc://{folder}/v.sock"
        with ventilator(address, 200_000, Path(folder), *flags):
            hub = Hub(structlog.get_logger())
            peers = SimulatedPeers(hub, address, "train", workers, slots)
            peers.run(1.0)
            rate = peers.run(seconds)
            hub.close()
            return rate


if __name__ == "__main__":
    for count, slots in ((2, 64), (200, 4)):
        print(f"{count:4d} workers × {slots} slots: {measure(count, slots, 5.0):10,.0f} tasks/s")
