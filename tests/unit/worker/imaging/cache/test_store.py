"""The store of cached images: what is put comes back, whole and of the version that is asked for, or not at all."""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.cache import entries
from support.cache.entries import GROUP, VERSIONS, entry_of, get, key_of, pixels_of, put, source_of

from penstock.protocol.storage.cache_folder import CacheError
from penstock.worker.imaging.cache.entry import HEADER_BYTES, Entry, Source
from penstock.worker.imaging.cache.hints import Hints, Place
from penstock.worker.imaging.cache.store import Store

LIMIT = 100_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return an empty store with room for everything."""
    opened = Store(str(tmp_path / "cache"), LIMIT)
    yield opened
    opened.close()


def segments(store: Store) -> list[Path]:
    """Return the files that hold the entries."""
    return list((store.folder / GROUP).glob("*.pixels"))


def reopened(store: Store) -> Store:
    """Return the store as another process opens it."""
    return Store(str(store.folder.parent), LIMIT)


def test_what_is_put_comes_back_in_another_process_too(store: Store, tmp_path: Path) -> None:
    """Pixels, shape and the seconds that they took; a second store on the same folder is what another process has."""
    assert get(store, 1) is None
    assert put(store, 1)
    entry = entry_of(Store(str(tmp_path / "cache"), LIMIT), key_of(1), source_of(1))
    assert entry is not None
    assert np.array_equal(pixels_of(1), entry.pixels)
    assert 0.25 == entry.made_s


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 4), (3, 200, 3)])
def test_any_shape_comes_back(store: Store, shape: tuple[int, int, int]) -> None:
    """Gray, with alpha, and a view that is not contiguous."""
    pixels = np.arange(2 * np.prod(shape)).astype(np.uint8).reshape(shape[0], 2 * shape[1], shape[2])[:, ::2]
    assert store.put(GROUP, key_of(1), source_of(1), Entry(pixels, 0.0))
    found = get(store, 1)
    assert found is not None
    assert np.array_equal(pixels, found)


def test_entries_that_are_put_together_come_back_one_by_one(store: Store) -> None:
    """Of any shape and length, some with room between them; in another process too. Too many at once are refused."""
    shapes = [(1, 1, 1), (7, 5, 4), (64, 64, 3), (8, 8, 1), (3, 200, 3)]
    entries = [
        (key_of(number), source_of(number), Entry(np.full(shapes[number % 5], number, np.uint8), 0.5, number))
        for number in range(60)
    ]
    assert put(store, 99)
    assert store.put_all(GROUP, entries)
    assert put(store, 98)
    for opened in (store, reopened(store)):
        for key, identity, entry in entries:
            found = entry_of(opened, key, identity)
            assert found is not None
            assert (entry.made_s, entry.width) == (found.made_s, found.width)
            assert np.array_equal(entry.pixels, found.pixels)
        for number in (98, 99):
            assert get(opened, number) is not None
    huge = Entry(np.zeros((1000, 2000, 3), np.uint8), 0.5)
    assert not store.put_all(GROUP, [(key_of(number), source_of(number), huge) for number in range(70, 90)])
    assert get(store, 70) is None


def test_another_version_of_the_source_is_not_served_and_takes_the_old_ones_place(store: Store) -> None:
    """One place in the index for an item, whatever becomes of its source."""
    assert put(store, 1, version=0)
    assert get(store, 1, version=1) is None
    assert put(store, 1, version=1)
    assert get(store, 1, version=0) is None
    found = get(store, 1, version=1)
    assert found is not None
    assert np.array_equal(pixels_of(1, 1), found)


def test_an_entry_is_found_by_its_identity_or_its_digest_and_by_nothing_that_is_missing(store: Store) -> None:
    """Either is enough. A source without the one is not that of an entry without it."""
    both, bare = source_of(1), Source()
    assert put(store, 1)
    assert store.put(GROUP, key_of(2), bare, Entry(pixels_of(2), 0.5))
    for source in (Source(both.identity), Source(digest=both.digest), Source(b"other", both.digest)):
        assert entry_of(store, key_of(1), source) is not None
    for number, source in ((1, bare), (1, Source(both.identity[:-1], b"other")), (2, bare), (2, both)):
        assert entry_of(store, key_of(number), source) is None
        assert store.look(GROUP, key_of(number), source) is True
    assert store.look(GROUP, key_of(3), both) is False


def test_an_entry_may_get_another_source(store: Store) -> None:
    """Its header is written anew; its pixels stay, in this process and in others. One that vanished stays gone."""
    fresh = Source(b"fresh identity".ljust(32), source_of(1).digest)
    assert put(store, 1)
    assert put(store, 2)
    for opened in (store, reopened(store)):
        found = opened.look(GROUP, key_of(1), source_of(1))
        assert isinstance(found, tuple)
        place, entry = found
        opened.renew(GROUP, key_of(1), place, fresh, entry)
        assert entry_of(store, key_of(1), Source(source_of(1).identity)) is None
        again = entry_of(store, key_of(1), Source(fresh.identity))
        assert again is not None
        assert (0.25, True) == (again.made_s, np.array_equal(pixels_of(1), again.pixels))
        assert get(store, 2) is not None
        opened.renew(GROUP, key_of(1), place, source_of(1), entry)
    for file in segments(store):
        file.unlink()
    store.renew(GROUP, key_of(1), place, fresh, entry)
    assert not segments(store)


def test_two_groups_stand_side_by_side(store: Store) -> None:
    """Two recipes have different images of the same item."""
    assert put(store, 1, group="one")
    assert get(store, 1, group="other") is None
    assert put(store, 1, version=1, group="other")
    assert get(store, 1, group="one") is not None
    assert get(store, 1, version=1, group="other") is not None


def test_a_damaged_entry_is_never_served(store: Store) -> None:
    """Any byte changed, any part missing, a hole, nothing at all, and the entry of another key in its place."""
    assert put(store, 1)
    file = segments(store)[0]
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(HEADER_BYTES), *rng.integers(HEADER_BYTES, len(whole), 100).tolist()]:
        torn = bytearray(whole)
        torn[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(torn)
        assert get(store, 1) is None, place
    for length in [0, 1, HEADER_BYTES - 1, HEADER_BYTES, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:length])
        assert get(store, 1) is None, length
        file.write_bytes(whole[:length] + bytes(len(whole) - length))  # a hole, as a crash of the host leaves it
        assert get(store, 1) is None, length
    other = reopened(store)
    assert put(other, 2)
    [fresh] = set(segments(store)) - {file}
    file.write_bytes(fresh.read_bytes())
    assert get(store, 1) is None
    file.write_bytes(whole)
    assert get(store, 1) is not None


def test_a_damaged_index_costs_hits_and_serves_nothing_wrong(store: Store) -> None:
    """It is a hint: random bytes, a cut file and an empty one lead to whole entries of the right key, or to none."""
    numbers = range(40)
    assert all(put(store, number) for number in numbers)
    [index] = (store.folder / GROUP).glob("index-*")
    whole, rng = index.read_bytes(), np.random.default_rng(1)
    for turn in range(60):
        damaged = bytearray(whole[: int(rng.integers(len(whole) + 1))] if turn % 2 else whole)
        for place in rng.integers(0, max(1, len(damaged)), 200).tolist() if damaged else ():
            damaged[place] = int(rng.integers(256))
        index.write_bytes(damaged)
        for number in numbers:
            found = get(store, number)
            assert found is None or np.array_equal(pixels_of(number), found)
    index.write_bytes(b"")
    assert [None] * 40 == [get(store, number) for number in numbers]
    assert all(put(store, number) for number in numbers)
    assert all(get(store, number) is not None for number in numbers)


def test_more_entries_than_the_index_was_made_for_are_found_or_made_again(store: Store) -> None:
    """Its buckets overflow: some entries are lost to it, none is mistaken for another, and the latest is there."""
    hints = Hints(str(store.folder), 1)
    keys = [hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(8000)]
    for number, key in enumerate(keys):
        hints.set(key, Place(number, 64, 64))
        assert Place(number, 64, 64) in hints.find(key)
    found = sum(Place(number, 64, 64) in hints.find(key) for number, key in enumerate(keys))
    assert 8 * 512 * 0.8 < found <= 8 * 512
    hints.close()


def test_a_source_that_grew_gets_a_larger_index_and_keeps_what_it_had(store: Store) -> None:
    """The smaller index is read as well."""
    small = Hints(str(store.folder), 1000)
    small.set(key_of(1), Place(7, 64, 64))
    large = Hints(str(store.folder), 100_000)
    large.set(key_of(2), Place(8, 64, 64))
    again = Hints(str(store.folder), 1000)
    assert ([Place(7, 64, 64)], [Place(8, 64, 64)]) == (again.find(key_of(1)), again.find(key_of(2)))
    assert 2 == len(list(store.folder.glob("index-*")))
    for hints in (small, large, again):
        hints.close()


def test_a_segment_that_is_no_file_is_never_followed(store: Store, tmp_path: Path) -> None:
    """A link or a folder in its place holds no entry."""
    assert put(store, 1)
    [file] = segments(store)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert get(reopened(store), 1) is None
    file.unlink()
    file.mkdir()
    assert get(reopened(store), 1) is None


def test_a_cache_that_is_emptied_during_the_run_is_made_anew(store: Store) -> None:
    """Its folder may be deleted at any time."""
    assert put(store, 1)
    shutil.rmtree(store.folder / GROUP)
    store._touched = -1e9  # what a minute does
    assert get(store, 1) is None
    assert put(store, 1)
    assert get(store, 1) is not None
    assert get(reopened(store), 1) is not None
    assert not store.notes


@contextmanager
def writer(folder: Path, numbers: int) -> Generator[subprocess.Popen[str]]:
    """Run a process that puts entries until it is killed; it has put one when this yields."""
    script = entries.__file__
    process = subprocess.Popen(
        [sys.executable, script, str(folder), str(numbers), str(LIMIT)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "True\n" == process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_writer_that_is_killed_at_any_moment_leaves_nothing_torn(store: Store) -> None:
    """Killed between any two instructions, again and again, while this process reads: whole entries or none."""
    numbers, served = 3, 0
    for turn in range(8):
        with writer(store.folder.parent, numbers) as process:
            for look in range(20 + 7 * turn):
                served += _looks_whole(store, look % numbers)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        for number in range(numbers):
            served += _looks_whole(store, number)
    assert served
    assert put(store, 1)
    assert get(store, 1) is not None


def _looks_whole(store: Store, number: int) -> bool:
    """Ask for the latest versions that the writer may have put, and compare; return whether one came."""
    served = False
    for version in range(VERSIONS):
        pixels = get(store, number, version)
        if pixels is not None:
            served = True
            assert np.array_equal(pixels_of(number, version), pixels)
    return served


def test_only_its_owner_may_write_to_the_folder(store: Store, tmp_path: Path) -> None:
    """Else another user could plant images. The store makes its own folder so."""
    folder = store.folder
    assert 0 == stat.S_IMODE(folder.stat().st_mode) & 0o077
    folder.chmod(0o777)
    with pytest.raises(CacheError, match=r"others may write to it: give another one by --cache"):
        Store(str(tmp_path / "cache"), LIMIT)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error says which, why and what to do."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheError, match=r"file/cache/penstock-images-2' cannot be made: Not a directory; give a"):
        Store(str(tmp_path / "file" / "cache"), LIMIT)
    with pytest.raises(CacheError, match=r"'relative': give an absolute path"):
        Store("relative", LIMIT)
