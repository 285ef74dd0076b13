"""What `Hdf5Feed` says of wrong arguments, and of files that are damaged, unfinished or lead outside their folder."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.hdf5.feeds import COUNT, SMALL, items
from support.hdf5.files import images, write_file, write_parts
from support.streams import epochs

from penstock.protocol.errors import SourceError, SpecError
from penstock.protocol.storage.hdf5_open import Bounds
from penstock.trainer import Hdf5Feed
from penstock.trainer.hdf5.columns import Column


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size = 0"),
        ({"rank": 2, "world_size": 2}, "rank = 2 with world_size = 2"),
        ({"image": "pictures"}, "no data set 'pictures'; it holds: image, item, label"),
        ({"fields": ("image", "y")}, "no data set 'y'"),
        ({"fields": "image"}, "give a tuple of names"),
        ({"manipulation": "qf70"}, "has no image for each manipulation"),
        ({"crop": (13, 5)}, "crop = (13, 5): give height and width from 1 to those of the images"),
        ({"crop": (4, 5), "rot90": True}, "rot90 = True needs square images"),
        ({"flip": "diagonal"}, "flip = 'diagonal'"),
        ({"window_mb": 0.5}, "run_mb = 1.0, window_mb = 0.5"),
        ({"recorded": True, "shuffle": True}, "recorded = True gives rows as they were recorded"),
        ({"recorded": True}, "no data set 'epoch'"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_each_wrong_argument_has_its_words(plain: Path, arguments: dict[str, Any], words: str) -> None:
    """They quote the value and say what is allowed."""
    with pytest.raises(SpecError) as caught:
        Hdf5Feed(plain, **arguments)
    assert words in str(caught.value)


def test_files_that_cannot_be_read_say_why(plain: Path, tmp_path: Path) -> None:
    """Missing, a folder, no HDF5, cut short, another format, empty, of fields of different lengths."""
    (tmp_path / "text.h5").write_text("no HDF5")
    content = plain.read_bytes()
    (tmp_path / "short.h5").write_bytes(content[: len(content) // 2])
    write_file(tmp_path / "newer.h5", penstock_format=2, penstock_version="9.0")
    write_file(tmp_path / "empty.h5", 0, stored="plain")
    with h5py.File(write_file(tmp_path / "uneven.h5"), "a") as file:
        file["extra"] = np.zeros(3)
    os.mkfifo(tmp_path / "pipe.h5")
    for name, words in {
        "none.h5": "no such file",
        "": "no such file",
        "pipe.h5": "no such file",
        "text.h5": "not an HDF5 file",
        "short.h5": "truncated",
        "newer.h5": "written in format 2 by Penstock 9.0",
        "empty.h5": "holds no samples",
    }.items():
        with pytest.raises(SourceError, match=words) as caught:
            Hdf5Feed(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(SourceError, match=r"fields of different lengths \(image 50, extra 3\)"):
        Hdf5Feed(tmp_path / "uneven.h5", fields=("image", "extra"))
    with Hdf5Feed(tmp_path / "uneven.h5") as feed:
        assert ["image", "label", "item"] == [field.name for field in feed.schema]


@pytest.mark.parametrize("damage", ["cut", "overwritten", "grown", "a part vanished", "a part was cut"])
def test_a_file_that_is_damaged_while_it_is_read_ends_in_words(damage: str, tmp_path: Path) -> None:
    """The program gets an error that names the file, never wrong samples, a signal or a wait."""
    parts = "part" in damage
    path = write_parts(tmp_path / "set.h5") if parts else write_file(tmp_path / "set.h5", stored="gzip", side=40)
    feed = Hdf5Feed(path, shuffle=False, batch_size=4, run_mb=0.002, window_mb=0.002, timeout_s=30)
    next(iter(feed))
    victim = tmp_path / "set-2.h5" if parts else path
    size = victim.stat().st_size
    if damage.endswith("vanished"):
        victim.unlink()
    elif "cut" in damage:
        os.truncate(victim, size // 2)
    else:
        with victim.open("r+b") as file:
            file.seek(0 if damage == "grown" else size // 2, os.SEEK_END if damage == "grown" else os.SEEK_SET)
            file.write(bytes(size // 2))
    with pytest.raises(SourceError) as caught:
        epochs(feed, 2)
    assert victim.name in str(caught.value)
    feed.close()


def test_a_file_that_is_replaced_is_read_as_it_was_opened(tmp_path: Path) -> None:
    """Its name leads to other rows by then: places in the one are not those in the other."""
    path = write_file(tmp_path / "set.h5", COUNT)
    with h5py.File(path) as file:
        expected = images(np.arange(COUNT))
        write_file(tmp_path / "other.h5", COUNT, side=13).replace(path)
        data: Any = file["image"]
        column = Column(data, Bounds(str(path), None))
        np.testing.assert_array_equal(expected, column.take(np.arange(COUNT, dtype=np.int64)))


def test_corrupt_compressed_chunks_end_in_words(tmp_path: Path) -> None:
    """A file damaged before it was opened: the rows are named."""
    path = write_file(tmp_path / "set.h5", stored="gzip", side=40)
    with h5py.File(path) as file:
        chunk = file["image"].id.get_chunk_info(6)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * chunk.size)
    with Hdf5Feed(path, shuffle=False, batch_size=4, run_mb=0.02, window_mb=0.02) as feed:
        got: list[int] = []
        with pytest.raises(SourceError, match=r"set.h5/image: rows 24 to 27 cannot be read: .*filter"):
            got += [item for batch in feed for item in batch["item"].tolist()]
        with pytest.raises(SourceError, match="rows 24 to 27"):
            next(iter(feed))
        feed.seek(32)
        assert list(range(32, COUNT)) == items(list(feed))


def test_links_parts_and_storage_outside_the_folder_are_refused(tmp_path: Path) -> None:
    """At every depth: behind soft links, in parts of parts, in external storage of a part."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    write_file(outside / "set.h5")
    (outside / "raw").write_bytes(images(range(COUNT)).tobytes())
    shape = images(range(COUNT)).shape
    with h5py.File(inside / "set.h5", "w") as file:
        file["link"] = h5py.ExternalLink("../outside/set.h5", "/image")
        file["soft"] = h5py.SoftLink("/link")
        file.create_dataset("raw", shape, np.uint8, external=[("../outside/raw", 0, images(range(COUNT)).nbytes)])
        for name, source in (
            ("own", h5py.VirtualSource(".", "raw", shape)),
            ("deep", h5py.VirtualSource(".", "own", shape)),
        ):
            layout = h5py.VirtualLayout(shape, np.uint8)
            layout[:] = source
            file.create_virtual_dataset(name, layout)
        layout = h5py.VirtualLayout(shape, np.uint8)
        layout[:] = h5py.VirtualSource("../outside/set.h5", "image", shape)
        file.create_virtual_dataset("parts", layout)
        file["circle"] = h5py.SoftLink("/circle")
    for name in ("link", "soft", "raw", "own", "deep", "parts"):
        with pytest.raises(SourceError, match="allow_outside"):
            Hdf5Feed(inside / "set.h5", image=name)
    for name in ("link", "soft", "parts"):
        with Hdf5Feed(inside / "set.h5", image=name, allow_outside=True, shuffle=False) as feed:
            assert np.array_equal(images(range(32)), next(iter(feed))["image"])
    with pytest.raises(SourceError, match="soft links lead on and on"):
        Hdf5Feed(inside / "set.h5", image="circle")


