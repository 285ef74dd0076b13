"""What a worker reads of sources of rows, and arrays and frames that are given in memory."""

import fcntl
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from penstock.launcher.in_memory_sources import Given, in_memory
from penstock.protocol.errors import ItemError, SourceError, SpecError
from penstock.protocol.event_log import EventLog
from penstock.protocol.messages import StreamNeed, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import Reader, open_reader
from penstock.ventilator.core.item_deaths import Loss
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.sources.catalog import Catalog

IMAGES = np.random.default_rng(5).integers(0, 256, (40, 6, 5, 3), np.uint8)
LABELS = np.arange(40) % 4
KINDS: dict[str, dict[str, str]] = {
    "arrays": {"kind": "arrays", "images": "x.npy", "labels": "y.npy"},
    "hdf5": {"kind": "hdf5", "path": "set.h5"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with the same images as .npy and as HDF5 (chunked)."""
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file.create_dataset("image", data=IMAGES, chunks=(4, 6, 5, 3))
        file["label"] = LABELS
    return tmp_path


def opened(root: Path, kind: str = "arrays", **changes: Any) -> tuple[Catalog, StreamPlan, Reader]:
    """List a source, and open it as a worker would."""
    stream = {"source": {"root": "data", **KINDS[kind]}, "task_items": 8, **changes}
    stream = {"transform": {"resize": {"height": 6, "width": 5}}, **stream}
    spec = parse_spec({"seed": 1, "roots": {"data": str(root)}, "streams": {"train": stream}})
    book = Catalog.open(spec, spec.roots)
    [plan] = book.plans
    return book, plan, open_reader(plan, spec.roots)


def task(ordinal: int, alone: int | None = None) -> Task:
    """Return a task as it comes from the wire: without items."""
    return Task(key=TaskKey(stream="train", ordinal=ordinal, item_offset=alone), attempt=0, epoch=0, items=())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shard", ["1/1", "2/3"])
def test_a_task_without_items_is_read_by_the_plan(kind: str, shard: str, root: Path) -> None:
    """Rows, labels and names are those of the order, one array for the whole task; an epoch holds each item once."""
    _, plan, origin = opened(root, kind, shard=shard)
    seen: list[int] = []
    for ordinal in range(plan.geometry.tasks_per_epoch):
        loaded = origin.read(task(ordinal))
        assert plan.indices(ordinal).tolist() == loaded.items.tolist()
        assert isinstance(loaded.contents, np.ndarray)
        assert np.array_equal(IMAGES[loaded.items], loaded.contents)
        assert np.array_equal(LABELS[loaded.items], loaded.labels)
        name = "x.npy" if kind == "arrays" else "set.h5/image"
        assert [f"{name}[{item}]" for item in loaded.items.tolist()] == list(loaded.paths)
        seen += loaded.items.tolist()
    first, count = plan.settings.shard_of
    assert list(range(first, 40, count)) == sorted(seen)


def test_an_item_alone_is_read_alone(root: Path) -> None:
    """As after a death."""
    _, plan, origin = opened(root)
    loaded = origin.read(task(2, alone=3))
    assert [plan.indices(2).tolist()[3]] == loaded.items.tolist()
    assert (1, 6, 5, 3) == np.shape(loaded.contents)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_subset_reads_its_own_rows(root: Path) -> None:
    """Items count within the subset, names tell the file's rows; both sides together hold all rows."""
    rows: list[str] = []
    for subset in ("training", "validation"):
        source = {"root": "data", **KINDS["arrays"], "validation_split": 0.3, "subset": subset}
        _, plan, origin = opened(root, source=source)
        for ordinal in range(plan.geometry.tasks_per_epoch):
            loaded = origin.read(task(ordinal))
            numbers = [int(path.removeprefix("x.npy[").removesuffix("]")) for path in loaded.paths]
            assert np.array_equal(IMAGES[numbers], loaded.contents)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            assert np.array_equal(LABELS[numbers], loaded.labels)
            rows += loaded.paths
    assert {f"x.npy[{row}]" for row in range(40)} == set(rows)
    assert 40 == len(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["written", "cut"])
def test_a_file_that_changes_under_a_worker_is_no_crash(kind: str, how: str, root: Path) -> None:
    """Each item says so: neither other pixels, nor the signal that reading a mapped file beyond its end would be."""
    _, _, origin = opened(root, kind)
    path = root / ("x.npy" if kind == "arrays" else "set.h5")
    if how == "cut":
        os.truncate(path, 200)
    else:
        path.write_bytes(path.read_bytes()[::-1])
    loaded = origin.read(task(1))
    assert 8 == len(loaded.contents)
    for content in loaded.contents:
        assert isinstance(content, ItemError)
        assert "was changed while it was in use" in str(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_replaced_stays_for_who_has_it_open(kind: str, root: Path) -> None:
    """As saving by a rename does; a worker that comes later finds another file than was listed, and says so."""
    _, plan, origin = opened(root, kind)
    path = root / ("x.npy" if kind == "arrays" else "set.h5")
    path.rename(root / "old")
    np.save(root / "x.npy", IMAGES[::-1])
    with h5py.File(root / "set.h5", "w") as file:
        file["image"], file["label"] = IMAGES[::-1], LABELS
    loaded = origin.read(task(0))
    assert np.array_equal(IMAGES[loaded.items], loaded.contents)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(SourceError, match="is not what the ventilator listed"):
        open_reader(plan, {"data": str(root)})


def test_levels_that_are_none_quarantine_their_item(root: Path) -> None:
    """A float that is not whole, beyond what the listing looked at, is never rounded in silence."""
    floats = IMAGES.astype(np.float32)
    np.save(root / "x.npy", floats)
    _, plan, _ = opened(root)
    floats[5, 2, 2, 2], floats[9, 0, 0, 0] = 7.5, np.nan
    np.save(root / "x.npy", floats)
    origin = open_reader(plan.model_copy(update={"copy_digest": ""}), {"data": str(root)})
    bad = []
    for ordinal in range(5):
        loaded = origin.read(task(ordinal))
        for item, content in zip(loaded.items.tolist(), loaded.contents, strict=True):
            if isinstance(content, ItemError):
                bad.append(item)
            else:
                assert np.array_equal(IMAGES[item], content)  # pyright: ignore[reportArgumentType]
    assert [5, 9] == sorted(bad)


# given in memory


def test_given_memory_cannot_change_and_has_no_name(tmp_path: Path) -> None:
    """It is sealed; what is left of it on disk is a link that leads nowhere once it is closed."""
    given = Given()
    spec = given.extract({"streams": {"train": {"source": {"kind": "arrays", "images": IMAGES, "labels": LABELS}}}})
    assert {"kind": "arrays", "images": "train-images.npy", "labels": "train-labels.npy"}.items() <= spec["streams"][
        "train"
    ]["source"].items()
    assert "roots" not in spec, "others may be mapped where the stack is started"
    given.write(tmp_path / "given", {})
    link = tmp_path / "given/train-images.npy"
    assert str(link.readlink()).startswith(f"/proc/{os.getpid()}/fd/")
    assert np.array_equal(IMAGES, np.load(link))
    descriptor = os.open(link, os.O_RDWR)
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"x", 300)
    os.close(descriptor)
    given.close()
    assert not link.exists()


def test_given_images_are_levels_or_refused() -> None:
    """Floats of whole numbers are stored as uint8, whatever their strides; others are refused with the way out."""
    descriptor = in_memory(np.asfortranarray(IMAGES.astype(np.float64))[::2], "x")
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        stored = np.load(file)
    assert np.uint8 == stored.dtype
    assert np.array_equal(IMAGES[::2], stored)
    with pytest.raises(SpecError, match=re.escape("x[0]: float32 from 0.0")):
        in_memory(IMAGES / np.float32(255), "x")
    with pytest.raises(SpecError, match="dtype object"):
        in_memory(np.array([None]), "x")


def test_given_arrays_and_files_are_not_mixed() -> None:
    """Either side alone would have to lie below the other's root."""
    for images, labels in ((IMAGES, "y.npy"), ("x.npy", LABELS)):
        with pytest.raises(SpecError, match="give both alike"):
            Given().extract({"streams": {"a": {"source": {"kind": "arrays", "images": images, "labels": labels}}}})


def test_a_mapping_without_objects_stays_as_it_is() -> None:
    """Also one that is wrong: the spec's own errors tell."""
    for data in ({}, {"streams": 3}, {"streams": {"a": 1}}, {"streams": {"a": {"source": {"kind": "directory"}}}}):
        given = Given()
        assert data is given.extract(data)
        assert {} == given.write(Path("/nowhere"), {})


def test_a_frame_becomes_a_manifest(tmp_path: Path) -> None:
    """With its own columns; absolute paths below the root are made relative; labels may be numbers or text."""
    frame = pd.DataFrame({"file": ["a.jpg", "/photos/b/c,d.jpg"], "class": np.array([3, 4], np.int16), "more": [1, 2]})
    given = Given()
    source = {"kind": "manifest", "root": "photos", "frame": frame, "path_column": "file", "label_column": "class"}
    spec = given.extract({"roots": {"photos": "/photos"}, "streams": {"train": {"source": source}}})
    given.write(tmp_path, {"photos": "/photos"})
    assert ("train.csv", "given") == tuple(spec["streams"]["train"]["source"][key] for key in ("path", "manifest_root"))
    assert "frame" in source, "the caller's own mapping is left alone"
    assert 'file,class\na.jpg,3\n"b/c,d.jpg",4\n' == (tmp_path / "train.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"file": ["a"], "label": [1]}, "the frame has no column 'path'; its columns: 'file', 'label'"),
        ({"path": ["a", None], "label": [1, 1]}, "row 1 of the frame: path = "),
        (
            {"path": ["a", "b"], "label": [1, np.nan]},
            "row 1 of the frame: label = nan: a label must be text or a finite",
        ),
    ],
)
def test_each_mistake_in_a_frame_has_its_words(frame: dict[str, Any], words: str, tmp_path: Path) -> None:
    """They name the column, the row and the value."""
    given = Given()
    given.extract({"streams": {"train": {"source": {"kind": "manifest", "root": "r", "frame": pd.DataFrame(frame)}}}})
    with pytest.raises((SpecError, SourceError), match=re.escape(words)):
        given.write(tmp_path, {"r": "/r"})


def test_a_row_that_kills_its_workers_is_quarantined_by_name(root: Path) -> None:
    """Its task is run item by item; the task's others, and the same row in a later epoch, need no worker's death."""
    book, plan, _ = opened(root)
    lane = StreamQueue(plan, book.task, EventLog())
    lane.need(StreamNeed(stream="train", missing=((3, 4), (7, 8))), lambda _: False, 0.0)
    task = lane.pop()
    assert task is not None
    loss = Loss("w", leased_at=0.0, acknowledged=True, closed=True)
    lane.charge(task, loss, 0.0)
    fatal = lane.suspects(())[2]
    assert 2 == fatal.key.item_offset
    row = plan.indices(3).tolist()[2]
    assert [row] == [item.item for item in lane.task(fatal).items]
    for _ in range(2):
        fatal.ready = False  # leased
        lane.charge(fatal, loss, 0.0)
    assert fatal.failure is not None
    assert (row, f"x.npy[{row}]", 2) == (fatal.failure.item, fatal.failure.path, fatal.failure.offset)
    again = next(ordinal for ordinal in range(5, 10) if row in plan.indices(ordinal).tolist())
    lane.need(StreamNeed(stream="train", missing=((again, again + 1),)), lambda _: False, 1.0)
    [known] = [work for work in lane.works.values() if work.failure]
    assert plan.indices(again).tolist().index(row) == known.key.item_offset
    lane.validate()
