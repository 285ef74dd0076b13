"""Sources of rows: what is listed of arrays and HDF5 files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sources.arrays import IMAGES, LABELS, arrays, hdf5, write_hdf5

from penstock.protocol.errors import SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.spec import parse_spec
from penstock.protocol.storage.hdf5_stored import runs
from penstock.protocol.storage.rows_numpy import Held, Mapped
from penstock.sources.arrays import ArraySource, open_arrays
from penstock.sources.hdf5 import Hdf5Source, open_set
from penstock.sources.row_reader import to_channels
from penstock.ventilator.sources.catalog import Catalog


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with x.npy and y.npy."""
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    return tmp_path


def test_an_item_is_a_row_with_its_label(root: Path) -> None:
    """In the array's own order; classes without names are numbers."""
    listing = arrays(root)
    assert 40 == len(listing)
    assert ("0", "1", "2", "3") == listing.classes
    assert ("x.npy[7]", 3) == (listing.path(7), listing.label(7))
    assert {"0": 10, "1": 10, "2": 10, "3": 10} == listing.counts()
    assert ("a", "b", "c", "d", "e") == arrays(root, classes=("a", "b", "c", "d", "e")).classes


def test_without_labels_an_item_has_none(root: Path) -> None:
    """Label -1, no classes."""
    listing = arrays(root, labels="")
    assert (-1, (), {}) == (listing.label(3), listing.classes, listing.counts())


def test_the_digest_names_the_content_and_nothing_else(root: Path) -> None:
    """Not the file's name, time or place; one level of one pixel, or one label, makes another."""
    digest = arrays(root).digest
    (root / "x.npy").rename(root / "other.npy")
    os.utime(root / "other.npy", (1, 1))
    assert digest == arrays(root, "other.npy").digest
    np.save(root / "floats.npy", IMAGES.astype(np.float32))
    assert digest == arrays(root, "floats.npy").digest
    changed = IMAGES.copy()
    changed[17, 3, 2, 1] ^= 1
    np.save(root / "x.npy", changed)
    assert digest != arrays(root).digest
    np.save(root / "x.npy", IMAGES)
    np.save(root / "y.npy", np.where(np.arange(40) == 39, 0, LABELS))
    assert digest != arrays(root).digest


def test_what_is_too_large_to_digest_is_digested_in_spread_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """About the stated number of bytes, from the first row to the last."""
    monkeypatch.setattr("penstock.protocol.storage.rows._BLOCK_BYTES", 2 * 90)
    rows = open_arrays(ArraySource(kind="arrays", root="data", images="x.npy"), str(root))
    spread = [start for start, _ in rows.blocks(10 * 90)]
    assert [0, 9, 19, 28, 38] == spread
    assert list(range(0, 40, 2)) == [start for start, _ in rows.blocks(40 * 90)]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_member_of_an_archive_is_the_same_array(save: Callable[..., None], root: Path) -> None:
    """What is stored is mapped, what is compressed is held; the digest is that of the .npy."""
    save(root / "set.npz", first=np.arange(3), train=IMAGES, labels=LABELS[:, np.newaxis])
    assert arrays(root).digest == arrays(root, "set.npz/train", "set.npz/labels").digest
    images = open_arrays(ArraySource(kind="arrays", root="data", images="set.npz/train"), str(root)).images
    assert isinstance(images, Mapped if save is np.savez else Held)


def test_a_compressed_member_has_a_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker would hold it: over the limit it is refused, with the way out."""
    monkeypatch.setattr("penstock.protocol.storage.rows_numpy._HELD_BYTES", 3000)
    np.savez_compressed(root / "set.npz", train=IMAGES)
    with pytest.raises(SourceError, match=r"compressed.*numpy\.savez"):
        arrays(root, "set.npz/train", "")


@pytest.mark.parametrize("options", [{}, {"chunks": (7, 6, 5, 3)}, {"chunks": (7, 3, 5, 3), "compression": "gzip"}])
def test_rows_of_an_hdf5_file_are_those_that_were_stored(options: dict[str, Any], tmp_path: Path) -> None:
    """However they are stored, in any order, also twice; what lies in one piece is mapped."""
    write_hdf5(tmp_path / "set.h5", **options)
    rows = open_set(Hdf5Source(kind="hdf5", root="data", path="set.h5"), str(tmp_path))
    wanted = np.array([39, 0, 7, 7, 6, 21, 20, 22, 1], np.int64)
    stack, wrong = rows.read(wanted)
    assert np.array_equal(IMAGES[wanted], stack)
    assert wrong is None
    assert isinstance(rows.images, Mapped) == (not options)


def test_class_names_come_from_an_attribute(tmp_path: Path) -> None:
    """Of the labels, or of the file; the spec's own go first."""
    write_hdf5(tmp_path / "set.h5")
    with h5py.File(tmp_path / "set.h5", "a") as file:
        file.attrs["classes"] = ["k", "l", "m", "n"]
    assert ("k", "l", "m", "n") == hdf5(tmp_path).classes
    with h5py.File(tmp_path / "set.h5", "a") as file:
        file["label"].attrs["classes"] = np.array([b"a", b"b", b"c", b"d"])
    assert ("a", "b", "c", "d") == hdf5(tmp_path).classes
    assert ("w", "x", "y", "z") == hdf5(tmp_path, classes=("w", "x", "y", "z")).classes


