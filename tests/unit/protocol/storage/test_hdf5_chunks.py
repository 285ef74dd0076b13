"""Compressed chunks count against a bound, and one call into HDF5 unpacks little: nothing else runs meanwhile."""

import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from penstock.commands.check import main
from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.storage.hdf5_open import MOST_CHUNK_BYTES
from penstock.protocol.storage.hdf5_parts import OpenFile
from penstock.protocol.storage.hdf5_stored import StoredRows
from penstock.sources.hdf5 import Hdf5Source, open_set
from penstock.sources.row_listing import list_rows
from penstock.trainer import Hdf5Feed

SOURCE = Hdf5Source(kind="hdf5", root="data", path="set.h5", labels="")
SPEC = """
[roots]
data = "."
[streams.train]
source = { kind = "hdf5", root = "data", path = "set.h5", labels = "" }
transform = { resize = { height = 8, width = 8 } }
"""


def write(path: Path, chunk: tuple[int, ...], count: int = 64) -> Path:
    """Write `count` images of 64×64 in compressed chunks of a shape, of which the last may not be stored."""
    with h5py.File(path, "w") as file:
        shape = (max(count, chunk[0]), 64, 64, 3)
        data = file.create_dataset("image", shape, np.uint8, chunks=chunk, compression="gzip")
        data[:count] = np.ones((count, *shape[1:]), np.uint8)
    return path


def test_a_chunk_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    """A small file may say so: its size, the bound and the way out are told, by every reader."""
    write(tmp_path / "set.h5", (6000, 64, 64, 3))
    assert (tmp_path / "set.h5").stat().st_size < 1_000_000
    for read in (lambda: open_set(SOURCE, str(tmp_path)), lambda: Hdf5Feed(tmp_path / "set.h5")):
        with pytest.raises(SourceError, match=r"chunks of shape \(6000, 64, 64, 3\) are 74 MB .* h5repack"):
            read()


@pytest.mark.parametrize("chunk", [(1, 64, 64, 3), (64, 8, 8, 1), (4000, 4, 4, 1)])
def test_a_call_unpacks_whole_chunks_of_bounded_size(chunk: tuple[int, ...], tmp_path: Path) -> None:
    """Also where a row is spread over many chunks, each of which holds thousands of rows."""
    path = write(tmp_path / "set.h5", chunk)
    with h5py.File(path) as file:
        data = file["image"]
        assert isinstance(data, h5py.Dataset)
        rows = StoredRows(data, "set.h5/image", OpenFile.of(file, "set.h5"), np.dtype(np.uint8))
        assert math.prod(rows._tile) <= MOST_CHUNK_BYTES
        assert all(side % whole == 0 for side, whole in zip(rows._tile, chunk, strict=True))
        wanted = np.array([0, 3, 63], np.int64)
        out = np.full((3, 64, 64, 3), 9, np.uint8)
        rows.scatter(wanted, np.arange(3), out)
        assert np.array_equal(data[:64][wanted], out)


def test_check_counts_unpacked_chunks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several copies of the largest chunk, and the chunks that are kept, for each worker."""
    write(tmp_path / "set.h5", (1000, 64, 64, 3))
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    assert 0 == main([str(tmp_path / "spec.toml"), "--workers", "3"])
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("workers, chunks")]
    assert f"{3 * (32 + 4 * 12.288):.1f}" in line


def create(file: h5py.File, layout: str) -> h5py.Dataset:
    """Create a data set of 64 images in a layout."""
    shape = (64, 8, 6, 3)
    if layout in {"compact", "early chunks"}:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if layout == "compact":
            creation.set_layout(h5py.h5d.COMPACT)
        else:
            creation.set_chunk((4, *shape[1:]))
            creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple(shape)
        return h5py.Dataset(h5py.h5d.create(file.id, b"image", h5py.h5t.NATIVE_UINT8, space, creation))
    chunks = {"one piece": None, "tiles": (4, 4, 4, 3)}.get(layout, (4, *shape[1:]))
    return file.create_dataset(
        "image", shape, np.uint8, chunks=chunks, compression="gzip" if layout == "gzip" else None
    )


@pytest.mark.parametrize("layout", ["chunks", "tiles", "gzip", "one piece", "compact", "early chunks"])
def test_zeros_that_were_written_are_data(layout: str, tmp_path: Path) -> None:
    """Black images are images, however they are stored."""
    with h5py.File(tmp_path / "set.h5", "w") as file:
        create(file, layout)[:] = 0
    images = open_set(SOURCE, str(tmp_path)).images
    assert not images.take(np.arange(64, dtype=np.int64)).any()
    with Hdf5Feed(tmp_path / "set.h5") as feed:
        assert 64 == sum(len(batch["image"]) for batch in feed)


@pytest.mark.parametrize(("layout", "first"), [("chunks", 40), ("tiles", 40), ("gzip", 40), ("one piece", 0)])
def test_rows_that_were_never_written_are_refused(layout: str, first: int, tmp_path: Path) -> None:
    """HDF5 would deliver fill values for rows without storage; the others are read."""
    with h5py.File(tmp_path / "set.h5", "w") as file:
        data = create(file, layout)
        if first:
            data[:first, :, :4] = data[: first - 4, :, 4:] = 7  # of rows 36 to 39 only a part is stored
    images = open_set(SOURCE, str(tmp_path)).images
    written = first - 4 if layout == "tiles" else first
    if first:
        assert written == len(images.take(np.arange(written, dtype=np.int64)))
    words = rf"image: rows {written} to 63 were never written"
    with pytest.raises(SourceError, match=words):
        list_rows(open_set(SOURCE, str(tmp_path)))
    with pytest.raises(ItemError, match=words):
        images.take(np.arange(64, dtype=np.int64))
    with pytest.raises(SourceError, match="were never written"):
        Hdf5Feed(tmp_path / "set.h5")