def test_a_part_that_is_missing_or_too_short_is_refused_not_read_as_zeros(tmp_path: Path) -> None:
    """HDF5 itself would give zeros for it."""
    path = write_parts(tmp_path / "set.h5")
    with h5py.File(tmp_path / "set-1.h5", "a") as file:
        data = images(range(20, 25))
        del file["image"]
        file["image"] = data
    with pytest.raises(SourceError, match=r"set-1.h5"):
        Hdf5Feed(path)
    (tmp_path / "set-1.h5").unlink()
    with pytest.raises(SourceError, match=r"set-1.h5, and there is no such file"):
        Hdf5Feed(path)


def test_rows_that_are_no_images_can_be_read_and_not_be_turned(tmp_path: Path) -> None:
    """`image` may name any numbers, such as floats with the channels first."""
    values = np.arange(40 * 3 * 4 * 5, dtype=np.float32).reshape(40, 3, 4, 5)
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["scaled"] = values
    with pytest.raises(SpecError, match="no data set of images; it holds: scaled"):
        Hdf5Feed(tmp_path / "set.h5")
    with Hdf5Feed(tmp_path / "set.h5", image="scaled", shuffle=False) as feed:
        batch = next(iter(feed))
        assert np.array_equal(values[:32], batch["image"])
        assert np.float32 == batch["image"].dtype
    with pytest.raises(SpecError, match="crop, rot90 and flip need"):
        Hdf5Feed(tmp_path / "set.h5", image="scaled", flip="both")


def test_a_file_of_which_some_is_written_gives_what_has_all_its_fields(tmp_path: Path) -> None:
    """With `complete` false, lengths may differ; the feed's state is not that of the whole file."""
    path = write_file(tmp_path / "set.h5", complete=False, penstock_format=1, penstock_version="0")
    with h5py.File(path, "a") as file:
        del file["label"]
        file["label"] = np.arange(41) % 3
    with Hdf5Feed(path, **SMALL) as feed:
        assert list(range(41)) == sorted(items(list(feed)))
        assert not feed.facts.complete
