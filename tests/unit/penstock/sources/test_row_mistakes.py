"""Sources of rows: what every mistake in arrays and HDF5 files is called."""

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.sources.arrays import IMAGES, LABELS, arrays, hdf5, write_hdf5

from penstock.protocol.errors import SourceError
from penstock.sources.hdf5 import Hdf5Source, open_set


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with x.npy and y.npy."""
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    return tmp_path


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
        (lambda root: np.save(root / "y.npy", LABELS * 0 - 1), "y.npy: all labels are -1, which means none"),
        (lambda root: np.save(root / "y.npy", LABELS + 2**40), "must be below 2^31"),
        (lambda root: np.save(root / "y.npy", LABELS * 1j), "dtype complex128: save them as numbers"),
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
    """Shards next to the file are read like one data set; one that is missing would be zeros, and is refused."""
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
    """A part next to the file may itself be a link, a virtual data set or external storage that leads out."""
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
