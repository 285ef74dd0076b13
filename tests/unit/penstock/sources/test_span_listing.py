"""Items that are parts of files: how they are listed, named and read, here and below a URL."""

from pathlib import Path

import fsspec
import msgspec
import numpy as np
import pytest
from support.web import serve

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.messages import Task, TaskKey
from penstock.protocol.storage.urls import Remote
from penstock.sources.file_reader import FileReader, UrlReader
from penstock.sources.files import read_file
from penstock.sources.span_listing import SpanListing, SpanListingBuilder

CONTENT = bytes(range(256)) * 40
SPANS = [(0, 10), (5000, 3000), (len(CONTENT) - 7, 7)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a root with a file that holds the items."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a b.bin").write_bytes(CONTENT)
    return tmp_path


def listing(kind: str = "spans", spans: list[tuple[int, int]] = SPANS, path: str = "set/a b.bin") -> SpanListing:
    """List the parts of one file."""
    builder = SpanListingBuilder()
    builder.begin_file(path)
    for number, (offset, length) in enumerate(spans):
        builder.add(offset, length, number % 2)
    return builder.build(kind, ("even", "odd"))


def task(found: SpanListing) -> Task:
    """Return a task of all items."""
    items = tuple(map(found.item, range(len(found))))
    return Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=items)


def test_an_item_is_named_by_its_file_offset_and_length() -> None:
    """In tasks, messages and the ledger alike; a task passes the wire with it."""
    found = listing()
    assert [f"set/a b.bin@{offset}+{length}" for offset, length in SPANS] == [found.path(index) for index in range(3)]
    sent = msgspec.json.decode(msgspec.json.encode(task(found)), type=Task)
    assert SPANS == [item.span for item in sent.items]
    assert {"even": 2, "odd": 1} == found.counts()
    assert 3 * 24 + len("set/a b.bin") == found.held_bytes


def test_the_digest_names_files_places_labels_and_kind() -> None:
    """Another one, another listing."""
    other = [
        listing("other"),
        listing(spans=[*SPANS[:2], (10, 7)]),
        listing(spans=[*SPANS[:2], (SPANS[2][0], 6)]),
        listing(spans=SPANS[:2]),
        listing(path="set/b.bin"),
    ]
    assert listing().digest == listing().digest
    assert 6 == len({listing().digest, *(each.digest for each in other)})


@pytest.mark.parametrize(("offset", "length"), [(-1, 5), (0, 0), (8, -2)])
def test_an_index_that_makes_no_sense_is_named(offset: int, length: int) -> None:
    """By the file and the numbers."""
    with pytest.raises(SourceError, match=rf"a\.tar: an item of {length} bytes at {offset}"):
        listing(spans=[(offset, length)], path="a.tar")


def test_parts_are_read_from_a_folder_a_server_and_any_file_system(folder: Path) -> None:
    """The bytes from the offset on, as many as the item has."""
    expected = [CONTENT[offset : offset + length] for offset, length in SPANS]
    here = FileReader(folder, allow_outside=False, limit_bytes=3000).read(task(listing()))
    assert expected == list(here.contents)
    with serve(folder) as web:
        there = UrlReader(web.url, allow_outside=False, limit_bytes=3000).read(task(listing()))
        assert expected == list(there.contents)
        assert list(here.paths) == list(there.paths) == [listing().path(index) for index in range(3)]
    fsspec.filesystem("memory").pipe("/spans/set/a b.bin", CONTENT)
    assert expected == list(
        UrlReader("memory://spans", allow_outside=False, limit_bytes=3000).read(task(listing())).contents
    )
    assert np.array_equal([0, 1, 0], here.labels)


@pytest.mark.parametrize("offset", [len(CONTENT) - 5, len(CONTENT), len(CONTENT) + 100])
def test_a_part_behind_the_end_of_its_file_is_named(offset: int, folder: Path) -> None:
    """The file was cut since it was listed: never bytes that are too few."""
    with pytest.raises(ItemError, match=r"the file ends before the item does.*cut, or the source is out of date"):
        read_file(folder, "set/a b.bin", 100, allow_outside=False, span=(offset, 6))
    with serve(folder) as web, pytest.raises(ItemError, match="the file ends before the item does"):
        Remote(web.url).read("set/a b.bin", 100, (offset, 6))


def test_a_part_over_the_limit_is_not_read(folder: Path) -> None:
    """The limit is that of an item; the file may be larger."""
    with pytest.raises(ItemError, match="101 bytes is over the limit of 100 bytes"):
        read_file(folder, "set/a b.bin", 100, allow_outside=False, span=(0, 101))
    with serve(folder) as web:
        with pytest.raises(ItemError, match="101 bytes is over the limit of 100 bytes"):
            Remote(web.url).read("set/a b.bin", 100, (0, 101))
        assert 0 == web.requests.total()


def test_a_server_that_ignores_ranges_is_named(folder: Path) -> None:
    """It would send the whole file for each item."""
    with serve(folder, mischief=lambda *_: "whole") as web:
        with pytest.raises(ItemError, match="gives whole files only"):
            Remote(web.url).read("set/a b.bin", 10**6, (3, 5))
        assert 1 == web.requests.total()
