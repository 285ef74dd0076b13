"""Items of one task that lie together in a file below a URL come by one request, each under its own place."""

import random
from pathlib import Path

import pytest
from support.web import Mischief, serve

from penstock.protocol.errors import ItemError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.sources.file_reader import UrlReader
from penstock.sources.url_files.groups import GAP_BYTES, MOST_BYTES, by_file, together
from penstock.sources.url_files.keeping import ShardRoom

CONTENT = random.Random(1).randbytes(600_000)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shorter between tries."""
    monkeypatch.setattr("penstock.protocol.storage.urls._BACKOFF_S", (0.01, 0.01, 0.01))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a file of many items, and one that is an item."""
    (tmp_path / "shard").write_bytes(CONTENT)
    (tmp_path / "whole").write_bytes(b"whole")
    return tmp_path


def task(*spans: tuple[int, int] | None) -> Task:
    """Return a task of these parts of the shard; None: the whole file."""
    items = tuple(
        Item(item=number, path="shard" if span else "whole", label=0, span=span) for number, span in enumerate(spans)
    )
    return Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=items)


def read(url: str, spans: tuple[tuple[int, int] | None, ...]) -> list[object]:
    """Read the task's items; errors as their text."""
    contents = UrlReader(url, allow_outside=False, limit_bytes=10**6).read(task(*spans)).contents
    return [str(each) if isinstance(each, ItemError) else each for each in contents]


def test_items_that_lie_together_are_one_request(folder: Path) -> None:
    """In any order, with small gaps, twice, overlapping; one far away and a whole file are requests of their own."""
    spans = ((300, 40), None, (0, 100), (120, 50), (0, 100), (130, 10), (500_000, 7))
    with serve(folder) as web:
        found = read(web.url, spans)
        requests = dict(web.requests)
    expected = [b"whole" if span is None else CONTENT[span[0] : sum(span)] for span in spans]
    assert expected == found
    assert {"/shard": 2, "/whole": 1} == requests


def test_a_gap_and_a_request_have_a_largest_size() -> None:
    """Else a request would bring a file for two items, or an image would wait for megabytes of others."""
    spans = [(0, 10), (10 + GAP_BYTES, 10), (21 + 2 * GAP_BYTES, 10)]
    assert [[0, 1], [2]] == together(task(*spans).items)
    half = MOST_BYTES // 2
    assert [[0, 1], [2]] == together(task((0, half), (half, half), (2 * half, 1)).items)
    assert [[0, 2], [1]] == by_file(task((0, 1), None, (10**9, 1)).items)


def test_an_item_behind_the_files_end_fails_alone(folder: Path) -> None:
    """Those next to it are there; each error is the item's own."""
    end = len(CONTENT)
    with serve(folder) as web:
        good, cut, empty = read(web.url, ((end - 50, 20), (end - 30, 40), (end - 10, 0)))
    assert CONTENT[end - 50 : end - 30] == good
    assert f"only 30 of 40 bytes came from offset {end - 30}" in str(cut)
    assert "the item is empty" == empty


@pytest.mark.parametrize("mischief", [503, "reset", "short", "shifted", "hang"])
def test_a_request_that_fails_is_made_again(mischief: int | str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttling, a cut connection, a body that is not the part that was asked for, silence: then the right bytes."""
    monkeypatch.setattr("penstock.protocol.storage.url_requests.REQUEST_S", 2.0)
    first: Mischief = lambda _, number: mischief if number == 0 else ""  # noqa: E731
    with serve(folder, mischief=first) as web:
        assert [CONTENT[7:16], CONTENT[20:30]] == read(web.url, ((7, 9), (20, 10)))
        assert 2 == web.requests["/shard"]


@pytest.mark.parametrize("kept", [False, True])
def test_a_part_that_a_server_cannot_send_fails_alone(*, kept: bool, folder: Path, tmp_path: Path) -> None:
    """After the tries of the request for all, each part is asked for once; also those of a shard that is not kept."""
    spans = [(1000 * number, 1000) for number in range(16)]
    with serve(folder) as web:
        web.bad_byte = 5500
        files = UrlReader(web.url, allow_outside=False, limit_bytes=10**6, room=ShardRoom("*", 1.0) if kept else None)
        files.keep_shards(str(tmp_path / "kept"))
        before = 0
        if kept:
            assert files.read(task((9000, 10))).contents[0] == CONTENT[9000:9010]  # its shard is asked for, in vain
            before = web.requests["/shard"]
        found = list(files.read(task(*spans)).contents)
        assert 4 + 16 == web.requests["/shard"] - before
    assert "cannot read, 4 times tried: ConnectionError: HTTP status 500" == str(found.pop(5))
    assert [CONTENT[offset : offset + length] for offset, length in spans if offset != 5000] == found


def test_a_server_that_sends_nothing_is_not_asked_for_each_part(folder: Path) -> None:
    """Some more requests fail, however many parts there are; for a file that is not there, none."""
    spans = tuple((1000 * number, 1000) for number in range(100))
    with serve(folder, mischief=lambda *_: 503) as web:
        assert {"cannot read, 4 times tried: ConnectionError: HTTP status 503"} == set(read(web.url, spans))
        assert 4 + 8 == web.requests["/shard"]
    with serve(folder, mischief=lambda *_: 404) as web:
        assert {"no such file (it vanished, or the source is out of date)"} == set(read(web.url, spans))
        assert 1 == web.requests["/shard"]


def test_wrong_parts_that_stay_are_told(folder: Path) -> None:
    """Never other bytes than those that were asked for."""
    with serve(folder, mischief=lambda *_: "short") as web:
        [found] = read(web.url, ((7, 9),))
    assert "4 times tried: ConnectionError: asked for 9 bytes from 7, and the server sends bytes 7-14/600000" in str(
        found
    )
