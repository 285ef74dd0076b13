"""MDS shards: which samples are items, with which labels, where their images lie, and what is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from support.sources.mds import write_mds
from support.sources.shards import IMAGES, LABELS, catalog, labels, listed, read
from support.web import serve

from penstock.protocol.errors import SourceError

PATH = "shard.{00000..00001}.mds"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a root with two shards of three samples, with a column before and one behind image and label."""
    columns = {"cut": "int", "image": "jpeg:90", "label": "str", "text": "str"}
    for shard in range(2):
        pairs = list(zip(IMAGES, LABELS, strict=True))[3 * shard : 3 * shard + 3]
        samples = [[bytes(8), image, label.encode(), b"some words"] for image, label in pairs]
        write_mds(tmp_path / f"shard.0000{shard}.mds", columns, samples)
    return tmp_path


def one(root: Path, encoding: str, label: bytes, image: str = "bytes") -> None:
    """Write a shard of one sample."""
    write_mds(root / "s.mds", {"image": image, "label": encoding}, [[b"xyz", label]])


def test_workers_read_the_images_where_they_lie_here_and_below_a_url(folder: Path) -> None:
    """In the order of shards and samples, with their labels."""
    assert LABELS == labels(listed(folder, "mds", PATH))
    assert IMAGES == read(catalog(folder, kind="mds", path=PATH), folder)
    with serve(folder) as web:
        assert IMAGES == read(catalog(web.url, kind="mds", path=PATH), web.url)


@pytest.mark.parametrize(
    ("encoding", "label", "name"),
    [
        ("int", np.int64(-7).tobytes(), "-7"),
        ("uint8", b"\xff", "255"),
        ("float32", np.float32(0.1).tobytes(), "0.1"),
        ("str_int", b"7", "7"),
        ("str", "Größe".encode(), "Größe"),
    ],
)
def test_labels_are_numbers_or_text(encoding: str, label: bytes, name: str, tmp_path: Path) -> None:
    """By the rule of all sources; none with label = ''."""
    one(tmp_path, encoding, label)
    assert (name,) == listed(tmp_path, "mds", "s.mds").classes
    assert () == listed(tmp_path, "mds", "s.mds", label="").classes


@pytest.mark.parametrize(
    ("fields", "encoding", "image", "words"),
    [
        ({"image": "picture"}, "str", "bytes", r"no column 'picture' \(source\.image\); its columns: 'image', 'label'"),
        ({"label": "class"}, "str", "bytes", r"no column 'class' \(source\.label\)"),
        ({}, "str", "pil", "'image' .* is encoded as 'pil'; it must be one of bytes, jpeg, png"),
        ({}, "pkl", "bytes", "'label' .* is encoded as 'pkl'; it must be one of int"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(
    fields: dict[str, object], encoding: str, image: str, words: str, tmp_path: Path
) -> None:
    """Nothing is ever unpickled."""
    one(tmp_path, encoding, b"x", image)
    with pytest.raises(SourceError, match=r"s\.mds: .*" + words):
        listed(tmp_path, "mds", "s.mds", **fields)


def test_a_sample_that_is_no_item_is_named(tmp_path: Path) -> None:
    """By its number and column."""
    one(tmp_path, "str", b"")
    with pytest.raises(SourceError, match=r"s\.mds: sample 0: label = '': the label is empty"):
        listed(tmp_path, "mds", "s.mds")
    one(tmp_path, "str", b"\xff")
    with pytest.raises(SourceError, match=r"s\.mds: sample 0: label: not of encoding 'str'"):
        listed(tmp_path, "mds", "s.mds")
    write_mds(tmp_path / "s.mds", {"image": "bytes", "label": "str"}, [[b"x", b"a"], [b"", b"b"]])
    with pytest.raises(SourceError, match=r"s\.mds: sample 1: image is empty"):
        listed(tmp_path, "mds", "s.mds")


def test_a_shard_that_was_cut_anywhere_or_damaged_is_refused(folder: Path) -> None:
    """With its name; also one that is compressed."""
    file = folder / "shard.00000.mds"
    content = file.read_bytes()
    for length in (0, 7, 15, 100, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(SourceError, match=r"shard\.00000\.mds: (cut short|not a whole MDS shard)"):
            listed(folder, "mds", PATH)
    for place, byte in ((7, 0x7F), (20, 0), (10, 0xFF)):
        file.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
        with pytest.raises(SourceError, match=r"shard\.00000\.mds: not a whole MDS shard"):
            listed(folder, "mds", PATH)
    file.write_bytes(gzip.compress(content))
    with pytest.raises(SourceError, match=r"shard\.00000\.mds: compressed with gzip"):
        listed(folder, "mds", PATH)


def test_lengths_that_lead_out_of_the_sample_are_refused(tmp_path: Path) -> None:
    """They would lead to the bytes of others."""
    one(tmp_path, "str", b"cat")
    content = bytearray((tmp_path / "s.mds").read_bytes())
    first = int.from_bytes(content[4:8], "little")
    content[first] = 99
    (tmp_path / "s.mds").write_bytes(content)
    with pytest.raises(SourceError, match="sample 0: damaged: its columns need more bytes than it has"):
        listed(tmp_path, "mds", "s.mds")