@given(
    rows=st.lists(st.integers(0, 200), min_size=1, max_size=60).map(sorted),
    together=st.integers(1, 50),
)
def test_runs_hold_every_row_once_and_no_chunk_twice(rows: list[int], together: int) -> None:
    """A chunk is read by one run only, and what lies between two rows of a run is little or in their chunks."""
    ascending = np.array(rows, np.int64)
    found = list(runs(ascending, together))
    assert list(range(len(rows))) == [place for first, last in found for place in range(first, last)]
    if together > 1:
        chunks = [{rows[place] // together for place in range(first, last)} for first, last in found]
        assert sum(map(len, chunks)) == len(set().union(*chunks))
        for (first, last), touched in zip(found, chunks, strict=True):
            assert rows[last - 1] // together - rows[first] // together == len(touched) - 1


def test_subsets_part_every_class_and_miss_nothing(root: Path) -> None:
    """`round(fraction × n)` of each class on one side, the others on the other; paths name the rows of the file."""
    sides = [arrays(root, validation_split=0.3, subset=subset) for subset in ("training", "validation")]
    assert [{"0": 7, "1": 7, "2": 7, "3": 7}, {"0": 3, "1": 3, "2": 3, "3": 3}] == [side.counts() for side in sides]
    paths = [[side.path(item) for item in range(len(side))] for side in sides]
    assert {f"x.npy[{row}]" for row in range(40)} == set(paths[0]) | set(paths[1])
    assert 40 == sum(map(len, paths))
    assert sides[0].digest != sides[1].digest
    row = int(paths[1][5].removeprefix("x.npy[").rstrip("]"))
    assert int(LABELS[row]) == sides[1].label(5)


def test_tasks_hold_no_items_unless_one_is_run_alone(root: Path) -> None:
    """A whole task is a name; its items follow from the plan, also with shards; one alone can be named."""
    source = {"kind": "arrays", "root": "data", "images": "x.npy", "labels": "y.npy"}
    stream = {"source": source, "transform": {"resize": {"height": 6, "width": 5}}, "task_items": 8, "shard": "2/3"}
    spec = parse_spec({"seed": 1, "roots": {"data": str(root)}, "streams": {"train": stream}})
    book = Catalog.open(spec, spec.roots)
    [plan] = book.plans
    seen: list[int] = []
    for ordinal in range(plan.geometry.tasks_per_epoch):
        key = TaskKey(stream="train", ordinal=ordinal)
        assert () == book.task(key, 0).items
        items = [item.item for item in book.items(key)]
        assert items == plan.indices(ordinal).tolist()
        seen += items
    assert set(range(1, 40, 3)) == set(seen)
    [alone] = book.task(TaskKey(stream="train", ordinal=1, item_offset=2), 1).items
    assert (plan.indices(1)[2], f"x.npy[{alone.item}]", LABELS[alone.item]) == (alone.item, alone.path, alone.label)


def test_gray_and_colour_become_each_other(root: Path) -> None:
    """Gray is what Pillow makes of red, green and blue; three channels of gray are alike; alpha is opaque."""
    from PIL import Image  # noqa: PLC0415 - only here

    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in IMAGES])
    assert np.array_equal(expected, to_channels(IMAGES, 1)[..., 0])
    assert np.array_equal(np.repeat(expected[..., np.newaxis], 3, 3), to_channels(expected[..., np.newaxis], 3))
    alpha = to_channels(IMAGES, 4)
    assert np.array_equal(np.stack([np.asarray(Image.fromarray(image).convert("RGBA")) for image in IMAGES]), alpha)
    assert np.array_equal(IMAGES, to_channels(alpha, 3))
    assert np.array_equal(expected, to_channels(alpha, 1)[..., 0])
    assert (40, 6, 5, 4) == to_channels(expected[..., np.newaxis], 4).shape
    np.save(root / "gray.npy", expected)
    assert (6, 5, 1) == open_arrays(ArraySource(kind="arrays", root="data", images="gray.npy"), str(root)).image_shape
