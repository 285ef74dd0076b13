"""Shards below a URL: which bytes are requested, what is kept of their indexes, and that replaced ones are noticed."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import items
from support.sources.shards import catalog, labels, listed
from support.sources.tables import hub_table, write_parquet
from support.sources.tars import sample, write_tar
from support.web import Web, serve

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.storage.urls import Remote
from penstock.sources.base import KeepsShards, Loaded, open_reader
from penstock.sources.containers.parquet_files import RemoteFiles
from penstock.sources.containers.parquet_reader import ParquetReader
from penstock.ventilator.sources.catalog import Catalog

NAMES = ["cat", "dog"]
#: Images larger than what is read along between two parts.
IMAGES: list[bytes | None] = [random.Random(number).randbytes(200_000 + number) for number in range(12)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shorter between tries."""
    monkeypatch.setattr("penstock.protocol.storage.urls._BACKOFF_S", (0.01, 0.01, 0.01))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """Serve a Parquet file of three row groups, and a tar shard of three items."""
    folder = tmp_path / "served"
    folder.mkdir()
    write_rows(folder)
    write_shard(folder, "a", "b", "c")
    with serve(folder) as server:
        yield server


def write_rows(folder: Path, images: list[bytes | None] = IMAGES) -> None:
    """Write the Parquet file: each row is of class 0 or 1."""
    table = hub_table(images, [number % 2 for number in range(len(images))], NAMES)
    write_parquet(folder / "x.parquet", table, rows=4, compression="none")


def write_shard(folder: Path, *keys: str) -> None:
    """Write the tar shard."""
    write_tar(folder / "s.tar", [member for key in keys for member in sample(key, key.encode() * 9_000, key)])


def parquet(web: Web, **fields: Any) -> Catalog:
    """Return the catalog of the Parquet file."""
    return catalog(web.url, kind="parquet", path="x.parquet", **fields)


def contents(found: Catalog, web: Web, reader: Any = None) -> list[bytes | str]:
    """Read all items of a catalog's stream; errors as their text."""
    [plan] = found.plans
    count = range(plan.geometry.tasks_per_epoch)
    tasks = [found.task(TaskKey(stream=plan.name, ordinal=number), 0) for number in count]
    opened = reader or open_reader(plan, {"photos": web.url})
    read: list[Loaded] = [opened.read(task) for task in tasks]
    return [str(each) if isinstance(each, ItemError) else bytes(each) for one in read for each in one.contents]


def test_rows_are_read_by_ranges(web: Web) -> None:
    """A listing requests footer and labels only; a worker requests the images of a group once; nothing else."""
    found = parquet(web)
    assert [NAMES[number % 2] for number in range(12)] == labels(listed(web.url, "parquet", "x.parquet"))
    size = sum(len(image or b"") for image in IMAGES)
    assert web.part_bytes < size / 4
    before = web.part_bytes
    assert IMAGES == contents(found, web)
    assert size <= web.part_bytes - before <= size + 70_000  # and the footer once more


def test_a_row_group_that_cannot_be_had_costs_its_rows(web: Web) -> None:
    """Others are read; the file's and the rows' names are the ledger's."""
    found = parquet(web)
    web.bad_byte = 1_000_000  # in the second group
    read = contents(found, web)
    assert IMAGES[:4] == read[:4]
    assert IMAGES[8:] == read[8:]
    assert all("cannot read, 4 times tried: ConnectionError: HTTP status 500" in str(each) for each in read[4:8])
    assert "x.parquet@4+1" == found.listing("train").path(4)


