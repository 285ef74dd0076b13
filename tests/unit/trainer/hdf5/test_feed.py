"""`Hdf5Feed` on files of every kind of storage: rows, fields, ranks, resuming and changes."""

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
from support.hdf5.feeds import COUNT, SMALL, items, small
from support.hdf5.files import MANIPULATIONS, images, write_file, write_parts
from support.streams import Batch, digest, epochs, until

from penstock.protocol.errors import AbandonedError, PenstockError, RefusedError, SpecError
from penstock.trainer import Hdf5Feed


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
