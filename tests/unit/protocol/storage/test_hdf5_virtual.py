"""Virtual data sets are read part by part: right in every arrangement, and never as fill values."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.hdf5.virtual_files import SHAPE, pixels, write_endless, write_parts

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.storage.hdf5_open import Bounds
from penstock.protocol.storage.rows import SourceRows
from penstock.sources.hdf5 import Hdf5Source, open_set
from penstock.trainer import Hdf5Feed
from penstock.trainer.hdf5.columns import Column

IMAGES = pixels(12)


def opened(root: Path, **fields: Any) -> SourceRows:
    """Open `all.h5` as the ventilator and workers do."""
    return open_set(Hdf5Source(kind="hdf5", root="data", path="all.h5", **fields), str(root))


def write(root: Path, layout: h5py.VirtualLayout, **parts: Any) -> Path:
    """Write `all.h5` with a virtual data set, and files that hold one data set each."""
    for name, values in parts.items():
        with h5py.File(root / f"{name}.h5", "w") as file:
            file["image"] = values
    with h5py.File(root / "all.h5", "w") as file:
        file.create_virtual_dataset("image", layout)
    return root / "all.h5"


def _single_images(root: Path, layout: h5py.VirtualLayout) -> None:
    for row in range(len(IMAGES)):
        layout[row] = h5py.VirtualSource(f"p{row}.h5", "image", SHAPE)
    write(root, layout, **{f"p{row}": image for row, image in enumerate(IMAGES)})


def _every_other_row(root: Path, layout: h5py.VirtualLayout) -> None:
    layout[::2] = h5py.VirtualSource("even.h5", "image", (6, *SHAPE))
    layout[1::2] = h5py.VirtualSource("odd.h5", "image", (6, *SHAPE))
    write(root, layout, even=IMAGES[::2], odd=IMAGES[1::2])


def _a_part_for_each_channel(root: Path, layout: h5py.VirtualLayout) -> None:
    for channel in range(3):
        layout[..., channel] = h5py.VirtualSource(f"c{channel}.h5", "image", (12, 8, 6))
    write(root, layout, **{f"c{channel}": IMAGES[..., channel] for channel in range(3)})


def _chosen_rows(root: Path, layout: h5py.VirtualLayout) -> None:
    layout[[0, 2, 3, 7]] = h5py.VirtualSource("some.h5", "image", (4, *SHAPE))
    rest = [row for row in range(12) if row not in (0, 2, 3, 7)]
    layout[rest] = h5py.VirtualSource("rest.h5", "image", (8, *SHAPE))
    write(root, layout, some=IMAGES[[0, 2, 3, 7]], rest=IMAGES[rest])


def _rows_from_within(root: Path, layout: h5py.VirtualLayout) -> None:
    source = h5py.VirtualSource("whole.h5", "image", (12, *SHAPE))
    layout[:5], layout[5:] = source[7:12], source[:7]
    write(root, layout, whole=np.roll(IMAGES, -5, axis=0))


def _windows_of_larger_images(root: Path, layout: h5py.VirtualLayout) -> None:
    larger = np.zeros((12, 20, 20, 3), np.uint8)
    larger[:, 5:13, 7:13] = IMAGES
    layout[:] = h5py.VirtualSource("larger.h5", "image", larger.shape)[:, 5:13, 7:13]
    write(root, layout, larger=larger)


def _other_numbers(root: Path, layout: h5py.VirtualLayout) -> None:
    layout[:] = h5py.VirtualSource("big.h5", "image", (12, *SHAPE), ">i4")
    write(root, layout, big=IMAGES.astype(">i4"))


def _parts_of_parts(root: Path, layout: h5py.VirtualLayout) -> None:
    _every_other_row(root, layout)
    (root / "all.h5").rename(root / "inner.h5")
    outer = h5py.VirtualLayout((12, *SHAPE), np.uint8)
    outer[:] = h5py.VirtualSource("inner.h5", "image", (12, *SHAPE))
    write(root, outer)


def _names_with_percent_signs(root: Path, layout: h5py.VirtualLayout) -> None:
    layout[:] = h5py.VirtualSource("50%%b.h5", "image", (12, *SHAPE))
    write(root, layout, **{"50%b": IMAGES})


ARRANGEMENTS = (
    _single_images,
    _every_other_row,
    _a_part_for_each_channel,
    _chosen_rows,
    _rows_from_within,
    _windows_of_larger_images,
    _other_numbers,
    _parts_of_parts,
    _names_with_percent_signs,
)


@pytest.mark.parametrize("arrange", ARRANGEMENTS)
def test_every_arrangement_reads_as_hdf5_would(
    arrange: Callable[[Path, h5py.VirtualLayout], None], tmp_path: Path
) -> None:
    """By a stream's source and by a feed, any rows, in any order."""
    arrange(tmp_path, h5py.VirtualLayout((12, *SHAPE), np.uint8))
    with h5py.File(tmp_path / "all.h5") as file:
        data: Any = file["image"]
        assert np.array_equal(IMAGES, data[:]), "HDF5 reads this arrangement"
        rows = np.array([11, 0, 7, 7, 2, 3], np.int64)
        assert np.array_equal(IMAGES[rows], opened(tmp_path, labels="").images.take(rows))
        column = Column(data, Bounds("all.h5", str(tmp_path)))
        assert np.array_equal(IMAGES[1:11], column.take(np.arange(1, 11, dtype=np.int64)))