@pytest.mark.parametrize("trouble", [503, "reset", "short", "shifted"])
def test_a_server_s_mischief_passes(web: Web, trouble: int | str) -> None:
    """Every second answer is wrong, cut or refused: the same images."""
    web.mischief = lambda _, number: trouble if number % 2 == 0 else ""
    assert IMAGES == contents(parquet(web), web)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-5], "the mark of its end is missing"),
        (lambda _: b"", "the file is empty"),
        (lambda content: content[:-8] + b"\xff\xff\xff\x7fPAR1", "its footer cannot have 2147483655 bytes"),
        (lambda content: content[:-200] + bytes(192) + content[-8:], "not a whole Parquet file"),
    ],
)
def test_a_damaged_file_is_refused_when_it_is_listed(web: Web, damage: Any, words: str, tmp_path: Path) -> None:
    """With its name; nothing is requested that such a footer names."""
    file = tmp_path / "served/x.parquet"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(SourceError, match=rf"x\.parquet: .*{words}"):
        parquet(web)


def test_a_file_that_was_cut_or_replaced_under_a_run_is_noticed(web: Web, tmp_path: Path) -> None:
    """Its rows are quarantined with the reason, also those of groups that follow ones that were read."""
    found = parquet(web)
    reader = open_reader(found.plans[0], {"photos": web.url})
    task = found.task(TaskKey(stream="train", ordinal=0, item_offset=0), 0)
    assert IMAGES[:1] == list(reader.read(task).contents)
    write_rows(tmp_path / "served", IMAGES[::-1])
    words = "the file was replaced since it was listed: start again, so that it is listed anew"
    assert [*IMAGES[:4], *[words] * 8] == contents(found, web, reader)  # the first group was read before
    assert [words] * 12 == contents(found, web)
    (tmp_path / "served/x.parquet").write_bytes(b"")
    assert ["the file is empty"] * 12 == contents(found, web)


def test_whole_parquet_files_are_kept(web: Web, tmp_path: Path) -> None:
    """With room for them: requested once, then read from this disk, and refused if they are not the listed ones."""
    found = parquet(web, cache_gb=0.1)
    size = (tmp_path / "served/x.parquet").stat().st_size
    reader = open_reader(found.plans[0], {"photos": web.url})
    assert isinstance(reader, KeepsShards)
    reader.keep_shards(str(tmp_path / "kept"), None)
    before = web.part_bytes
    assert IMAGES == contents(found, web, reader)
    assert IMAGES == contents(found, web, reader)
    assert size <= web.part_bytes - before <= size + 2
    write_rows(tmp_path / "served", IMAGES[::-1])
    again = open_reader(found.plans[0], {"photos": web.url})
    assert isinstance(again, KeepsShards)
    again.keep_shards(str(tmp_path / "kept"), None)
    assert all("was replaced since it was listed" in str(each) for each in contents(found, web, again))


def test_the_index_of_a_shard_is_kept(web: Web, tmp_path: Path) -> None:
    """A later start asks for its identity only: one byte; a shard that was written anew is brought again."""
    first = listed(web.url, "tar", "s.tar")
    [index] = (tmp_path / "cache/penstock/shards").iterdir()
    whole = index.read_bytes()
    requests = web.requests["/s.tar"]
    assert items(first) == items(listed(web.url, "tar", "s.tar"))
    assert 1 == web.requests["/s.tar"] - requests
    write_shard(tmp_path / "served", "a", "b", "d")
    assert ["a", "b", "d"] == labels(listed(web.url, "tar", "s.tar"))
    assert whole != index.read_bytes()


def test_no_index_is_kept_where_a_change_would_not_show(web: Web, tmp_path: Path) -> None:
    """A server that tells neither ETag nor time of change."""
    web.dated = False
    assert ["a", "b", "c"] == labels(listed(web.url, "tar", "s.tar"))
    assert not (tmp_path / "cache").exists()
    assert "" == catalog(web.url, kind="tar", path="s.tar").listing("train").item(0).content


def test_a_shard_that_is_replaced_under_a_run_is_noticed_piece_by_piece(web: Web, tmp_path: Path) -> None:
    """With the same size and the same places: no item has another shard's bytes under its label."""
    found = catalog(web.url, kind="tar", path="s.tar")
    assert [key * 9_000 for key in (b"a", b"b", b"c")] == contents(found, web)
    write_shard(tmp_path / "served", "c", "b", "a")
    words = "the file was replaced since it was listed: start again, so that it is listed anew"
    assert [words] * 3 == contents(found, web)


