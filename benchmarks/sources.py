"""What reading costs: tar shards against a bare sequential read and other tools, and below a URL that answers late.

Every number is samples/s in the median of several rounds, all measured in each round; ratios are of one round, in the
median. Without decoding unless it says so; decoding is simplejpeg for all, in one process. WebDataset, `datasets` and
MosaicML Streaming take part where they are installed: `make test-formats` makes an environment with the first two
(`build/formats/bin/python -P benchmarks/sources.py`); the third brings 6 GB of PyTorch with CUDA.
"""

import argparse
import importlib.util
import io
import logging
import multiprocessing
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from penstock.protocol.messages import Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import Roots, open_reader
from penstock.sources.fetchers import REQUESTS
from penstock.sources.file_reader import UrlReader
from penstock.ventilator.sources.catalog import Catalog

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

#: Side of the images (pixels), how many different ones there are.
SIDE, DIFFERENT = 448, 32
#: Bytes of one bare read; images that are read below a URL, and one after the other.
CHUNK, REMOTE, ONE_BY_ONE = 1_048_576, 1536, 64

Read = Callable[[], Iterator[bytes]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--folder", default=None, help="where the shards are written; default: a temporary folder")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        shards = write_shards(folder, options.images)
        readers = {"bare sequential read": lambda: bare(shards), "penstock": penstock(folder)} | others(folder, shards)
        for title, cold, decode in (
            ("in the page cache", False, False),
            ("page cache cold", True, False),
            ("in the page cache, decoded", False, True),
        ):
            table(title, readers, shards, options, cold=cold, decode=decode)
        remote(folder, options)
    return 0


def write_shards(folder: Path, images: int) -> list[Path]:
    """Write four tar shards with WebDataset's names."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(DIFFERENT):
        slope = np.linspace(0, 200, SIDE)[:, np.newaxis, np.newaxis]
        stream = io.BytesIO()
        Image.fromarray((slope + rng.integers(0, 40, (SIDE, SIDE, 3))).astype(np.uint8)).save(
            stream, "JPEG", quality=85
        )
        files.append(stream.getvalue())
    places = [folder / f"train-{number:06d}.tar" for number in range(4)]
    for number, place in enumerate(places):
        with tarfile.open(place, "w") as tar:
            for item in range(number, images, len(places)):
                for suffix, content in (("jpg", files[item % DIFFERENT]), ("cls", str(item % 7).encode())):
                    member = tarfile.TarInfo(f"{item:09d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    os.sync()
    print(f"{images} images of {sum(map(len, files)) // DIFFERENT // 1000} kB in {len(places)} shards")
    return places


def bare(shards: Sequence[Path]) -> Iterator[bytes]:
    """Read the shards from the first byte to the last."""
    for shard in shards:
        with shard.open("rb", buffering=0) as opened:
            while chunk := opened.read(CHUNK):
                yield chunk


def plan_of(root: str) -> tuple[Catalog, StreamPlan, dict[str, str]]:
    """Return the catalog and the plan of the shards in their own order."""
    source = {"kind": "tar", "root": "shards", "path": "train-{000000..000003}.tar"}
    stream = {"source": source, "transform": {"resize": [SIDE, SIDE]}, "shuffle": False, "task_items": 32}
    spec = parse_spec({"roots": {"shards": root}, "streams": {"train": stream}})
    catalog = Catalog.open(spec, spec.roots)
    return catalog, catalog.plans[0], dict(spec.roots)


def penstock(folder: Path) -> Read:
    """Return what reads every task as a worker does; the shards are listed before, by the ventilator."""
    catalog, plan, roots = plan_of(str(folder))
    tasks = [
        catalog.task(TaskKey(stream="train", ordinal=ordinal), 0) for ordinal in range(plan.geometry.tasks_per_epoch)
    ]
    return lambda: read_tasks(plan, roots, tasks)


def read_tasks(plan: StreamPlan, roots: Roots, tasks: Sequence[Task]) -> Iterator[bytes]:
    """Read tasks as a worker does."""
    reader = open_reader(plan, roots)
    for task in tasks:
        for content in reader.read(task).contents:
            assert isinstance(content, bytes), content  # noqa: S101 - a benchmark of failures is none
            yield content


def others(folder: Path, shards: Sequence[Path]) -> dict[str, Read]:
    """Return the readers of other tools that are installed; say which are not."""
    found: dict[str, Read] = {}
    logging.disable(logging.WARNING)
    paths = list(map(str, shards))
    if importlib.util.find_spec("webdataset"):
        found["WebDataset"] = lambda: of_webdataset(paths)
    if importlib.util.find_spec("datasets"):
        found["datasets"] = lambda: of_datasets(paths)
    if importlib.util.find_spec("streaming"):
        write_mds(folder / "mds", shards)
        found["MosaicML Streaming"] = lambda: of_streaming(folder / "mds")
    for name, package in (("WebDataset", "webdataset"), ("datasets", "datasets"), ("MosaicML", "streaming")):
        if not importlib.util.find_spec(package):
            print(f"{name} is not installed here, and takes no part")
    return found


def of_webdataset(paths: list[str]) -> Iterator[bytes]:
    """Read with WebDataset."""
    import webdataset  # noqa: PLC0415 - optional  # pyright: ignore[reportMissingImports]

    for content, _ in webdataset.WebDataset(paths, shardshuffle=False).to_tuple("jpg", "cls"):
        yield content


def of_datasets(paths: list[str]) -> Iterator[bytes]:
    """Read with Hugging Face `datasets`, streaming, images left encoded."""
    import datasets  # noqa: PLC0415 - optional  # pyright: ignore[reportMissingImports]

    found = datasets.load_dataset("webdataset", data_files={"train": paths}, split="train", streaming=True)
    for row in found.cast_column("jpg", datasets.Image(decode=False)):
        yield row["jpg"]["bytes"]


def write_mds(folder: Path, shards: Sequence[Path]) -> None:
    """Write the same images with MosaicML Streaming's writer, which has a format of its own."""
    import streaming  # noqa: PLC0415 - optional  # pyright: ignore[reportMissingImports]

    with streaming.MDSWriter(out=str(folder), columns={"jpg": "bytes", "cls": "int"}) as writer:
        for content in penstock(shards[0].parent)():
            writer.write({"jpg": content, "cls": 0})


def of_streaming(folder: Path) -> Iterator[bytes]:
    """Read with MosaicML Streaming."""
    import streaming  # noqa: PLC0415 - optional  # pyright: ignore[reportMissingImports]

    for row in streaming.StreamingDataset(local=str(folder), shuffle=False, batch_size=1):
        yield row["jpg"]


def table(
    title: str,
    readers: dict[str, Read],
    shards: Sequence[Path],
    options: argparse.Namespace,
    *,
    cold: bool,
    decode: bool,
) -> None:
    """Measure all readers in turn, round by round, and print their rates."""
    rates: dict[str, list[float]] = {name: [] for name in readers if not (decode and name.startswith("bare"))}
    for number in range(options.rounds + 1):
        for name, found in rates.items():
            if cold:
                drop(shards)
            began = time.perf_counter()
            count = consume(readers[name](), decode=decode)
            rate = (options.images if name.startswith("bare") else count) / (time.perf_counter() - began)
            assert count == options.images or name.startswith("bare"), (name, count)  # noqa: S101 - as above
            if number:  # the first round imports what each reader needs
                found.append(rate)
    print(f"\n{title}; samples/s, median of {options.rounds} rounds (lowest to highest)")
    first = next(iter(rates.values()))
    for name, each in rates.items():
        ratio = median(mine / base for mine, base in zip(each, first, strict=True))
        print(f"  {name:24} {median(each):9,.0f} ({min(each):,.0f} to {max(each):,.0f}), {ratio:5.2f} of the first")


def consume(contents: Iterator[bytes], *, decode: bool) -> int:
    """Take all contents; return how many there were."""
    count = 0
    for content in contents:
        if decode:
            simplejpeg.decode_jpeg(content)
        count += 1
    return count


def drop(shards: Sequence[Path]) -> None:
    """Ask the kernel to forget the shards' pages; below a file system in memory, it cannot."""
    for shard in shards:
        with shard.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remote(folder: Path, options: argparse.Namespace) -> None:
    """Read below a URL that answers late: one request after another, many at once, neighbours together."""
    near, far = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve_late, args=(str(folder), options.latency_ms / 1e3, far), daemon=True
    )
    server.start()
    with ExitStack() as cleanup:
        cleanup.callback(server.terminate)
        url: str = near.recv()
        catalog, plan, _ = plan_of(str(folder))
        tasks = [
            catalog.task(TaskKey(stream="train", ordinal=ordinal), 0)
            for ordinal in range(min(REMOTE, plan.items) // 32)
        ]
        apart = [task.replaced(items=(item,)) for task in tasks for item in task.items]
        print(f"\nbelow a URL, {options.latency_ms:g} ms late; samples/s, median of {options.rounds} rounds")
        rates: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, requests, work in (
                ("one request after another", 1, apart[:ONE_BY_ONE]),
                (f"penstock, {REQUESTS} requests at once", REQUESTS, apart),
                ("penstock, neighbours together", REQUESTS, tasks),
            ):
                reader = UrlReader(url, allow_outside=False, limit_bytes=10**8, requests=requests)
                list(reader.read(work[0]).contents)  # opens a connection
                began = time.perf_counter()
                coming = [reader.read(task) for task in work]
                count = sum(isinstance(content, bytes) for each in coming for content in each.contents)
                rates.setdefault(name, []).append(count / (time.perf_counter() - began))
        first = rates["one request after another"]
        for name, found in rates.items():
            ratio = median(mine / base for mine, base in zip(found, first, strict=True))
            print(
                f"  {name:32} {median(found):9,.0f} ({min(found):,.0f} to {max(found):,.0f}), {ratio:6.1f} of the first"
            )


def serve_late(folder: str, latency_s: float, told: Connection) -> None:
    """Serve the folder until this process is ended."""
    from support.web import serve  # noqa: PLC0415 - of the tests  # pyright: ignore[reportMissingImports]

    with serve(Path(folder), latency_s) as web:
        told.send(web.url)
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
