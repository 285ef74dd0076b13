"""Sources other than folders, through whole stacks: arrays in files and in memory, HDF5, data frames."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from support.services.peaks import peak_bytes
from support.streams import (
    DEADLINE_S,
    Batch,
    digest,
    epochs,
    make_images,
    make_manifest,
    make_spec,
    make_stream,
    run_stack,
    take,
    until,
)
from support.web import serve

from penstock.commands.check import main as check
from penstock.protocol.errors import FailureBudgetError, SourceError, StackError

pytestmark = pytest.mark.integration

IMAGES = np.random.default_rng(5).integers(0, 256, (240, 40, 48, 3), np.uint8)
LABELS = np.arange(240) % 4
KINDS: dict[str, dict[str, Any]] = {
    "npy": {"kind": "arrays", "root": "photos", "images": "x.npy", "labels": "y.npy"},
    "npz": {"kind": "arrays", "root": "photos", "images": "set.npz/x", "labels": "set.npz/y"},
    "memory": {"kind": "arrays", "images": IMAGES, "labels": LABELS},
    "hdf5": {"kind": "hdf5", "root": "photos", "path": "set.h5"},
    "chunks": {"kind": "hdf5", "root": "photos", "path": "set.h5", "images": "chunks"},
}
#: Uses given arrays, says so, and waits to be killed.
OWNER = """
import sys, time
import numpy as np
import penstock
images = np.zeros((64, 32, 32, 3), np.uint8)
stream = {"source": {"kind": "arrays", "images": images}, "transform": {"resize": {"height": 32, "width": 32}}}
with penstock.local({"streams": {"train": stream}}, workers=1, run_dir=sys.argv[1]) as stack:
    next(iter(stack.feed()))
    print(stack.children["worker-0"].process.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the same images in each kind of file."""
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "x.npy", IMAGES)
    np.save(folder / "y.npy", LABELS)
    np.savez(folder / "set.npz", x=IMAGES, y=LABELS)
    with h5py.File(folder / "set.h5", "w") as file:
        file["image"], file["label"] = IMAGES, LABELS
        file.create_dataset("chunks", data=IMAGES, chunks=(16, 40, 48, 3), compression="gzip")
    return folder


def make(folder: Path, *kinds: str, **changes: Any) -> dict[str, Any]:
    """Return a spec with a stream for each of these kinds, named like it."""
    spec = make_spec(folder)
    spec["streams"] = {kind: make_stream(source=KINDS[kind], **changes) for kind in kinds}
    return spec


@pytest.fixture(scope="module")
def reference(folder: Path) -> list[Batch]:
    """Return two epochs of the .npy, made by one worker."""
    with run_stack(make(folder, "npy"), workers=1) as stack:
        return epochs(stack.feed("npy"), 2)


def test_the_reference_holds_every_patch_once(reference: list[Batch]) -> None:
    """Of every row, with its label, in each of the two epochs."""
    for part in (reference[:45], reference[45:]):
        found = [pair for batch in part for pair in zip(batch["item"].tolist(), batch["patch"].tolist(), strict=True)]
        assert sorted(found) == [(item, patch) for item in range(240) for patch in range(3)]
        for batch in part:
            assert np.array_equal(LABELS[batch["item"]], batch["label"])


def test_the_same_arrays_give_the_same_bytes_from_any_file(folder: Path, reference: list[Batch]) -> None:
    """At two workers as at one, mapped, unpacked or in memory."""
    expected = digest(reference)
    with run_stack(make(folder, *KINDS), workers=2) as stack:
        assert dict.fromkeys(KINDS, expected) == {kind: digest(epochs(stack.feed(kind), 2)) for kind in KINDS}


def test_a_worker_that_is_killed_changes_no_byte(folder: Path, reference: list[Batch]) -> None:
    """Twice in an epoch; items that are then run alone are named and read by their number."""
    kinds = ("memory", "chunks")
    got: dict[str, list[Batch]] = {kind: [] for kind in kinds}
    with run_stack(make(folder, *kinds), workers=2) as stack:
        feeds = {kind: stack.feed(kind) for kind in kinds}
        for more in (5, 20, 30, len(reference) - 55):
            for kind, feed in feeds.items():
                got[kind] += take(feed, more)
            stack.children["worker-0"].process.kill()
        until(lambda: stack.children["worker-0"].restarts, "the worker to run again")
    assert dict.fromkeys(kinds, digest(reference)) == {kind: digest(batches) for kind, batches in got.items()}


def test_whole_rows_are_the_arrays_themselves(folder: Path) -> None:
    """Without any change a sample is its row, bit for bit."""
    spec = make(folder, "npy", transform={"resize": {"height": 40, "width": 48}}, patches=1)
    with run_stack(spec, workers=1) as stack:
        for batch in stack.feed("npy"):
            assert np.array_equal(IMAGES[batch["item"]], batch["image"])


def test_one_small_image_gives_batches_at_once(tmp_path: Path) -> None:
    """An epoch of one task: memory must not be filled with a million epochs of it before the first batches come."""
    stream = {
        "source": {"kind": "arrays", "images": IMAGES[:1, :8, :8]},
        "transform": {"resize": {"height": 8, "width": 8}, "augment": {"rotation_range": 40.0}},
        "batch_size": 1,
    }
    with run_stack({"streams": {"train": stream}}, workers=1, run_dir=tmp_path) as stack:
        feed, begun = stack.feed(), time.monotonic()
        assert 500 == len(take(feed, 500))
        assert time.monotonic() - begun < DEADLINE_S
        assert max(peak_bytes(child.process.pid) for child in stack.children.values()) < 300e6


def test_a_frame_gives_what_its_manifest_gives(tmp_path: Path) -> None:
    """The same rows in the same order: the same bytes, and the same fingerprint."""
    photos = make_images(tmp_path / "photos", each=20)
    frame = pd.read_csv(photos / make_manifest(photos))
    by_file = {"kind": "manifest", "root": "photos", "path": "manifest.csv"}
    by_frame = {"kind": "manifest", "root": "photos", "frame": frame}
    spec = make_spec(photos, file=make_stream(source=by_file), frame=make_stream(source=by_frame))
    with run_stack(spec, workers=2) as stack:
        feeds = {name: stack.feed(name) for name in ("file", "frame")}
        assert digest(epochs(feeds["file"], 1)) == digest(epochs(feeds["frame"], 1))
        assert feeds["file"].plan.fingerprint == feeds["frame"].plan.fingerprint


def test_given_arrays_leave_nothing_behind_when_all_is_killed(tmp_path: Path) -> None:
    """`kill -9` of the owner: its services leave, and no memory has a name that could stay."""
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        worker = int(owner.stdout.readline())
        link = tmp_path / "given/train-images.npy"
        assert link.exists()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    until(lambda: not Path(f"/proc/{worker}").exists(), "the worker to leave")
    assert not link.exists(), "the link leads nowhere"
    assert [] == list(Path("/dev/shm").glob("*penstock*"))  # noqa: S108 - where named segments would lie


def test_an_array_that_is_cut_while_it_is_read_stops_the_stream_in_words(tmp_path: Path) -> None:
    """Its items are quarantined with the reason, until the failure budget is spent; no worker dies of it."""
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    with run_stack(make(tmp_path, "npy"), workers=1) as stack:
        feed = stack.feed("npy")
        take(feed, 2)
        until(lambda: 0 == stack.status()["worker-0"].get("held"), "the worker to rest, not in the midst of a row")
        os.truncate(tmp_path / "x.npy", 1000)
        with pytest.raises(FailureBudgetError, match="was changed while it was in use"):
            take(feed, 200)
        assert 0 == stack.children["worker-0"].restarts


def test_what_cannot_be_listed_is_told_where_the_stack_is_entered(tmp_path: Path) -> None:
    """In the words of the listing."""
    np.save(tmp_path / "x.npy", IMAGES / 255)
    np.save(tmp_path / "y.npy", LABELS)
    with pytest.raises((SourceError, StackError), match="whole numbers from 0 to 255"):
        run_stack(make(tmp_path, "npy"), workers=1).__enter__()


@pytest.mark.parametrize("kind", ["npy", "hdf5"])
def test_check_tells_of_rows(kind: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items, classes, the memory bound and the first rows of the order."""
    source = ", ".join(f'{key} = "{value}"' for key, value in KINDS[kind].items())
    text = f'[roots]\nphotos = "{folder}"\n[streams.train]\nsource = {{ {source} }}\n'
    text += "transform = { resize = { height = 40, width = 48 } }\n"
    (tmp_path / "spec.toml").write_text(text, encoding="utf-8")
    assert 0 == check([str(tmp_path / "spec.toml")])
    printed = capsys.readouterr().out
    assert "240" in printed
    assert ("x.npy[" if kind == "npy" else "set.h5/image[") in printed


def test_files_below_a_url_give_what_the_same_files_give_here(tmp_path: Path) -> None:
    """The same bytes and fingerprint at any number of workers, with failures that pass and a worker that is killed."""
    photos = make_images(tmp_path / "photos", each=60)
    stream = make_stream(task_items=8)
    with run_stack(make_spec(photos, train=stream), workers=1) as stack:
        feed = stack.feed()
        expected, fingerprint = digest(epochs(feed, 1)), feed.plan.fingerprint

    def mischief(path: str, number: int) -> int | str:
        return (503 if path.endswith("3.jpg") else "truncate" if path.endswith("7.jpg") else "") if not number else ""

    with serve(photos, latency_s=0.01, mischief=mischief) as web:
        spec = make_spec(photos, train=stream) | {"roots": {"photos": web.url}}
        with run_stack(spec, workers=2) as stack:
            feed = stack.feed()
            got = take(feed, 3)
            stack.children["worker-0"].process.kill()
            got += take(feed, 20)
            assert fingerprint == feed.plan.fingerprint
    assert len(got) == 23
    assert expected == digest(got)


def test_a_file_that_a_server_lost_is_quarantined_by_name(tmp_path: Path) -> None:
    """The others come; the ledger says why."""
    photos = make_images(tmp_path / "photos", each=10)
    with serve(photos, mischief=lambda path, _: 404 if path == "/dog/0004.jpg" else "") as web:
        spec = make_spec(photos) | {"roots": {"photos": web.url}}
        with run_stack(spec, workers=1) as stack:
            assert 19 * 3 == sum(len(batch["item"]) for batch in stack.feed())
            entries = [json.loads(line) for line in stack.quarantine.read_text(encoding="utf-8").splitlines()]
    assert {"dog/0004.jpg"} == {entry["path"] for entry in entries}, "in this epoch, and maybe in the next"
    assert all("no such file" in entry["reason"] for entry in entries)


def test_check_tells_of_a_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where `--root` gives it; it looks at a few of the files."""
    photos = make_images(tmp_path / "photos", each=10)
    text = '[streams.train]\nsource = { kind = "directory", root = "photos" }\n'
    text += "transform = { resize = { height = 40, width = 48 } }\n"
    (tmp_path / "spec.toml").write_text(text, encoding="utf-8")
    with serve(photos) as web:
        assert 0 == check([str(tmp_path / "spec.toml"), "--root", f"photos={web.url}", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {"cat": 10, "dog": 10} == told["streams"][0]["classes"]
    assert any("mean of 8 files" in term["why"] for term in told["memory"])
