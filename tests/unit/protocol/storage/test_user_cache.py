"""Files of the user's cache: whole or not at all, and nothing left of what did not become whole."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.protocol.storage.user_cache import write_whole


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Only its owner may read it; those that opened the former one keep it."""
    file = tmp_path / "cache/file"
    write_whole(file, [b"first"])
    with file.open("rb") as opened:
        write_whole(file, [b"sec", memoryview(b"ond")])
        assert b"first" == opened.read()
    assert b"second" == file.read_bytes()
    assert 0o600 == file.stat().st_mode & 0o777
    assert [file] == list(file.parent.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_nothing_is_left_of_what_was_interrupted(error: type[BaseException], tmp_path: Path) -> None:
    """By Ctrl-C, a full disk, or whatever comes while the content is made; the file of before stays."""
    file = tmp_path / "file"
    write_whole(file, [b"before"])

    def parts() -> Iterator[bytes]:
        yield b"some"
        raise error

    with pytest.raises(error):
        write_whole(file, parts())
    assert b"before" == file.read_bytes()
    assert [file] == list(tmp_path.iterdir())


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    """An hour after they wrote last; others may still be at work."""
    old, new = tmp_path / "tmpabcdefgh", tmp_path / "tmpijklmnop"
    for part in (old, new):
        part.write_bytes(b"part")
    then = old.stat().st_mtime - 3700
    os.utime(old, (then, then))
    write_whole(tmp_path / "file", [b"content"])
    assert {new, tmp_path / "file"} == set(tmp_path.iterdir())
