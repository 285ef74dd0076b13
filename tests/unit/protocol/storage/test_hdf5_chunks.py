"""Compressed chunks count against a bound, and one call into HDF5 unpacks little: nothing else runs meanwhile."""

import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from penstock.commands.check import main
from penstock.protocol.errors import SourceError
from penstock.protocol.storage.hdf5_open import MOST_CHUNK_BYTES
from penstock.protocol.storage.hdf5_parts import OpenFile
from penstock.protocol.storage.hdf5_stored import StoredRows
from penstock.sources.hdf5 import Hdf5Source, open_set
from penstock.trainer import Hdf5Feed

SPEC = """
[roots]
data = "."
[streams.train]
source = { kind = "hdf5", root = "data", path = "set.h5", labels = "" }
transform = { resize = { height = 8, width = 8 } }
"""


def write(path: Path, chunk: tuple[int, ...], count: int = 64) -> Path:
    """Write `count` images of 64×64 in compressed chunks of a shape, of which only the first is stored."""
    with h5py.File(path, "w") as file:
        shape = (max(count, chunk[0]), 64, 64, 3)
        data = file.create_dataset("image", shape, np.uint8, chunks=chunk, compression="gzip")
        data[0] = np.ones(shape[1:], np.uint8)
    return path


def test_a_chunk_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    """A small file may say so: its size, the bound and the way out are told, by every reader."""
    write(tmp_path / "set.h5", (6000, 64, 64, 3))
    assert (tmp_path / "set.h5").stat().st_size < 1_000_000
    source = Hdf5Source(kind="hdf5", root="data", path="set.h5", labels="")
    for read in (lambda: open_set(source, str(tmp_path)), lambda: Hdf5Feed(tmp_path / "set.h5")):
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