def test_a_shard_that_changes_while_it_is_listed_is_refused(web: Web, tmp_path: Path) -> None:
    """Its index would be of another content than the items that are requested."""

    def mischief(path: str, number: int) -> int | str:
        if path == "/s.tar" and number == 1:
            write_shard(tmp_path / "served", "x", "y")
        return ""

    web.mischief = mischief
    with pytest.raises(SourceError, match=r"s\.tar: it was changed while it was listed"):
        listed(web.url, "tar", "s.tar")


def test_row_groups_are_read_at_once_only_if_memory_holds_them_together(web: Web) -> None:
    """Each takes 0.8 MB of 2 MB: all are read, one by one; a group above the limit fails, and is not asked for."""
    found = parquet(web)
    remote = RemoteFiles(Remote(web.url), "image")
    before = web.part_bytes
    assert IMAGES == contents(found, web, ParquetReader(remote, limit_bytes=10**6, most_bytes=2_000_000))
    assert web.part_bytes - before < sum(len(image or b"") for image in IMAGES) + 70_000
    before = web.part_bytes
    read = contents(found, web, ParquetReader(remote, limit_bytes=10**6, most_bytes=700_000))
    assert all("has more than 0.7 MB of images" in str(each) for each in read)
    assert web.part_bytes - before < 70_000


def test_columns_that_take_too_much_memory_are_refused(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie in memory while a file is listed; the file and its columns are named."""
    monkeypatch.setattr("penstock.sources.containers.parquet_parts._MOST_COLUMNS", 10)
    with pytest.raises(SourceError, match=r"x\.parquet: its columns label take 0 MB, and at most 0 are brought"):
        parquet(web)


def test_names_that_are_no_text_are_refused(tmp_path: Path, web: Web) -> None:
    """With the file's name: pyarrow raises an error of Python's for them."""
    pa = pytest.importorskip("pyarrow")
    file = tmp_path / "served/x.parquet"
    table = pa.table({"image": pa.array(IMAGES, pa.binary()), "label": [0] * 12, "namenamename": [0] * 12})
    pa.parquet.write_table(table, file, store_schema=False)
    file.write_bytes(file.read_bytes().replace(b"namenamename", b"\xff" * 12))
    with pytest.raises(SourceError, match=r"x\.parquet: not a whole Parquet file: .*codec can't decode"):
        parquet(web)


def test_a_kept_file_that_is_removed_gives_its_room_back(web: Web, tmp_path: Path) -> None:
    """With room for one of two files: the other one's bytes leave the disk, since no reader keeps it open."""
    for name in "ab":
        write_parquet(tmp_path / f"served/{name}.parquet", hub_table(IMAGES[:4], [0] * 4, NAMES), compression="none")
    found = catalog(web.url, kind="parquet", path="{a,b}.parquet", cache_gb=0.001)
    reader = open_reader(found.plans[0], {"photos": web.url})
    assert isinstance(reader, KeepsShards)
    reader.keep_shards(str(tmp_path / "kept"), None)

    def read(first: int) -> list[object]:
        for file in (tmp_path / "kept").rglob("*.shard"):
            os.utime(file, (0, 0))  # not in use any more
        places = range(first, first + 4)
        tasks = [found.task(TaskKey(stream="train", ordinal=0, item_offset=place), 0) for place in places]
        return [content for task in tasks for content in reader.read(task).contents]

    for first in (0, 4):
        assert IMAGES[:4] == read(first)
    [counts] = reader.counts
    assert (2, 1) == (counts.fetched, counts.removed)
    opened = [os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]  # noqa: PTH115 - of the kernel
    assert [] == [place for place in opened if str(tmp_path / "kept") in place]
