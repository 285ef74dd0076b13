"""What a source's items are called, page by page, for a sink that writes a file."""

from pathlib import Path

import numpy as np
import pytest
from support.plans import LEASE_KEY, PlannedTasks, make_plan

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Send
from penstock.protocol.messages import Hello, Intervals, ListPaths, Paths, SinkHello
from penstock.protocol.spec.spec import parse_spec
from penstock.ventilator.core.leases import Leases
from penstock.ventilator.sources.catalog import Catalog


def open_book(folder: Path, source: dict[str, object]) -> Catalog:
    """List a source below a folder."""
    stream = {"source": source, "transform": {"resize": {"height": 8, "width": 8}}}
    spec = parse_spec({"roots": {"photos": str(folder)}, "streams": {"train": stream}})
    return Catalog.open(spec, spec.roots)


def test_pages_follow_each_other_to_the_end(tmp_path: Path) -> None:
    """Each begins where the last one ended and is small; together they are the listing, in its order."""
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(2500):
            (tmp_path / label / f"{number:04}{'x' * 100}.jpg").touch()
    book = open_book(tmp_path, {"kind": "directory", "root": "photos"})
    found: list[str] = []
    pages: list[Paths] = []
    while len(found) < 5000:
        pages.append(book.paths("train", len(found)))
        found += pages[-1].paths
    listing = book.listing("train")
    assert [listing.path(index) for index in range(5000)] == found
    assert {5000} == {page.total for page in pages}
    assert [0, *np.cumsum([len(page.paths) for page in pages])[:-1].tolist()] == [page.start for page in pages]
    assert max(len(page.model_dump_json()) for page in pages) < 300_000
    assert book.paths("train", 4999) == book.paths("train", 4999), "asking again does no harm"


def test_rows_have_the_names_that_messages_give_them(tmp_path: Path) -> None:
    """Of arrays: the array and the row."""
    np.save(tmp_path / "images.npy", np.zeros((3, 8, 8, 3), np.uint8))
    book = open_book(tmp_path, {"kind": "arrays", "root": "photos", "images": "images.npy", "labels": ""})
    assert tuple(book.listing("train").path(row) for row in range(3)) == book.paths("train", 0).paths


@pytest.mark.parametrize(("stream", "start"), [("test", 0), ("train", 2), ("train", 2**61)])
def test_there_is_no_page_of_what_is_not_there(stream: str, start: int, tmp_path: Path) -> None:
    """It is counted as a message that is wrong."""
    (tmp_path / "a").mkdir()
    for number in range(2):
        (tmp_path / "a" / f"{number}.jpg").touch()
    book = open_book(tmp_path, {"kind": "directory", "root": "photos"})
    with pytest.raises(RemoteProtocolError, match=f"item {start} of stream '{stream}'"):
        book.paths(stream, start)


def test_only_a_sink_is_told() -> None:
    """A worker that asks breaks the protocol; who is unknown is told to say hello."""
    plan = make_plan()
    core = Leases(PlannedTasks(plan), {}, Intervals(), "1.0", LEASE_KEY)
    core.receive(b"s", SinkHello(incarnation="i", results="r", version="1.0"), 0.0)
    core.receive(b"w", Hello(worker="w", incarnation="j", host="h", slots=1, version="1.0"), 0.0)
    [send] = core.receive(b"s", ListPaths(stream="train", start=7), 0.0)
    assert isinstance(send, Send)
    assert (b"s", 7) == (send.peer, send.message.start)  # type: ignore[union-attr]
    with pytest.raises(RemoteProtocolError, match="unexpected"):
        core.receive(b"w", ListPaths(stream="train", start=0), 0.0)
    [reset] = core.receive(b"x", ListPaths(stream="train", start=0), 0.0)
    assert isinstance(reset, Send)
    assert "Reset" == type(reset.message).__name__
