"""TFRecord files: which records are items, with which labels, where their images lie, and what is refused."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.sources.shards import IMAGES, LABELS, catalog, labels, listed, read
from support.sources.tfrecords import Values, example, feature, field, record, sample, write_tfrecord
from support.web import serve

from penstock.protocol.errors import SourceError
from penstock.sources.containers.tfrecord import masked_crc

SOURCE = {"kind": "tfrecord", "path": "train-*"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a root with two files of three records."""
    for shard in range(2):
        pairs = list(zip(IMAGES, LABELS, strict=True))[3 * shard : 3 * shard + 3]
        write_tfrecord(tmp_path / f"train-0000{shard}", [sample(image, [label.encode()]) for image, label in pairs])
    return tmp_path


def one(root: Path, **features: bytes) -> None:
    """Write a file of one record with an image and these features; `__` in a name stands for `/`."""
    named = {name.replace("__", "/"): each for name, each in features.items()}
    write_tfrecord(root / "s", [record(example(named))])


def test_checksums_are_those_of_the_format() -> None:
    """CRC-32C of "123456789" is e3069283; TFRecord rotates it by 15 bits and adds a constant."""
    crc = 0xE3069283
    assert ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF == masked_crc(b"123456789")


def test_workers_read_the_images_where_they_lie_here_and_below_a_url(folder: Path) -> None:
    """In the order of files and records, with their labels."""
    assert LABELS == labels(listed(folder, "tfrecord", "train-*"))
    here = catalog(folder, **SOURCE)
    assert IMAGES == read(here, folder)
    with serve(folder) as web:
        there = catalog(web.url, **SOURCE)
        assert IMAGES == read(there, web.url)
    assert here.plans[0].fingerprint == there.plans[0].fingerprint


@pytest.mark.parametrize(
    ("label", "name"),
    [([7], "7"), ([-1], "-1"), ([2**40], "1099511627776"), ([0.1], "0.1"), ([b"7.0"], "7"), ([b"cat"], "cat")],
)
def test_labels_are_integers_floats_or_text(label: Values, name: str, tmp_path: Path) -> None:
    """By the rule of all sources; integers packed or not."""
    write_tfrecord(tmp_path / "s", [sample(b"x", label)])
    assert (name,) == listed(tmp_path, "tfrecord", "s").classes
    one(tmp_path, picture=feature([b"yz"]), text=feature(label, packed=False))
    fields = {"image": "picture", "label": "text"}
    assert (name,) == listed(tmp_path, "tfrecord", "s", **fields).classes
    assert [b"yz"] == read(catalog(tmp_path, kind="tfrecord", path="s", **fields), tmp_path)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({}, r" has no feature 'image/encoded' \(source\.image\); it has none"),
        ({"image__encoded": feature([b"x"])}, r"no feature 'image/class/label' .*it has 'image/encoded'; label = ''"),
        ({"image__encoded": feature([1])}, "image/encoded is a list of numbers"),
        ({"image__encoded": feature([b"x", b"y"])}, "must hold the bytes of one image file, not 2"),
        ({"image__encoded": feature([b""])}, "must hold the bytes of one image file"),
        ({"image__encoded": b""}, "must hold the bytes of one image file, not 0"),
        (
            {"image__encoded": feature([b"x"]), "image__class__label": feature([1, 2])},
            "image/class/label holds 2 values: a label is one",
        ),
        ({"image__encoded": feature([b"x"]), "image__class__label": feature([b"\xff"])}, "not text in UTF-8"),
        ({"image__encoded": feature([b"x"]), "image__class__label": field(2, field(1, b"abc"))}, "no list of floats"),
        ({"image__encoded": feature([b"x"]), "image__class__label": field(1, b"\x08\x05")}, "an integer in a list of"),
    ],
)
def test_a_record_that_is_no_item_is_named(features: dict[str, bytes], words: str, tmp_path: Path) -> None:
    """By the file, the record's number and the feature."""
    one(tmp_path, **features)
    with pytest.raises(SourceError, match=r"/s: record 0.*" + words):
        listed(tmp_path, "tfrecord", "s")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x0f", "a field of type 7"),
        (b"\x0a\x7f", "a field ends 127 bytes behind the record"),
        (b"\x0a" + b"\xff" * 11, "an integer in it does not end"),
        (b"\x80", "an integer in it does not end"),
    ],
)
def test_a_record_that_is_no_example_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    """Such as one of another message."""
    write_tfrecord(tmp_path / "s", [record(content)])
    with pytest.raises(SourceError, match=words):
        listed(tmp_path, "tfrecord", "s")


def test_a_file_that_was_cut_anywhere_is_refused(folder: Path) -> None:
    """In a header, in an image or in the last checksum; between two records nothing shows it."""
    file = folder / "train-00000"
    content = file.read_bytes()
    first = 16 + struct.unpack("<Q", content[:8])[0]
    for length in (1, 11, 12, first - 1, first + 5, len(content) - 3):
        file.write_bytes(content[:length])
        with pytest.raises(SourceError, match="train-00000: cut short"):
            listed(folder, "tfrecord", "train-00000")
    file.write_bytes(content[:first])
    assert 1 == len(listed(folder, "tfrecord", "train-00000"))


@pytest.mark.parametrize(("compress", "kind"), [(gzip.compress, "gzip"), (zlib.compress, "zlib")])
def test_a_compressed_file_is_refused_in_words(compress: Callable[[bytes], bytes], kind: str, tmp_path: Path) -> None:
    """It says by what, and what to do."""
    (tmp_path / "s").write_bytes(compress(sample(b"x" * 99, [1])))
    with pytest.raises(SourceError, match=f"compressed with {kind}, .* unpack it to a TFRecord file without"):
        listed(tmp_path, "tfrecord", "s")


def test_a_length_that_begins_like_a_gzip_file_is_no_compression(tmp_path: Path) -> None:
    """Its checksum is right."""
    rest = len(example({"image/encoded": feature([bytes(30_000)])})) - 30_000
    content = example({"image/encoded": feature([bytes(0x8B1F - rest)])})
    write_tfrecord(tmp_path / "s", [record(content)])
    assert b"\x1f\x8b" == (tmp_path / "s").read_bytes()[:2]
    assert 1 == len(listed(tmp_path, "tfrecord", "s", label=""))


def test_a_wrong_length_is_found_by_its_checksum(folder: Path) -> None:
    """With its place."""
    content = bytearray((folder / "train-00000").read_bytes())
    second = 16 + struct.unpack("<Q", content[:8])[0]
    content[second] ^= 1
    (folder / "train-00000").write_bytes(content)
    with pytest.raises(SourceError, match=f"no record at byte {second}: the checksum of its length is wrong"):
        listed(folder, "tfrecord", "train-00000")
