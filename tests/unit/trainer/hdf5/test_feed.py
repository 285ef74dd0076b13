"""`Hdf5Feed` on files of every kind of storage: rows, fields, ranks, resuming, changes, and damaged files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hdf5_files import MANIPULATIONS, images, write_file, write_parts
from support.streams import Batch, digest, epochs, until

from penstock.protocol.errors import AbandonedError, PenstockError, RefusedError, SourceError, SpecError
from penstock.protocol.storage.hdf5_open import Bounds
from penstock.trainer import Hdf5Feed
from penstock.trainer.hdf5.columns import Column

COUNT = 50
#: Runs of a few rows and windows of a few runs, so that a small file has many.
SMALL: dict[str, Any] = {"batch_size": 8, "run_mb": 0.002, "window_mb": 0.008}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file in chunks."""
    return write_file(tmp_path_factory.mktemp("files") / "set.h5", COUNT)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with an image for each manipulation."""
    return write_file(tmp_path_factory.mktemp("files") / "several.h5", COUNT, several=True)


def small(**changes: Any) -> dict[str, Any]:
    """Return `SMALL` with changes."""
    return dict(SMALL, **changes)


def items(batches: list[Batch]) -> list[int]:
    """Return the items of batches, in order."""
    return [item for batch in batches for item in batch["item"].tolist()]


@pytest.mark.parametrize("order", ["shuffled", "stored"])
@pytest.mark.parametrize("stored", ["plain", "chunks", "gzip", "lzf", "parts", "packed parts", "zstd"])
def test_every_row_comes_once_an_epoch_with_all_its_fields(stored: str, order: str, tmp_path: Path) -> None:
    """However the file stores them; in its order without shuffling, in the same shuffled order for any storage."""
    path, shuffle = tmp_path / "set.h5", order == "shuffled"
    if stored == "zstd":
        with h5py.File(path, "w") as file:
            file["label"], file["item"] = np.arange(COUNT, dtype=np.int32) % 3, np.arange(COUNT)
            file.create_dataset("image", data=images(range(COUNT)), chunks=(4, 12, 12, 3), **hdf5plugin.Zstd())
    elif stored.endswith("parts"):
        write_parts(path, stored="gzip" if stored.startswith("packed") else "chunks")
    else:
        write_file(path, COUNT, stored=stored)
    with Hdf5Feed(path, shuffle=shuffle, **SMALL) as feed:
        assert ["image", "label", "item"] == [field.name for field in feed.schema]
        batches: list[Batch] = []
        for _ in range(2):
            batches = list(feed)
            got = items(batches)
            assert list(range(COUNT)) == (sorted(got) if shuffle else got)
            assert (got != sorted(got)) == shuffle
            for batch in batches:
                assert np.array_equal(images(batch["item"]), batch["image"])
                assert np.array_equal(batch["item"] % 3, batch["label"])
                assert batch["image"].flags.writeable
        assert [8] * 6 + [2] == [len(batch["image"]) for batch in batches]
        assert [(COUNT, COUNT, 0)] * 2 == [(end.expected, end.delivered, end.dropped) for end in feed.epochs]


def test_the_order_is_that_of_the_seed_for_any_storage_in_equal_chunks(tmp_path: Path) -> None:
    """Compressed or not, whole or in parts."""
    write_file(tmp_path / "a.h5", COUNT)
    write_file(tmp_path / "b.h5", COUNT, stored="gzip")
    write_parts(tmp_path / "c.h5")
    digests = [digest(epochs(Hdf5Feed(tmp_path / f"{name}.h5", **SMALL), 2)) for name in "abc"]
    assert [digests[0]] * 3 == digests
    assert digests[0] != digest(epochs(Hdf5Feed(tmp_path / "a.h5", seed=1, **SMALL), 2))


@settings(max_examples=50)
@given(world_size=st.integers(1, 4), batch_size=st.integers(1, 20), position=st.integers(0, 130))
def test_ranks_share_what_one_reader_would_get(plain: Path, world_size: int, batch_size: int, position: int) -> None:
    """From any position: each round's batches, rank by rank, are what stands there, at the same position after."""
    ranks = [
        Hdf5Feed(plain, rank=rank, world_size=world_size, **small(batch_size=batch_size)) for rank in range(world_size)
    ]
    alone = Hdf5Feed(plain, **small(batch_size=batch_size * world_size))
    for feed in (alone, *ranks):
        feed.seek(position)
    rounds = zip(*(_stops(feed) for feed in ranks), strict=True)
    got = [
        ([item for batch, _ in each for item in batch["item"].tolist()], {stop for _, stop in each}) for each in rounds
    ]
    expected = [(batch["item"].tolist(), {stop}) for batch, stop in _stops(alone)]
    if expected and len(expected[-1][0]) < world_size:
        expected.pop()  # fewer than ranks: dropped
    assert expected == got
    assert ranks[0].position == (position // COUNT + 1) * COUNT
    for feed in (alone, *ranks):
        feed.close()


def _stops(feed: Hdf5Feed) -> list[tuple[Batch, int]]:
    """Return the rest of an epoch: each batch, and the position after it; nothing where the rest gives no batch."""
    found = []
    epoch = feed.epoch
    for batch in feed:
        if feed.plan.epoch_of(feed.position - 1) != epoch:
            feed.seek((epoch + 1) * COUNT)
            break
        found.append((batch, feed.position))
    return found


@settings(max_examples=50)
@given(taken=st.integers(1, 20), world_size=st.integers(1, 2))
def test_a_state_goes_on_with_the_very_next_row(plain: Path, taken: int, world_size: int) -> None:
    """Also at another number of ranks (of two, nothing of this file is dropped)."""
    with Hdf5Feed(plain, **SMALL) as feed:
        before: list[int] = []
        while len(before) < 8 * taken:
            for batch in feed:
                before += batch["item"].tolist()
                if len(before) >= 8 * taken:
                    break
        state = feed.state_dict()
        after = items(epochs(feed, 2))
    ranks = [Hdf5Feed(plain, rank=rank, world_size=world_size, **SMALL) for rank in range(world_size)]
    for rank in ranks:
        rank.load_state_dict(state)
    rest = [item for rank in ranks for item in items(list(rank))]
    assert set(after[: len(rest)]) == set(rest)
    assert len(rest) == len(set(rest)) > 0
    for rank in ranks:
        rank.close()


def test_a_state_of_another_file_or_of_other_settings_is_refused_in_words(plain: Path, tmp_path: Path) -> None:
    """At once, with what to do; how batches are cut may change."""
    with Hdf5Feed(plain, **SMALL) as feed:
        state = feed.state_dict()
    other = write_file(tmp_path / "other.h5", COUNT + 1)
    with Hdf5Feed(other, **SMALL) as feed, pytest.raises(RefusedError, match=r"other\.h5: .* is of another file"):
        feed.load_state_dict(state)
    with Hdf5Feed(plain, **SMALL, seed=5) as feed, pytest.raises(RefusedError, match="same file with other settings"):
        feed.load_state_dict(state)
    with Hdf5Feed(plain, **small(batch_size=3)) as feed:
        feed.load_state_dict(state)
    with Hdf5Feed(plain) as feed, pytest.raises(SpecError, match="not a feed's state"):
        feed.load_state_dict({"position": 3})


def test_any_position_can_be_sought_forwards_and_back(plain: Path) -> None:
    """A seek ends the iteration it comes in, and drops what was read ahead."""
    with Hdf5Feed(plain, **SMALL) as feed:
        whole = items(epochs(feed, 3))
        for position in (120, 7, 49, 50, 0):
            feed.seek(position)
            assert whole[position : position // COUNT * COUNT + COUNT] == items(list(feed))
        for batch in feed:
            del batch
            feed.seek(90)
        assert whole[90:100] == items(list(feed))


def test_a_newer_iteration_ends_an_older_one(plain: Path) -> None:
    """The older one says so; the newer goes on with the next batch."""
    with Hdf5Feed(plain, **SMALL) as feed:
        older = iter(feed)
        first = next(older)
        rest = list(feed)
        assert list(range(COUNT)) == sorted(items([first, *rest]))
        with pytest.raises(AbandonedError, match="left for a newer one"):
            next(older)


def test_remainders_may_be_dropped_and_no_batch_at_all_is_an_error(plain: Path) -> None:
    """The account says how many; an epoch without a batch is no endless loop."""
    with Hdf5Feed(plain, drop_remainder=True, **SMALL) as feed:
        assert [8] * 6 == [len(batch["item"]) for batch in feed]
        assert (6, 2) == (feed.batches_per_epoch, feed.epochs[0].dropped)
    with Hdf5Feed(plain, batch_size=51, drop_remainder=True) as feed:
        assert 0 == feed.batches_per_epoch
        with pytest.raises(SpecError, match="a whole epoch gives no batch: 50 samples"):
            list(feed)


def test_the_image_of_a_manipulation_is_chosen_by_name_number_or_draw(several: Path) -> None:
    """`manipulation` says which it was; a draw follows from seed, epoch and row, and differs between epochs."""
    for given_, index in (("qf70", 2), (1, 1), (0, 0)):
        with Hdf5Feed(several, manipulation=given_, shuffle=False) as feed:
            assert MANIPULATIONS == feed.manipulations
            for batch in feed:
                assert np.array_equal(images(batch["item"], manipulation=index), batch["image"])
                assert {index} == set(batch["manipulation"].tolist())
    drawn = []
    for _ in range(2):
        with Hdf5Feed(several, manipulation="random", **SMALL) as feed:
            for batch in epochs(feed, 2):
                for item, image, index in zip(batch["item"], batch["image"], batch["manipulation"], strict=True):
                    assert np.array_equal(images([item], manipulation=index)[0], image)
                    drawn.append((int(item), int(index)))
    assert drawn[:100] == drawn[100:]
    assert sorted(drawn[:50]) != sorted(drawn[50:100])
    assert {0, 1, 2} == {index for _, index in drawn}
    with Hdf5Feed(several, image="gamma08", fields=("image", "item", "qf70")) as feed:
        batch = next(iter(feed))
    assert ["image", "item", "qf70"] == list(batch)
    assert np.array_equal(images(batch["item"], manipulation=1), batch["image"])
    assert np.array_equal(images(batch["item"], manipulation=2), batch["qf70"])


def test_cuts_turns_and_flips_follow_from_seed_epoch_and_row(plain: Path) -> None:
    """Every sample is a cut of its image in one of eight positions, the same whatever the order of rows."""
    found: dict[int, bytes] = {}
    kinds: set[tuple[int, int, int]] = set()
    for shuffle in (True, False):
        with Hdf5Feed(plain, shuffle=shuffle, crop=(5, 5), rot90=True, flip="both", **SMALL) as feed:
            assert (5, 5, 3) == feed.schema[0].shape
            for batch in feed:
                for item, image in zip(batch["item"].tolist(), batch["image"], strict=True):
                    kinds.add(_find_cut(images([item])[0], image))
                    assert image.tobytes() == found.setdefault(item, image.tobytes())
    assert {0, 7} <= {top for top, _, _ in kinds} & {left for _, left, _ in kinds}
    assert 8 == len({position for _, _, position in kinds})
    with Hdf5Feed(plain, crop=(4, 6), crop_at="center") as feed:
        batch = next(iter(feed))
        assert np.array_equal(images(batch["item"])[:, 4:8, 3:9], batch["image"])


def _find_cut(whole: Any, part: Any) -> tuple[int, int, int]:
    """Return top, left and position (turn, and whether it is mirrored) of a square part."""
    side = len(part)
    for position in range(8):
        upright = np.rot90(part if position < 4 else part[:, ::-1], -(position % 4) if position < 4 else position % 4)
        for top in range(len(whole) - side + 1):
            for left in range(len(whole) - side + 1):
                if np.array_equal(whole[top : top + side, left : left + side], upright):
                    return top, left, position
    raise AssertionError("not a part of the image")


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


def test_what_is_read_ahead_is_bounded_and_closing_ends_the_thread(plain: Path) -> None:
    """A program that never asks for more holds back the reading; nothing is left behind."""
    feed = Hdf5Feed(plain, **SMALL)
    next(iter(feed))
    supply = feed._supply
    until(lambda: len(supply._events) == supply._ahead, "the thread to be as far ahead as it may")
    thread = supply._thread
    feed.close()
    assert thread is not None
    assert not thread.is_alive()
    with pytest.raises(RefusedError, match="is closed"):
        next(iter(feed))


def test_a_feed_that_nobody_holds_closes_its_file(plain: Path) -> None:
    """Descriptors and the thread go with it."""
    opened = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        next(iter(Hdf5Feed(plain, **SMALL)))
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= opened, "the files to be closed")


def test_a_deadline_and_a_failure_from_elsewhere_end_a_wait(plain: Path) -> None:
    """`fail` is raised where the program waits."""
    with Hdf5Feed(plain, **SMALL) as feed:
        next(iter(feed))
        feed.fail(PenstockError("the stack behind it gave up"))
        with pytest.raises(PenstockError, match="gave up"):
            epochs(feed, 5)


@pytest.mark.parametrize(("last_words", "status"), [("pass", 0), ("raise SystemExit(3)", 3)])
def test_a_program_that_ends_in_mid_epoch_ends(plain: Path, last_words: str, status: int) -> None:
    """The reading thread holds nothing back, and leaves no trace on the terminal."""
    program = (
        "import sys; from penstock.trainer import Hdf5Feed\n"
        "batches = iter(Hdf5Feed(sys.argv[1], batch_size=4, run_mb=0.002, window_mb=0.004))\n"
        f"next(batches); {last_words}"
    )
    command = [sys.executable, "-c", program, str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (status, "", "") == (done.returncode, done.stdout, done.stderr)
