"""Which files the `path` of a source of shards names."""

import os
from pathlib import Path

import pytest
from support.sources.listings import touch
from support.web import serve

from penstock.protocol.errors import SourceError
from penstock.sources.containers.shard_names import expand, find_shards


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{008..010}.tar", ["a-008.tar", "a-009.tar", "a-010.tar"]),
        ("{9..11}.tar", ["9.tar", "10.tar", "11.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{x,y/z}-{0..1}", ["x-0", "x-1", "y/z-0", "y/z-1"]),
        ("{a,b{1..2}}", ["a", "b1", "a", "b2"]),
        ("{train,val}/*.tar", ["train/*.tar", "val/*.tar"]),
    ],
)
def test_braces_stand_for_what_a_shell_makes_of_them(pattern: str, paths: list[str]) -> None:
    """Ranges, with leading zeros where they are written, and names; each set of braces multiplies."""
    assert sorted(paths) == sorted(expand(pattern))
    if "b{" not in pattern:
        assert paths == expand(pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{a..b}.tar", r"a range such as \{000\.\.009\}"),
        ("{}.tar", "not ''"),
        ("a-{0..3.tar", "without its other half"),
        ("a}.tar", "without its other half"),
        ("{0..9999999}.tar", "more than 100,000 files"),
        ("{.,a}./b.tar", "relative path"),
    ],
)
def test_braces_that_make_no_sense_are_refused(pattern: str, words: str) -> None:
    """With the pattern or what is wrong in it; also those that would leave the root."""
    with pytest.raises(ValueError, match=words):
        expand(pattern)


def test_wildcards_find_files_sorted_by_their_bytes_here_and_below_a_url(tmp_path: Path) -> None:
    """In the folders that they name and no deeper; hidden files are left out."""
    touch(tmp_path, "a/2.tar", "a/10.tar", "a/.3.tar", "a/x.txt", "a/deep/1.tar", "b/1.tar")
    expected = ["a/10.tar", "a/2.tar"]
    assert expected == find_shards("a/*.tar", str(tmp_path), allow_outside=False)
    with serve(tmp_path) as web:
        assert expected == find_shards("a/*.tar", web.url, allow_outside=False)
        assert ["a/2.tar", "b/1.tar"] == find_shards("[ab]/?.tar", web.url, allow_outside=False)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("b/*.tar", "no file of the root matches 'b/"),
        ("**/1.tar", "not supported"),
        ("{a,a}.tar", "names 'a.tar' 2 times"),
    ],
)
def test_a_pattern_that_finds_nothing_or_one_file_twice_is_refused(pattern: str, words: str, tmp_path: Path) -> None:
    """It quotes the pattern."""
    with pytest.raises(SourceError, match=words):
        find_shards(pattern, str(tmp_path), allow_outside=False)


def test_a_name_that_no_message_can_carry_is_refused(tmp_path: Path) -> None:
    """Such as one in Latin-1."""
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.tar"))).touch()
    with pytest.raises(SourceError, match=r"xe9|udce9"):
        find_shards("*.tar", str(tmp_path), allow_outside=False)
