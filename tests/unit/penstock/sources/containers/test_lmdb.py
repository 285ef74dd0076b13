"""LMDB data bases: which keys are items, with which labels, where their images lie, and what is refused."""

import struct
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.sources.lmdbs import PAGE_BYTES, ROOT, write_lmdb
from support.sources.shards import IMAGES, LABELS, catalog, labels, listed, read
from support.web import serve

from penstock.protocol.errors import SourceError
from penstock.sources.containers.lmdb import LmdbSource

FIELDS = {"image": "image-{}", "label": "label-{}"}
SOURCE = {"kind": "lmdb", "path": "data.mdb", **FIELDS}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a data base in a root of its own."""
    write_lmdb(tmp_path / "data.mdb")
    return tmp_path / "data.mdb"


def list_it(file: Path, **fields: object) -> None:
    """List the data base."""
    listed(file.parent, "lmdb", "data.mdb", **{**FIELDS, **fields})


def changed(file: Path, place: int, content: bytes) -> None:
    """Write some bytes over those of the file."""
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(content)


def test_workers_read_the_images_where_they_lie_here_and_below_a_url(file: Path) -> None:
    """Small values in the pages of the tree, large ones in pages of their own; other keys are counted."""
    listing = listed(file.parent, "lmdb", "data.mdb", **FIELDS)
    assert LABELS == labels(listing)
    assert {"other keys": 1} == listing.passed_over
    assert IMAGES == read(catalog(file.parent, **SOURCE), file.parent)
    with serve(file.parent) as web:
        assert IMAGES == read(catalog(web.url, **SOURCE), web.url)


def test_every_key_is_an_image_by_default(file: Path) -> None:
    """Without labels; with a pattern for labels, every other key."""
    found = read(catalog(file.parent, kind="lmdb", path="data.mdb"), file.parent)
    assert [*IMAGES, *(label.encode() for label in LABELS), b"6"] == found
    with pytest.raises(SourceError, match=r"key 'image-000000' has no label of pattern 'label-\{\}'"):
        list_it(file, image="{}")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label": "num-{}"}, r"key 'image-000000' has no label of pattern 'num-\{\}' \(source\.label\); label = ''"),
        ({"image": "image-00000{}", "label": "label-{}"}, "key 'image-000000' has no label"),
        ({"image": "nothing-{}"}, "key 'label-000000' is a label without an image"),
        ({"image": "nothing-{}", "label": ""}, "1 shards, and no item with an image"),
    ],
)
def test_keys_that_do_not_fit_are_refused(fields: dict[str, object], words: str, file: Path) -> None:
    """By the file and the key."""
    with pytest.raises(SourceError, match=words):
        list_it(file, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image": "image"}, "'image': must hold {} once"),
        ({"label": "{}-{}"}, "must hold {} once"),
        ({"label": "{}"}, "image and label are both '{}'"),
        ({"classes": ["a"]}, "classes with label = ''"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(fields: dict[str, object], words: str) -> None:
    """When the spec is read."""
    with pytest.raises(ValidationError, match=words):
        LmdbSource.model_validate({"kind": "lmdb", "root": "photos", "path": "data.mdb", **fields})


def test_what_is_no_data_base_or_was_cut_is_refused(file: Path) -> None:
    """With its name; a value behind the file's end with its key."""
    content = file.read_bytes()
    for length in (0, 16, 100):
        file.write_bytes(content[:length])
        with pytest.raises(SourceError, match=r"data\.mdb: no data base of LMDB: the file `data\.mdb`"):
            list_it(file)
    for length in (PAGE_BYTES, 2 * PAGE_BYTES + 5):
        file.write_bytes(content[:length])
        with pytest.raises(SourceError, match=r"data\.mdb: cut short or damaged: page [12] ends at byte"):
            list_it(file)
    file.write_bytes(content[:-PAGE_BYTES])
    with pytest.raises(SourceError, match=r"data\.mdb: cut short: key b'image-000005' ends at byte"):
        list_it(file)


@pytest.mark.parametrize(
    ("place", "content"),
    [
        (PAGE_BYTES * ROOT, struct.pack("<Q", 77)),  # the page's number
        (PAGE_BYTES * ROOT + 10, struct.pack("<H", 4)),  # what it is
        (PAGE_BYTES * ROOT + 12, struct.pack("<H", 8)),  # where its free space begins
        (PAGE_BYTES * ROOT + 16, struct.pack("<H", 4095)),  # where its first node lies
    ],
)
def test_a_damaged_tree_is_refused(place: int, content: bytes, file: Path) -> None:
    """Instead of giving other bytes, or none."""
    changed(file, place, content)
    with pytest.raises(SourceError, match=r"data\.mdb: damaged: page 2 is no page of its tree"):
        list_it(file)


def test_a_tree_that_leads_back_to_itself_ends(file: Path) -> None:
    """A page can be made to look like one above it."""
    changed(file, PAGE_BYTES * ROOT + 10, struct.pack("<H", 1))
    first = struct.unpack_from("<H", file.read_bytes(), PAGE_BYTES * ROOT + 16)[0]
    changed(file, PAGE_BYTES * ROOT + first, struct.pack("<HHH", ROOT, 0, 0))
    with pytest.raises(SourceError, match="damaged: page 2 is no page of its tree"):
        list_it(file)


@pytest.mark.parametrize(("flag", "words"), [(2, "a data base of its own"), (4, "several values")])
def test_other_kinds_of_values_are_refused(flag: int, words: str, file: Path) -> None:
    """With the key."""
    first = struct.unpack_from("<H", file.read_bytes(), PAGE_BYTES * ROOT + 16)[0]
    changed(file, PAGE_BYTES * ROOT + first + 4, struct.pack("<H", flag))
    with pytest.raises(SourceError, match=f"key b'image-000000' holds {words}"):
        list_it(file)
