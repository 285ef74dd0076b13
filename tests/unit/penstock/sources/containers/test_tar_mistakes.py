"""Shards that are damaged, compressed or not named as they must be: each is refused by shard and key."""

import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.sources.tars import Members, sample, tar, write_tar

from penstock.protocol.errors import SourceError
from penstock.sources.containers.tar import TarSource

ITEMS = [member for number in range(3) for member in sample(f"{number}", b"x" * 3000)]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a.jpg", b"x")], r"s\.tar: item 'a' has no member \.cls \(source\.label\); it has \.jpg; label = ''"),
        ([("a.cls", b"1")], r"s\.tar: item 'a' has no image; it has \.cls"),
        ([*ITEMS, *sample("1", b"y")], r"s\.tar: item '1' comes twice"),
        ([("a.jpg", b"x"), ("a.jpg", b"x")], r"s\.tar: item 'a' has two members \.jpg"),
        ([("a.jpg", b"x"), ("a.png", b"x"), ("a.cls", b"1")], r"item 'a' has several images, \.jpg and \.png"),
        (sample("a", b""), r"s\.tar: item 'a': its image has no bytes"),
        (sample("a", b"x", " "), r"s\.tar: item 'a': \.cls = '': the label is empty"),
        ([("a.jpg", b"x"), ("a.cls", b"\xff\xfe")], r"item 'a': \.cls: neither text in UTF-8"),
    ],
)
def test_an_item_that_is_not_whole_is_named(members: Members, words: str, tmp_path: Path) -> None:
    """By its shard and key, with what it has."""
    write_tar(tmp_path / "s.tar", members)
    with pytest.raises(SourceError, match=words):
        tar(tmp_path, "s.tar")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (b"{", r"\.json: neither text in UTF-8 nor JSON"),
        (b"[1]", r"\.json has no field 'label' \(source\.label_field\)"),
        (b'{"label": null}', r"\.json, label = None: a label must be text or a finite number"),
        (b'{"label": NaN}', r"\.json, label = nan: a label must be text or a finite number"),
    ],
)
def test_a_label_in_json_that_is_none_is_named(facts: bytes, words: str, tmp_path: Path) -> None:
    """By shard, key, member and field."""
    write_tar(tmp_path / "s.tar", [("a.jpg", b"x"), ("a.json", facts)])
    with pytest.raises(SourceError, match=r"s\.tar: item 'a': " + words):
        tar(tmp_path, "s.tar", label="json", label_field="label")


@pytest.mark.parametrize(("mode", "kind"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_a_compressed_shard_is_refused_in_words(mode: str, kind: str, tmp_path: Path) -> None:
    """It says by what the file is compressed, and what to do."""
    write_tar(tmp_path / "s.tar", ITEMS, mode)
    with pytest.raises(SourceError, match=f"s.tar: compressed with {kind}, .* unpack it to a plain tar file"):
        tar(tmp_path, "s.tar")


def test_a_shard_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """In a header, in an image, or between two items, where `tarfile` itself says nothing."""
    whole = tmp_path / "s.tar"
    write_tar(whole, ITEMS)
    content = whole.read_bytes()
    with tarfile.open(whole) as file:
        places = [member.offset for member in file.getmembers()]
        end = file.offset
    for length in [0, 100, *(place + more for place in places for more in (0, 200, 700)), end, end + 200]:
        whole.write_bytes(content[:length])
        with pytest.raises(SourceError, match=r"s\.tar: (cut short|not a whole tar file)"):
            tar(tmp_path, "s.tar")
    whole.write_bytes(content[: end + 512])
    assert 3 == len(tar(tmp_path, "s.tar"))


def test_a_damaged_header_is_refused_instead_of_ending_the_shard(tmp_path: Path) -> None:
    """`tarfile` takes a wrong checksum for the end of the archive."""
    write_tar(tmp_path / "s.tar", ITEMS)
    content = bytearray((tmp_path / "s.tar").read_bytes())
    with tarfile.open(tmp_path / "s.tar") as file:
        place = file.getmembers()[2].offset
    content[place + 5] ^= 0xFF
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(SourceError, match=f"damaged: no header of a tar file at byte {place}"):
        tar(tmp_path, "s.tar")


def test_what_is_no_tar_file_or_not_there_is_refused(tmp_path: Path) -> None:
    """With its name."""
    (tmp_path / "s.tar").write_bytes(b"\x89PNG" * 1000)
    with pytest.raises(SourceError, match=r"s\.tar: not a whole tar file"):
        tar(tmp_path, "s.tar")
    with pytest.raises(SourceError, match=r"gone\.tar: cannot open the file: No such file"):
        tar(tmp_path, "gone.tar")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_inside_a_shard_are_refused(kind: bytes, tmp_path: Path) -> None:
    """They have no bytes of their own."""
    with tarfile.open(tmp_path / "s.tar", "w") as file:
        member = tarfile.TarInfo("a.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    with pytest.raises(SourceError, match=r"s\.tar: 'a\.jpg' is a link to '/etc/passwd'"):
        tar(tmp_path, "s.tar")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"path": "../s.tar"}, "relative path"),
        ({"path": "s-{0..x}.tar"}, "braces hold a range"),
        ({"label_field": "species"}, "label_field = 'species' needs a JSON label"),
        ({"label": "", "classes": ["a"]}, "classes with label = ''"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, object], words: str) -> None:
    """When the spec is read."""
    with pytest.raises(ValidationError, match=words):
        TarSource.model_validate({"kind": "tar", "root": "photos", "path": "s.tar", **fields})
