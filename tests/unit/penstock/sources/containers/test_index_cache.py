"""Indexes of shards: made once, made anew for another file, and never believed when they are damaged."""

import os
from pathlib import Path

import pytest
from support.sources.listings import items
from support.sources.tars import sample, tar, write_tar

#: Long before any test (ns since 1970).
LONG_AGO = 10**18


def write(root: Path, *keys: str, changed: int = LONG_AGO) -> Path:
    """Write a shard in place, which was changed at that time, and return it."""
    shard = root / "s.tar"
    write_tar(shard, [member for key in keys for member in sample(key, key.encode() * 9, key)])
    os.utime(shard, ns=(changed, changed))
    return shard


def test_a_shard_is_walked_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second listing is made from the index alone, and is the same; the index is its owner's."""
    write(tmp_path, "a", "b")
    first = tar(tmp_path, "s.tar")
    [index] = cache.iterdir()
    assert 0o600 == index.stat().st_mode & 0o777
    monkeypatch.delattr("penstock.sources.containers.tar.read_shard")
    second = tar(tmp_path, "s.tar")
    assert first.digest == second.digest
    assert items(first) == items(second)


def test_a_shard_that_changed_is_walked_again(tmp_path: Path) -> None:
    """It has another size or time of change."""
    for number, keys in enumerate((("a", "b"), ("a", "c"), ("a", "b", "c"))):
        write(tmp_path, *keys, changed=LONG_AGO + number)
        assert keys == tar(tmp_path, "s.tar").classes


def test_a_change_whose_time_was_set_back_is_seen(tmp_path: Path) -> None:
    """Of the same inode, size and time of change: the kernel still knows when the file was changed last."""
    before = write(tmp_path, "a", "b").stat()
    assert ("a", "b") == tar(tmp_path, "s.tar").classes
    while write(tmp_path, "a", "c").stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock has ticks
        pass
    after = (tmp_path / "s.tar").stat()
    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)
    assert ("a", "c") == tar(tmp_path, "s.tar").classes


def test_other_members_of_one_shard_have_an_index_of_their_own(tmp_path: Path, cache: Path) -> None:
    """With labels or without."""
    write(tmp_path, "a")
    assert [("a",), (), ("a",)] == [tar(tmp_path, "s.tar", label=label).classes for label in ("cls", "", "cls")]
    assert 2 == len(list(cache.iterdir()))


def test_a_shard_that_changed_just_now_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    """It may change again at the same time by a coarse clock. Here its time lies ahead, so that a slow test is none."""
    write(tmp_path, "a", changed=2 * 10**18)
    assert 1 == len(tar(tmp_path, "s.tar"))
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'[[1,2,3],{"keys":["a"]}]'])
def test_a_damaged_index_is_made_anew(content: bytes, tmp_path: Path, cache: Path) -> None:
    """Whatever stands in it."""
    write(tmp_path, "a", "b")
    tar(tmp_path, "s.tar")
    [index] = cache.iterdir()
    whole = index.read_bytes()
    index.write_bytes(content)
    assert 2 == len(tar(tmp_path, "s.tar"))
    assert whole == index.read_bytes()


def test_an_index_whose_lists_differ_in_length_is_made_anew(tmp_path: Path, cache: Path) -> None:
    """It would give items the labels of others."""
    write(tmp_path, "a", "b")
    tar(tmp_path, "s.tar")
    [index] = cache.iterdir()
    index.write_bytes(index.read_bytes().replace(b'"labels":["a","b"]', b'"labels":["b"]'))
    assert ("a", "b") == tar(tmp_path, "s.tar").classes


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a file in its place, or no home at all."""
    write(tmp_path, "a")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "s.tar"))
    assert 1 == len(tar(tmp_path, "s.tar"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert 1 == len(tar(tmp_path, "s.tar"))


def test_an_offset_that_the_disk_changed_is_noticed(tmp_path: Path, cache: Path) -> None:
    """The index is still JSON, with lists of the right lengths: its checksum is of other bytes."""
    write(tmp_path, "a", "b")
    first = items(tar(tmp_path, "s.tar"))
    [index] = cache.iterdir()
    whole = index.read_bytes()
    place = whole.index(b'"offsets":[') + 11
    index.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])  # another digit
    assert first == items(tar(tmp_path, "s.tar"))
    assert whole == index.read_bytes()