@pytest.mark.parametrize("part", ["d-%b/x.h5", "part000.h5"])
def test_parts_that_show_only_while_they_are_read_are_refused(part: str, tmp_path: Path) -> None:
    """Names with a placeholder and selections without an end: what they lead to cannot be confined."""
    (tmp_path / "d-0").mkdir()
    (tmp_path / "d-%b").mkdir()
    for name in ("d-%b/x.h5", "part000.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["image"] = IMAGES
    os.mkfifo(tmp_path / "d-0/x.h5")  # a process that opened it would wait for ever
    write_endless(tmp_path / "all.h5", part)
    words = "named by a pattern, 'd-%b/x.h5'" if "%" in part else "selection without an end"
    for read in (lambda: opened(tmp_path, labels=""), lambda: Hdf5Feed(tmp_path / "all.h5")):
        with pytest.raises(SourceError, match=words):
            read()


def test_rows_of_no_part_are_refused(tmp_path: Path) -> None:
    """HDF5 would deliver fill values for them."""
    layout = h5py.VirtualLayout((12, *SHAPE), np.uint8)
    layout[:5] = h5py.VirtualSource("a.h5", "image", (5, *SHAPE))
    layout[7:] = h5py.VirtualSource("b.h5", "image", (5, *SHAPE))
    write(tmp_path, layout, a=IMAGES[:5], b=IMAGES[7:])
    with pytest.raises(SourceError, match=r"all\.h5/image: rows 5 to 6 belong to no part"):
        opened(tmp_path, labels="")
    layout = h5py.VirtualLayout((12, *SHAPE), np.uint8)
    layout[::2] = h5py.VirtualSource("even.h5", "image", (6, *SHAPE))
    write(tmp_path, layout, even=IMAGES[::2])
    with pytest.raises(ItemError, match=r"rows 3 to 3 belong to no part"):
        opened(tmp_path, labels="").images.take(np.array([3]))


@pytest.mark.parametrize("harm", ["deleted", "swapped for a link", "replaced", "unreadable", "a pipe"])
def test_a_part_that_cannot_be_read_any_more_is_an_error(harm: str, tmp_path: Path) -> None:
    """Only its own rows fail; the others are right, and nothing outside the root is read."""
    outside, root = tmp_path / "outside.h5", tmp_path / "root"
    root.mkdir()
    write_parts(root, 3)
    rows, victim = opened(root), root / "part001.h5"
    with h5py.File(outside, "w") as file:
        file["image"] = IMAGES[:8]
    victim.rename(root / "old.h5")
    if harm == "swapped for a link":
        victim.symlink_to(outside)
    elif harm == "replaced":
        outside.replace(victim)
    elif harm == "unreadable":
        victim.write_bytes(b"no HDF5")
    elif harm == "a pipe":
        os.mkfifo(victim)
    expected = pixels(24)
    for row in range(24):
        if 8 <= row < 16:
            with pytest.raises(ItemError, match=r"part001\.h5"):
                rows.images.take(np.array([row]))
        else:
            assert np.array_equal(expected[[row]], rows.images.take(np.array([row])))


def test_storage_outside_the_file_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    """HDF5 would deliver zeros for what is beyond its end."""
    with h5py.File(tmp_path / "all.h5", "w") as file:
        raw = [(str(tmp_path / "raw"), 0, IMAGES.nbytes)]
        file.create_dataset("image", IMAGES.shape, np.uint8, external=raw)
    (tmp_path / "raw").write_bytes(IMAGES.tobytes())
    rows = opened(tmp_path, labels="", allow_outside=True)
    assert np.array_equal(IMAGES, rows.images.take(np.arange(12)))
    os.truncate(tmp_path / "raw", IMAGES.nbytes // 2)
    with pytest.raises(ItemError, match="which ends before"):
        rows.images.take(np.array([11]))


def test_the_mappings_are_read_once_however_many_parts_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the time is linear in the number of parts."""
    calls: list[int] = []
    read = h5py.Dataset.virtual_sources

    def counted(data: h5py.Dataset) -> Any:
        calls.append(1)
        return read(data)

    monkeypatch.setattr(h5py.Dataset, "virtual_sources", counted)
    counts = []
    for parts in (3, 40):
        (tmp_path / str(parts)).mkdir()
        path = write_parts(tmp_path / str(parts), parts, 1)
        calls.clear()
        opened(path.parent).images.take(np.arange(parts))
        with Hdf5Feed(path, shuffle=False) as feed:
            assert parts == sum(len(batch["image"]) for batch in feed)
        counts.append(len(calls))
    assert counts[0] == counts[1] < 20


@pytest.mark.parametrize("spare", [3, 4, 6, 9])
def test_few_descriptors_give_right_rows_or_an_error(spare: int, tmp_path: Path) -> None:
    """While listing and while reading: other files are closed to make room; never a fill value, never a crash."""
    write_parts(tmp_path, 30, chunks=(4, *SHAPE), compression="gzip")
    program = f"""
import os, resource, sys
import numpy as np
from penstock.protocol.errors import ItemError, SourceError
from penstock.sources.hdf5 import Hdf5Source, open_set
from penstock.sources.row_listing import list_rows
from penstock.trainer import Hdf5Feed
import penstock.trainer.hdf5.feed
source = Hdf5Source(kind="hdf5", root="data", path="all.h5")
expected = np.load({str(tmp_path / "expected.npy")!r})
list_rows(open_set(source, {str(tmp_path)!r}))
used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + {spare}, used + {spare}))
try:
    listing = list_rows(open_set(source, {str(tmp_path)!r}))
    rows = open_set(source, {str(tmp_path)!r})
    for part in range(0, 240, 16):
        some = np.arange(part, part + 16)
        assert np.array_equal(expected[some], rows.images.take(some)), part
    print("read")
except (ItemError, SourceError) as error:
    print(error)
del rows
try:
    with Hdf5Feed({str(tmp_path / "all.h5")!r}, shuffle=False, fields=("image",)) as feed:
        assert np.array_equal(expected, np.concatenate([batch["image"] for batch in feed]))
    print("read")
except SourceError as error:
    print(error)
""".replace("del rows\n", "rows = None\n")
    np.save(tmp_path / "expected.npy", pixels(240))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    said = done.stdout.splitlines()
    assert 2 == len(said)
    assert all(line == "read" or "oo many open files" in line for line in said), said
    if spare >= 9:
        assert ["read", "read"] == said
