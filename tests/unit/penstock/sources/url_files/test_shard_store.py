"""Whole shards of a URL on this host's disk: fetched once, bounded, safe beside other workers and after their death."""

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.web import Web, serve

from penstock.protocol.errors import ItemError
from penstock.protocol.storage.cache_folder import CacheError
from penstock.protocol.storage.url_answers import REPLACED
from penstock.protocol.storage.urls import Remote
from penstock.sources.url_files.shard_store import OpenShard, ShardStore

SIZE = 300_000
SHARDS = {f"{number}.tar": random.Random(number).randbytes(SIZE) for number in range(4)}
SPANS = [(0, 10), (SIZE - 7, 7)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shorter between tries, and ask for several parts of a shard."""
    monkeypatch.setattr("penstock.protocol.storage.urls._BACKOFF_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr("penstock.sources.url_files.pieces.PIECE_BYTES", 70_000)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """Serve four shards."""
    (tmp_path / "served").mkdir()
    for name, content in SHARDS.items():
        (tmp_path / "served" / name).write_bytes(content)
    with serve(tmp_path / "served") as server:
        yield server


def store(web: Web, folder: Path, shards: float = 10) -> ShardStore:
    """Return a store with room for so many shards."""
    return ShardStore(Remote(web.url), "*.tar", int(shards * SIZE), str(folder / "kept"))


def read(opened: ShardStore, name: str) -> list[bytes | ItemError] | None:
    """Read the start and the end of a shard."""
    return opened.read(name, SIZE, SPANS)


def parts(name: str) -> list[bytes]:
    """Return the same from the shard as it was written."""
    return [SHARDS[name][offset : offset + length] for offset, length in SPANS]


def kept(folder: Path) -> list[str]:
    """Return the names of all files in the store."""
    return sorted(path.name for path in (folder / "kept").rglob("*") if path.is_file() and path.name != "lock")


def age(folder: Path, seconds: float = 60.0) -> None:
    """Let every kept shard have been used so long ago."""
    for path in (folder / "kept").rglob("*.shard"):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def test_a_shard_is_fetched_once_for_all_threads_and_stores(web: Web, tmp_path: Path) -> None:
    """Ten threads of two stores: every byte of the shard is sent once."""
    stores = [store(web, tmp_path), store(web, tmp_path)]
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda one=stores[number % 2]: found.append(read(one, "0.tar"))) for number in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [parts("0.tar")] * 10 == found
    assert 1 == sum(each.counts.fetched for each in stores)
    identities = 2 * len(stores) + 1  # one byte each
    assert SIZE <= web.part_bytes <= SIZE + identities
    assert 1 == len(kept(tmp_path))


def test_what_was_used_longest_ago_is_removed_first(web: Web, tmp_path: Path) -> None:
    """Room for two: the third displaces the one that was used first, unless it was used again."""
    opened = store(web, tmp_path, shards=2.5)
    for name in ("0.tar", "1.tar"):
        assert parts(name) == read(opened, name)
        age(tmp_path)
    assert parts("0.tar") == read(opened, "0.tar")  # used now
    assert parts("2.tar") == read(opened, "2.tar")
    assert 3 == opened.counts.fetched
    age(tmp_path)
    assert parts("0.tar") == read(opened, "0.tar")
    assert 3 == opened.counts.fetched
    assert parts("1.tar") == read(opened, "1.tar")
    assert 4 == opened.counts.fetched
    assert 2 == len(kept(tmp_path))


def test_what_a_store_does_is_counted(web: Web, tmp_path: Path) -> None:
    """Images and bytes from kept shards, shards that were fetched and removed, and what the folder holds."""
    opened = store(web, tmp_path, shards=2.5)
    for name in ("0.tar", "1.tar", "1.tar", "2.tar"):
        assert parts(name) == read(opened, name)
        age(tmp_path)
    counts = opened.counts
    assert (8, 4 * 17) == (counts.hits, counts.read_bytes)
    assert (3, 3 * SIZE, 1, SIZE) == (counts.fetched, counts.fetched_bytes, counts.removed, counts.removed_bytes)
    assert (2 * SIZE, int(2.5 * SIZE)) == (counts.held_bytes, counts.limit_bytes)


def test_shards_in_use_do_not_displace_each_other(web: Web, tmp_path: Path) -> None:
    """With more shards than fit, all of them used at once, the others are left to single requests."""
    opened = store(web, tmp_path, shards=2.5)
    found = [read(opened, name) for name in SHARDS]
    assert [parts("0.tar"), parts("1.tar"), None, None] == found
    assert parts("0.tar") == read(opened, "0.tar")
    assert 2 == opened.counts.fetched


def test_a_shard_that_was_written_anew_is_another_one(web: Web, tmp_path: Path) -> None:
    """For a store that is opened after; one that ends early or is damaged on this disk is fetched again."""
    assert parts("0.tar") == read(store(web, tmp_path), "0.tar")
    [name] = kept(tmp_path)
    next((tmp_path / "kept").rglob(name)).write_bytes(b"torn")
    assert parts("0.tar") == read(store(web, tmp_path), "0.tar")
    (tmp_path / "served/0.tar").write_bytes(SHARDS["1.tar"])
    assert parts("1.tar") == read(store(web, tmp_path), "0.tar")


def test_a_shard_that_is_evicted_and_replaced_while_it_is_read_is_refused(web: Web, tmp_path: Path) -> None:
    """Another thread finds it gone and a new content at the server, just after this one has opened the old content."""

    class Overtaken(ShardStore):
        def open(self, path: str) -> OpenShard | None:
            found = super().open(path)
            (tmp_path / "served/0.tar").write_bytes(SHARDS["1.tar"])
            next((tmp_path / "kept").rglob("*.shard")).unlink()
            assert super().open(path) is None
            return found

    for wanted in ("old", "new"):
        (tmp_path / "served/0.tar").write_bytes(SHARDS["0.tar"])
        old = Remote(web.url).identity("0.tar").tag
        opened = Overtaken(Remote(web.url), "*.tar", 10 * SIZE, str(tmp_path / "kept"))
        found = opened.read("0.tar", SIZE, SPANS, old if wanted == "old" else "of the new content")
        assert (parts("0.tar") if wanted == "old" else [REPLACED, REPLACED]) == [
            str(each) if isinstance(each, ItemError) else each for each in found or []
        ]


def test_without_an_etag_or_a_time_nothing_is_kept(web: Web, tmp_path: Path) -> None:
    """A change would not show; the reason is told once."""
    web.dated = False
    opened = store(web, tmp_path)
    assert [None, None] == [read(opened, "0.tar"), read(opened, "1.tar")]
    [note] = opened.notes
    assert "neither an ETag nor a time of change" in note


@pytest.mark.parametrize("mischief", [503, "reset", "short", "shifted"])
def test_a_shard_comes_whole_from_a_bad_server(mischief: int | str, web: Web, tmp_path: Path) -> None:
    """Every third request fails."""
    web.mischief = lambda _, number: mischief if number % 3 == 1 else ""
    assert parts("0.tar") == read(store(web, tmp_path), "0.tar")
    [name] = kept(tmp_path)
    assert SHARDS["0.tar"] == next((tmp_path / "kept").rglob(name)).read_bytes()


def test_a_shard_that_cannot_be_fetched_leaves_nothing(web: Web, tmp_path: Path) -> None:
    """Neither a file nor a second attempt for each image."""
    web.mischief = lambda _, number: "" if number == 0 else 403
    opened = store(web, tmp_path)
    assert [None, None] == [read(opened, "0.tar"), read(opened, "0.tar")]
    assert [] == kept(tmp_path)
    assert "permission denied" in opened.notes[0]
    assert web.requests["/0.tar"] <= 5


def test_a_part_that_fails_waits_for_those_beside_it(web: Web, tmp_path: Path) -> None:
    """The shard's file is closed only then: a late part would be written into whichever file has its number by now."""
    late, came = threading.Event(), []

    class FirstFails(Remote):
        def read_spans(
            self, path: str, limit_bytes: int, spans: Sequence[tuple[int, int]], tries: int = 4, tag: str = ""
        ) -> list[bytes | ItemError]:
            if spans[0][0] == 0:
                raise ItemError("the first part is refused")
            assert late.wait(30)
            found = super().read_spans(path, limit_bytes, spans, tries, tag)
            came.append(spans[0][0])
            return found

    opened = ShardStore(FirstFails(web.url), "*.tar", 10 * SIZE, str(tmp_path / "kept"))
    threading.Timer(0.3, late.set).start()
    assert read(opened, "0.tar") is None
    assert [70_000, 140_000, 210_000] == sorted(came)
    assert [] == kept(tmp_path)
    assert "the first part is refused" in opened.notes[0]


def test_a_worker_that_is_killed_while_it_fetches_leaves_the_shard_to_others(web: Web, tmp_path: Path) -> None:
    """One that waits for it takes over; the part that was left is written anew."""
    web.mischief = lambda _, number: "hang" if number == 1 else ""
    code = f"""
from pathlib import Path
from penstock.protocol.storage.urls import Remote
from penstock.sources.url_files.shard_store import ShardStore
ShardStore(Remote({web.url!r}), "*.tar", {10 * SIZE}, {str(tmp_path / "kept")!r}).open("0.tar")
"""
    killed = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not any(name.endswith(".part") for name in kept(tmp_path)) or web.requests["/0.tar"] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)  # asks again
    found: list[object] = []
    waits = threading.Thread(target=lambda: found.append(read(store(web, tmp_path), "0.tar")))
    waits.start()
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(30)
    waits.join(60)
    assert [parts("0.tar")] == found
    assert 1 == len(kept(tmp_path))


