"""The cache of decoded images in a whole stack: workers share it, are killed, and no batch shows that it is there."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.streams import (
    DEADLINE_S,
    Batch,
    digest,
    epochs,
    joined,
    make_images,
    make_spec,
    make_stream,
    run_stack,
    take,
    until,
)

import penstock
from penstock.launcher.stack import LocalStack
from penstock.protocol.messages import WorkerStats
from penstock.protocol.storage.user_cache import SETTLED_S

pytestmark = pytest.mark.integration

RESIZED = make_stream(transform={"resize": {"height": 24, "width": 24}}, patches=1, batch_size=8)


def with_cache(stream: dict[str, Any]) -> dict[str, Any]:
    """Return a stream with a cache."""
    return stream | {"cache": {"gb": 0.1}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 2 × 20 JPEG files that are old enough to be kept: a whole test takes less time than that."""
    folder = make_images(tmp_path_factory.mktemp("photos"), each=20)
    newest = max(file.stat().st_ctime for file in folder.rglob("*.jpg"))
    until(lambda: time.time() - newest > SETTLED_S, "the files to be settled")
    return folder


@pytest.fixture(scope="module")
def reference(photos: Path) -> dict[str, list[Batch]]:
    """Return three epochs of two streams, made without a cache."""
    spec = make_spec(photos, train=make_stream(), validation=RESIZED)
    with run_stack(spec, workers=1) as stack:
        return {name: epochs(stack.feed(name), 3) for name in ("train", "validation")}


def hits(stack: LocalStack) -> int:
    """Return how many images workers that live now found."""
    caches = [row.stats.cache for row in stack.snapshot().workers]
    return sum(cache.hits for cache in caches if cache is not None)


def test_workers_share_one_cache_and_killing_them_changes_no_byte(
    photos: Path, reference: dict[str, list[Batch]], tmp_path: Path
) -> None:
    """Two workers fill it, one is killed in the first epoch; later epochs come from it, byte by byte the same."""
    spec = make_spec(photos, train=with_cache(make_stream()), validation=with_cache(RESIZED))
    with run_stack(spec, workers=2, worker={"cache": str(tmp_path)}) as stack:
        feed = stack.feed("train")
        first = take(feed, 3)
        os.kill(stack.children["worker-0"].process.pid, signal.SIGKILL)
        got = {"train": first + epochs(feed, 3), "validation": epochs(stack.feed("validation"), 3)}
        until(lambda: hits(stack), "images from the cache")
    for name, batches in reference.items():
        assert digest(batches) == digest(got[name]), name


@contextmanager
def worker_elsewhere(stack: LocalStack, folder: Path) -> Generator[None]:
    """Run a further worker as on a host of another name, with a cache of its own."""
    named = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*named, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host lets no test change a host's name for itself")
    worker = [sys.executable, "-m", "penstock.worker", "--ventilator", stack.addresses.ventilator]
    process = subprocess.Popen([*named, *worker, "--cache", str(folder), "--log-level", "error"])
    try:
        yield
    finally:
        process.terminate()
        assert 0 == process.wait(DEADLINE_S)


def test_tasks_that_are_cut_by_hosts_give_the_same_bytes(
    photos: Path, reference: dict[str, list[Batch]], tmp_path: Path
) -> None:
    """Two hosts with a cache each: both find images, and batches are those of one worker without a cache.

    A host that gets no processor leaves its images to the other one, so epochs go on until both have found some.
    """
    spec = make_spec(photos, train=with_cache(make_stream(task_items=20)))
    with (
        run_stack(spec, workers=1, worker={"cache": str(tmp_path / "one")}) as stack,
        worker_elsewhere(stack, tmp_path / "two"),
    ):
        joined(stack, 2)
        feed = stack.feed("train")
        batches = epochs(feed, 3)
        work = until(lambda: both_found(stack) if epochs(feed, 1) else [], "both hosts to find images")
    assert digest(reference["train"]) == digest(batches)
    assert sum(stats.items for stats in work) < 20 * sum(stats.tasks for stats in work), "no task was cut"


def both_found(stack: LocalStack) -> list[WorkerStats]:
    """Return what workers say once those of two hosts have found images; nothing before."""
    seen = stack.snapshot().workers
    caches = {row.host: row.stats.cache for row in seen}
    found = 2 == sum(cache is not None and cache.hits > 0 for cache in caches.values())
    return [row.stats for row in seen] if found else []


def test_a_folder_that_cannot_hold_it_does_not_stop_the_training(
    photos: Path, reference: dict[str, list[Batch]], tmp_path: Path
) -> None:
    """The log names the folder; batches are the same."""
    (tmp_path / "file").write_bytes(b"")
    spec = make_spec(photos, train=with_cache(make_stream()))
    with penstock.local(spec, workers=1, run_dir=tmp_path / "run", cache=tmp_path / "file") as stack:
        batches = epochs(stack.feed("train"), 3)
        log = (tmp_path / "run" / "worker-0.log").read_text()
    assert digest(reference["train"]) == digest(batches)
    assert 1 == log.count("no cache of decoded images")
    assert "file/penstock-images-2' cannot be made: " in log
