"""Parts of one file, which a worker reads with the file opened once."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.protocol.errors import ItemError
from penstock.sources.local_files.parts import PartReader


def test_parts_of_a_file_are_read_together_and_fail_apart(tmp_path: Path) -> None:
    """In the order in which they are asked for; a file that cannot be opened fails as a whole."""
    content = bytes(range(256)) * 40
    (tmp_path / "shard").write_bytes(content)
    spans = [(100, 50), (0, 7), (10_200, 60), (5, 0), (3, 3000), (10_239, 1), (100, 50)]
    found = PartReader(tmp_path, 2000, allow_outside=False).read("shard", spans)
    words = {
        2: "the file ends before the item does: it has 10240 bytes, the item ends at 10260",
        3: "the item is empty",
        4: "3000 bytes is over the limit of 2000 bytes",
    }
    for number, (offset, length) in enumerate(spans):
        if number in words:
            assert words[number] in str(found[number])
        else:
            assert content[offset : offset + length] == found[number]
    with pytest.raises(ItemError, match="no such file"):
        PartReader(tmp_path, 2000, allow_outside=False).read("none", spans)


@pytest.fixture
def bad_sector(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return what lets the disk fail at some offsets from now on; it gives the list of the offsets that are read.

    No disk here fails when it is asked to, so the error is put where the kernel would give it.
    """
    pread = os.pread

    def fail(*bad: int) -> list[int]:
        asked: list[int] = []

        def failing(descriptor: int, length: int, offset: int) -> bytes:
            asked.append(offset)
            if offset in bad:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return pread(descriptor, length, offset)

        monkeypatch.setattr("penstock.sources.local_files.parts.os.pread", failing)
        return asked

    return fail


SPANS = [(1000 * number, 1000) for number in range(16)]


def test_a_bad_sector_loses_the_part_that_it_is_in(tmp_path: Path, bad_sector: Callable[..., list[int]]) -> None:
    """Those beside it are read, each once more; the bad one is tried no more often than a file is, and once alone."""
    content = os.urandom(16_000)
    (tmp_path / "shard").write_bytes(content)
    asked = bad_sector(5000)
    found = PartReader(tmp_path, 2000, allow_outside=False).read("shard", SPANS)
    assert "cannot read: Input/output error" == str(found.pop(5))
    assert [content[offset : offset + length] for offset, length in SPANS if offset != 5000] == found
    assert 5 == asked.count(5000)
    assert 1 == asked.count(15_000)


def test_a_disk_that_fails_everywhere_is_given_up(
    tmp_path: Path, bad_sector: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that failing parts take is bounded for all of them together: here, one is too long already."""
    monkeypatch.setattr("penstock.sources.local_files.parts._APART_S", 0.0)
    (tmp_path / "shard").write_bytes(bytes(16_000))
    asked = bad_sector(*range(0, 16_000, 1000))
    found = PartReader(tmp_path, 2000, allow_outside=False).read("shard", SPANS)
    assert ["cannot read: Input/output error"] * 16 == [str(each) for each in found]
    assert [0] * 5 == asked


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """One that was removed is missing, though it was open; one that leads outside by now is refused."""
    reader = PartReader(tmp_path / "root", 100, allow_outside=False)
    (tmp_path / "root").mkdir()
    shard = tmp_path / "root" / "shard"
    shard.write_bytes(b"first one")
    assert [b"first"] == reader.read("shard", [(0, 5)])
    (tmp_path / "new").write_bytes(b"other one")
    (tmp_path / "new").rename(shard)
    assert [b"other"] == reader.read("shard", [(0, 5)])
    shard.unlink()
    with pytest.raises(ItemError, match="no such file"):
        reader.read("shard", [(0, 5)])
    (tmp_path / "outside").write_bytes(b"secret")
    shard.symlink_to(tmp_path / "outside")
    with pytest.raises(ItemError, match="leads outside its root"):
        reader.read("shard", [(0, 5)])


def test_few_files_stay_open(tmp_path: Path) -> None:
    """However many a task names, and none when the reader is gone."""
    for number in range(40):
        (tmp_path / str(number)).write_bytes(b"content")
    reader = PartReader(tmp_path, 100, allow_outside=False)
    for number in range(40):
        assert [b"con", b"ent"] == reader.read(str(number), [(0, 3), (4, 3)])
    assert 8 == _open_below(tmp_path)
    del reader
    assert 0 == _open_below(tmp_path)


def _open_below(folder: Path) -> int:
    """Return how many files below a folder this process has open; other tests' threads may close theirs meanwhile."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += entry.readlink().is_relative_to(folder)
    return found


def test_a_file_that_shrinks_while_it_is_read_costs_what_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts before its new end are read."""
    (tmp_path / "shard").write_bytes(bytes(range(100)))
    pread = os.pread

    def shrinking(descriptor: int, length: int, offset: int) -> bytes:
        os.truncate(tmp_path / "shard", 50)
        return pread(descriptor, length, offset)

    monkeypatch.setattr("penstock.sources.local_files.parts.os.pread", shrinking)
    first, second = PartReader(tmp_path, 100, allow_outside=False).read("shard", [(0, 40), (40, 40)])
    assert bytes(range(40)) == first
    assert "the file ends before the item does: it has 50 bytes" in str(second)
