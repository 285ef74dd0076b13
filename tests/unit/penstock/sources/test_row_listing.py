"""Sources of rows: what is listed of arrays and HDF5 files, and what every mistake is called."""

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.errors import SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.source import Source
from penstock.protocol.spec.spec import parse_spec
from penstock.protocol.storage.hdf5_stored import runs
from penstock.protocol.storage.rows_numpy import Held, Mapped
from penstock.sources.arrays import ArraySource, open_arrays
from penstock.sources.base import list_source
from penstock.sources.hdf5 import Hdf5Source, open_set
from penstock.sources.row_listing import RowListing
from penstock.sources.row_reader import to_channels
from penstock.ventilator.sources.catalog import Catalog

IMAGES = np.random.default_rng(5).integers(0, 256, (40, 6, 5, 3), np.uint8)
LABELS = np.arange(40) % 4


def arrays(root: Path, images: str = "x.npy", labels: str = "y.npy", **fields: Any) -> RowListing:
    """List arrays below `root`."""
    source = ArraySource(kind="arrays", root="data", images=images, labels=labels, **fields)
    return listed(source, root)


def hdf5(root: Path, **fields: Any) -> RowListing:
    """List a data set of `set.h5` below `root`."""
    return listed(Hdf5Source(kind="hdf5", root="data", path="set.h5", **fields), root)


def listed(source: Source, root: Path) -> RowListing:
    """List a source of rows below `root`."""
    found = list_source(source, {"data": str(root)})
    assert isinstance(found, RowListing)
    return found


def write_hdf5(path: Path, images: Any = IMAGES, labels: Any = LABELS, **options: Any) -> None:
    """Write an HDF5 file with the data sets `image` and `label`."""
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=images, **options)
        file["label"] = labels


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


def _pickled(root: Path) -> None:
    np.save(root / "x.npy", np.array([{"a": 1}, None]), allow_pickle=True)


def _truncated(root: Path) -> None:
    os.truncate(root / "x.npy", 2000)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "x.npy").unlink(), "x.npy: cannot open the file: No such file"),
        (lambda root: (root / "x.npy").write_bytes(b"GIF89a"), "x.npy: not a readable .npy file"),
        (lambda root: (root / "x.npy").write_bytes(b""), "x.npy: not a readable .npy file"),
        (_pickled, "pickled Python objects, which are never loaded"),
        (_truncated, "x.npy: truncated: 2000 bytes, but uint8(40, 6, 5, 3) needs 3728"),
        (lambda root: np.save(root / "x.npy", IMAGES[..., :2]), "shape (40, 6, 5, 2): it must be (N, height, width)"),
        (lambda root: np.save(root / "x.npy", IMAGES[:0]), "not be empty"),
        (lambda root: np.save(root / "x.npy", IMAGES > 9), "dtype bool: save them as uint8"),
        (lambda root: np.save(root / "x.npy", np.array(["a"])), "images of shape (1,)"),
        (lambda root: np.save(root / "x.npy", np.asfortranarray(IMAGES)), "numpy.ascontiguousarray"),
        (lambda root: np.save(root / "x.npy", IMAGES / np.float32(255)), "x.npy[0]: float32 from 0.0"),
        (lambda root: np.save(root / "x.npy", IMAGES.astype(int) - 1), "must hold whole numbers from 0 to 255"),
        (lambda root: np.save(root / "y.npy", LABELS[:39]), "y.npy: 39 labels, but there are 40 images"),
        (lambda root: np.save(root / "y.npy", LABELS - 1), "y.npy[0] = -1: a label must be 0 to 2^31 - 1"),
        (lambda root: np.save(root / "y.npy", LABELS + 2**40), "a label must be 0 to 2^31 - 1"),
        (lambda root: np.save(root / "y.npy", LABELS * 1.0), "dtype float64: save them as whole numbers"),
        (lambda root: np.save(root / "y.npy", np.eye(4)[LABELS]), "of one-hot rows take the argmax"),
        (lambda root: np.save(root / "y.npy", LABELS * 100_000), "label 300000: give the names"),
    ],
)
def test_each_mistake_in_arrays_has_its_words(spoil: Callable[[Path], object], words: str, root: Path) -> None:
    """They name the file and the value, and say what to do."""
    spoil(root)
    with pytest.raises(SourceError, match=re.escape(words)):
        arrays(root)


