"""`penstock bench` with real processes: it reports what it ran, and an interrupt keeps what is finished."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.streams import make_images, make_stream, until

from penstock.bench.loaders import Items, open_loader, open_spec
from penstock.protocol.wire import Array

pytestmark = [pytest.mark.integration, pytest.mark.long]

#: Longest that a benchmark of a few batches may take (s): TensorFlow is imported, on a busy machine.
LONGEST_S = 240.0


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a folder with a short name: there are sockets below it."""
    folder = Path(tempfile.mkdtemp(prefix="pk-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Return a spec of a stream with three patches an image."""
    root = make_images(tmp_path / "photos", each=20)
    stream = make_stream()
    lines = ["seed = 1", "[roots]", f"photos = '{root}'", "[streams.train]"]
    lines += [f"{name} = {value}" for name, value in stream.items() if not isinstance(value, dict)]
    lines += ["source = {kind = 'directory', root = 'photos'}"]
    lines += ["transform = {patch = {kind = 'random', height = 32, width = 40}}"]
    (tmp_path / "spec.toml").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "spec.toml"


def bench(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start `penstock bench`; what it says goes to `folder/said`, and so do temporary files of all its processes."""
    (folder / "t").mkdir()
    with (folder / "said").open("w") as said:
        command = [sys.executable, "-m", "penstock", "bench", *options, "-o", str(folder / "report")]
        environment = os.environ | {"TMPDIR": str(folder / "t")}
        return subprocess.Popen(command, stdout=said, stderr=said, env=environment, text=True, start_new_session=True)


def left(folder: Path) -> Iterator[psutil.Process]:
    """Yield the processes that a benchmark has started and not stopped."""
    for process in psutil.process_iter():
        try:
            words = [process.environ().get("TMPDIR", ""), *process.cmdline()]
            if any(str(folder / "t") in word for word in words) and process.status() != "zombie":
                yield process
        except psutil.Error:
            continue  # gone meanwhile, or another user's


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the report's runs.csv."""
    with (folder / "report" / "runs.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check(folder: Path, process: subprocess.Popen[str], status: int) -> None:
    """Wait; the status must be as expected, and nothing may be left behind."""
    assert status == process.wait(LONGEST_S), (folder / "said").read_text()
    until(lambda: not [*left(folder)], "every process to be gone")
    assert [] == [*(folder / "t").iterdir()]
    assert "Traceback" not in (folder / "said").read_text()


def test_a_stream_is_drained_with_each_number_of_workers(tmp_path: Path, spec: Path) -> None:
    """Every run is reported, with the samples that it took; utilisation was sampled in each."""
    check(tmp_path, bench(tmp_path, str(spec), "--workers", "0,1", "--rounds", "2", "--batches", "200"), 0)
    found = sorted((int(row["round"]), int(row["workers"]), int(row["samples"])) for row in rows(tmp_path))
    samples = 200 // 8 * 120  # 8 batches an epoch of 20 × 2 × 3 samples
    assert [(1, 0, samples), (1, 1, samples), (2, 0, samples), (2, 1, samples)] == found
    assert all(float(row["duration_s"]) > 0.0 for row in rows(tmp_path))
    with (tmp_path / "report" / "usage.csv").open(encoding="utf-8") as file:
        usage = list(csv.DictReader(file))
    assert {("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")} == {(row["round"], row["workers"]) for row in usage}
    assert max(float(row["workers_cores"]) for row in usage if row["workers"] == "1") > 0.0


def test_an_interrupt_keeps_the_finished_runs(tmp_path: Path, spec: Path) -> None:
    """Ctrl-C in a later run: exit status 130, a report of those before, no process and no file left."""
    process = bench(tmp_path, str(spec), "--workers", "0,1", "--rounds", "100", "--batches", "50")
    said = tmp_path / "said"
    until(lambda: "round 1, 1 worker" in said.read_text() or process.poll() is not None, "two runs", LONGEST_S)
    process.send_signal(signal.SIGINT)
    check(tmp_path, process, 130)
    assert len(rows(tmp_path)) >= 2
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert re.search(r"Not complete: \d+ of 200 runs.\*\* It was interrupted.", report)
    assert "interrupted: everything is stopped" in said.read_text()


def test_keras_and_ours_train_in_one_run(tmp_path: Path) -> None:
    """The benchmark of image files with training: Keras's class is the first row, ours stand below it."""
    make_images(tmp_path / "photos", each=40, size=100)
    options = ["--train", "--data", str(tmp_path / "photos"), "--workers", "1", "--rounds", "1", "--batches", "5"]
    check(tmp_path, bench(tmp_path, "jpegs", *options, "--warm-up", "2"), 0)
    # Batches 3 to 7 of epochs of 32 + 32 + 16 samples.
    assert [("keras", "0", "128"), ("penstock", "1", "128")] == [
        (row["library"], row["workers"], row["samples"]) for row in rows(tmp_path)
    ]
    assert all(float(row["step_median_ms"]) > 0.0 for row in rows(tmp_path))  # the callback told of every step
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert re.search(r"^\| Keras \| .* 1.00 × \|", report, re.MULTILINE)
    assert str(tmp_path) not in report


def test_a_run_that_fails_ends_the_benchmark_in_words(tmp_path: Path) -> None:
    """A stream without classes cannot be trained on: what was finished is reported, and the error says why."""
    np.save(tmp_path / "images.npy", np.zeros((50, 16, 16, 3), np.uint8))
    lines = ["[roots]", f"here = '{tmp_path}'", "[streams.train]", "batch_size = 5"]
    lines += ["source = {kind = 'arrays', root = 'here', images = 'images.npy'}"]
    lines += ["transform = {resize = {height = 16, width = 16}}"]
    spec = tmp_path / "spec.toml"
    spec.write_text("\n".join(lines), encoding="utf-8")
    check(tmp_path, bench(tmp_path, str(spec), "--train", "--workers", "0", "--rounds", "1", "--batches", "2"), 2)
    assert "has no classes to learn" in (tmp_path / "said").read_text()


@pytest.mark.parametrize("threads", [1, 2])
def test_tf_data_opens_one_kernel_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Not one an item: what tf.data is compared with would list the folder for each image, which we do once."""
    spec = open_spec(str(make_images(tmp_path / "photos", each=40, size=64)))
    opened: list[Items] = []
    open_kernel = Items._open

    def count(items: Items) -> Callable[[int], list[Array]]:
        opened.append(items)
        return open_kernel(items)

    monkeypatch.setattr(Items, "_open", count)
    source = open_loader("tfdata", spec, {}, threads)
    assert [32, 32, 16] * 2 == list(islice(source, 2 * source.batches))
    assert 1 <= len(opened) - 1 <= threads, "one is that of the first item, whose shapes are looked at"


def test_a_folder_is_read_by_tf_data_too(tmp_path: Path) -> None:
    """Without a spec: the same samples by Penstock and by tf.data, as many workers as threads, and a comparison."""
    root = make_images(tmp_path / "photos", each=40, size=64)
    options = ["--against", "tfdata", "--workers", "1", "--rounds", "1", "--batches", "6", "--warm-up", "3"]
    check(tmp_path, bench(tmp_path, str(root), *options), 0)
    # Batches 4 to 9 of epochs of 32 + 32 + 16 samples.
    assert [("penstock", "1", "160"), ("tfdata", "1", "160")] == [
        (row["library"], row["workers"], row["samples"]) for row in rows(tmp_path)
    ]
    assert "Penstock:" in (tmp_path / "said").read_text()
    assert (tmp_path / "report" / "comparison.png").stat().st_size > 0