def test_a_full_disk_is_a_note_and_no_error(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images are requested instead: the real disk has less free than must be left here."""
    monkeypatch.setattr("penstock.sources.url_files.shard_room._LEFT_BYTES", 10**18)
    monkeypatch.setattr("penstock.sources.url_files.shard_room._LEFT_PART", 1.0)
    opened = store(web, tmp_path)
    assert read(opened, "0.tar") is None
    assert [] == kept(tmp_path)
    assert "No space left on device" in opened.notes[0]


def test_a_kept_shard_that_cannot_be_opened_is_a_note_and_no_error(web: Web, tmp_path: Path) -> None:
    """A host short of file descriptors, or a link in the shard's place: the images are requested instead."""
    opened = store(web, tmp_path)
    assert parts("0.tar") == read(opened, "0.tar")
    assert parts("1.tar") == read(opened, "1.tar")
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        assert read(opened, "0.tar") is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for path in (tmp_path / "kept").rglob("*.shard"):
        path.unlink()
        path.symlink_to(tmp_path / "served/0.tar")
    assert read(opened, "1.tar") is None
    assert ["Too many open files", "Too many levels of symbolic links"] == [
        note.split(": ")[-1].partition(";")[0] for note in opened.notes
    ]


def test_a_folder_that_others_can_write_to_is_not_trusted(web: Web, tmp_path: Path) -> None:
    """Its shards would be what they like."""
    store(web, tmp_path)
    (tmp_path / "kept/penstock-shards-1").chmod(0o777)
    with pytest.raises(CacheError, match="others may write to it"):
        store(web, tmp_path)