def test_each_mistake_in_the_settings_has_its_words(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Members, classes, links and roots."""
    np.savez(root / "set.npz", x=IMAGES)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.npy"
    np.save(elsewhere, IMAGES)
    (root / "link.npy").symlink_to(elsewhere)
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    mistakes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"images": "set.npz/y"}, "no array 'y' in it; there are: x"),
        ({"images": "set.npz"}, "name one of its arrays"),
        ({"images": "link.npy"}, "leads outside its root"),
        ({"images": "folder"}, "not a file"),
        ({"images": "pipe"}, "not a file"),
        ({"classes": ("a", "b")}, "y.npy[3] = 3, but there are 2 classes"),
        ({"labels": "", "classes": ("a",)}, "no labels are given"),
    )
    for change, words in mistakes:
        with pytest.raises(SourceError, match=re.escape(words)):
            arrays(root, **change)
    assert arrays(root).digest == arrays(root, "link.npy", allow_outside=True).digest


def test_a_damaged_archive_has_its_words(root: Path) -> None:
    """A broken directory, a broken member."""
    np.savez_compressed(root / "set.npz", x=IMAGES)
    content = bytearray((root / "set.npz").read_bytes())
    content[200:260] = bytes(60)
    (root / "set.npz").write_bytes(content)
    with pytest.raises(SourceError, match=r"set.npz/x: not a readable .npz file"):
        arrays(root, "set.npz/x", "")
    (root / "set.npz").write_bytes(content[:500])
    with pytest.raises(SourceError, match=r"set.npz/x: not a readable .npz file"):
        arrays(root, "set.npz/x", "")
    with zipfile.ZipFile(root / "set.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(SourceError, match=r"set.npz/x: not a readable .npy file"):
        arrays(root, "set.npz/x", "")


def test_each_mistake_in_an_hdf5_file_has_its_words(tmp_path: Path) -> None:
    """Missing data sets name those that are there."""
    write_hdf5(tmp_path / "set.h5")
    for change, words in (
        ({"images": "pictures"}, "no data set 'pictures' (source.images); it holds: image, label"),
        ({"labels": "y"}, "no data set 'y' (source.labels); it holds: image, label; labels = \"\" for none"),
        ({"images": "label"}, "images of shape (40,)"),
    ):
        with pytest.raises(SourceError, match=re.escape(words)):
            hdf5(tmp_path, **change)
    os.truncate(tmp_path / "set.h5", 3000)
    with pytest.raises(SourceError, match=r"set.h5: not a readable HDF5 file"):
        hdf5(tmp_path)


def test_a_virtual_data_set_needs_all_its_parts(tmp_path: Path) -> None:
    """Shards beside the file are read like one data set; one that is missing would be zeros, and is refused."""
    layout = h5py.VirtualLayout(IMAGES.shape, np.uint8)
    for number, start in enumerate((0, 15)):
        part = IMAGES[start : start + 15] if not start else IMAGES[start:]
        write_hdf5(tmp_path / f"part{number}.h5", part)
        layout[start : start + len(part)] = h5py.VirtualSource(f"part{number}.h5", "image", part.shape)
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file.create_virtual_dataset("image", layout)
        file["label"] = LABELS
    rows = open_set(Hdf5Source(kind="hdf5", root="data", path="set.h5"), str(tmp_path))
    wanted = np.array([39, 14, 15, 0, 16], np.int64)
    assert np.array_equal(IMAGES[wanted], rows.read(wanted)[0])
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(SourceError, match=r"holds data of part1.h5, and there is no such file"):
        hdf5(tmp_path)


def test_parts_of_parts_are_kept_below_the_root_too(tmp_path: Path) -> None:
    """A part beside the file may itself be a link, a virtual data set or external storage that leads out."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    write_hdf5(outside / "other.h5")
    (outside / "raw").write_bytes(IMAGES.tobytes())
    away = h5py.VirtualLayout(IMAGES.shape, np.uint8)
    away[:] = h5py.VirtualSource("../outside/other.h5", "image", IMAGES.shape)
    with h5py.File(inside / "part.h5", "w") as file:
        file["link"] = h5py.ExternalLink("../outside/other.h5", "/image")
        file.create_virtual_dataset("away", away)
        file.create_dataset("raw", IMAGES.shape, np.uint8, external=[("../outside/raw", 0, IMAGES.nbytes)])
    write_hdf5(inside / "set.h5")
    with h5py.File(inside / "set.h5", "a") as file:
        for name in ("link", "away", "raw"):
            layout = h5py.VirtualLayout(IMAGES.shape, np.uint8)
            layout[:] = h5py.VirtualSource("part.h5", name, IMAGES.shape)
            file.create_virtual_dataset(name, layout)
    for name in ("link", "away", "raw"):
        with pytest.raises(SourceError, match=r"part.h5.*allow_outside"):
            hdf5(inside, images=name)


def test_no_link_in_an_hdf5_file_leads_into_another(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither an external link, on the way or behind a soft link, nor external storage, nor a virtual data set."""
    outside = tmp_path_factory.mktemp("outside") / "other.h5"
    write_hdf5(outside)
    write_hdf5(tmp_path / "set.h5")
    outside.with_suffix(".raw").write_bytes(IMAGES.tobytes())
    layout = h5py.VirtualLayout(IMAGES.shape, np.uint8)
    layout[:] = h5py.VirtualSource(outside, "image", IMAGES.shape)
    with h5py.File(tmp_path / "set.h5", "a") as file:
        file["external"] = h5py.ExternalLink(outside, "/")
        file["soft"] = h5py.SoftLink("/external/image")
        file.create_virtual_dataset("virtual", layout)
        raw = [(str(outside.with_suffix(".raw")), 0, IMAGES.nbytes)]
        file.create_dataset("raw", IMAGES.shape, np.uint8, external=raw)
    for name in ("external/image", "soft", "virtual", "raw"):
        with pytest.raises(SourceError, match="allow_outside"):
            hdf5(tmp_path, images=name)
        assert hdf5(tmp_path).digest == hdf5(tmp_path, images=name, allow_outside=True).digest
