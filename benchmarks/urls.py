"""What latency costs: the same JPEG files from a folder, and from an HTTP server on this machine that answers late.

Owns the measurement; `--latency-ms` is how late each answer is. Prints files/s of reading alone, by one request at once
and by many, and samples/s of a whole stack from either place.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

import penstock
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.sources.fetchers import REQUESTS
from penstock.sources.file_reader import UrlReader

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

#: Side of the images (pixels) and how many there are.
SIDE, FILES = 256, 1536


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = make_files(Path(name))
        near, far = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(
            target=serve_late, args=(str(folder), options.latency_ms / 1e3, far), daemon=True
        )
        server.start()
        url: str = near.recv()
        for requests in (1, REQUESTS):
            print(f"reading alone, {requests} at once: {reading(folder, url, requests):8,.0f} files/s")
        for root in (str(folder), url):
            print(f"stack of {options.workers} worker(s), {root[:4]}…: {stack(root, options.workers):8,.0f} samples/s")
        server.terminate()
    return 0


def make_files(folder: Path) -> Path:
    """Write the images: noise over a slope, about 20 kB each."""
    rng = np.random.default_rng(0)
    (folder / "all").mkdir()
    for number in range(FILES):
        slope = np.linspace(0, 200, SIDE)[:, np.newaxis, np.newaxis]
        picture = slope + rng.integers(0, 40, (SIDE, SIDE, 3))
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"all/{number:04}.jpg", quality=80)
    return folder


def serve_late(folder: str, latency_s: float, told: Connection) -> None:
    """Serve the folder until this process is ended."""
    from support.web import serve  # noqa: PLC0415 - of the tests  # pyright: ignore[reportMissingImports]

    with serve(Path(folder), latency_s) as web:
        told.send(web.url)
        time.sleep(3600)


def reading(folder: Path, url: str, requests: int) -> float:
    """Return files/s of one worker's reading."""
    count = 4 * requests + 60
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))[:count]
    items = tuple(Item(item=number, path=path, label=0) for number, path in enumerate(paths))
    task = Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=items)
    files = UrlReader(url, allow_outside=False, limit_bytes=10**7, requests=requests)
    list(files.read(task.replaced(items=items[:requests])).contents)  # opens the connections
    began = time.perf_counter()
    good = all(isinstance(content, bytes) for content in files.read(task).contents)
    took_s = time.perf_counter() - began
    assert good, "files could not be read"  # noqa: S101 - a benchmark of failures is none
    return count / took_s


def stack(root: str, workers: int) -> float:
    """Return samples/s of the second epoch of a whole stack."""
    source = {"kind": "directory", "root": "photos"}
    stream = {"source": source, "transform": {"resize": {"height": 150, "width": 150}}, "batch_size": 64}
    with penstock.local({"roots": {"photos": root}, "streams": {"train": stream}}, workers=workers) as running:
        feed = running.feed()
        for _ in feed:
            pass
        began = time.perf_counter()
        count = sum(len(batch["label"]) for batch in feed)
        return count / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
