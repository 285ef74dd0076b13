"""Tar shards: which items they hold, in which order, with which labels, and that workers read them where they lie."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.sources import shards
from support.sources.shards import IMAGES, LABELS, labels, read
from support.sources.tars import Members, sample, tar, write_tar
from support.web import serve

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.messages import TaskKey
from penstock.sources.base import open_reader
from penstock.ventilator.sources.catalog import Catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a root with two shards of three items each; both number theirs from 0."""
    for shard in range(2):
        members = [("__meta__/info.json", b"{}"), ("README.txt", b"-"), ("./._0.jpg", b"-")]
        for number in range(3):
            index = 3 * shard + number
            members += sample(f"./a/{number}", IMAGES[index], LABELS[index])
        write_tar(tmp_path / f"train-0{shard}.tar", members)
    return tmp_path


def catalog(root: Path | str, **fields: object) -> Catalog:
    """Return the catalog of a stream of tar shards."""
    return shards.catalog(root, **{"kind": "tar", "path": "train-{00..01}.tar", **fields})


def test_items_come_in_the_order_of_shards_and_members(folder: Path) -> None:
    """Each with its label; a key may come again in another shard; classes are sorted, others passed over."""
    listing = tar(folder)
    assert LABELS == labels(listing)
    assert ("10", "cat", "dog") == listing.classes
    assert {"10": 1, "cat": 2, "dog": 3} == listing.counts()
    assert {".txt": 2} == listing.passed_over
    assert ["train-00.tar"] * 3 + ["train-01.tar"] * 3 == [listing.path(index).split("@")[0] for index in range(6)]


def test_workers_read_the_images_where_they_lie_here_and_below_a_url(folder: Path) -> None:
    """The same bytes, the same digest; below a URL by requests for ranges."""
    here = catalog(folder)
    assert IMAGES == read(here, folder)
    with serve(folder) as web:
        there = catalog(web.url)
        assert IMAGES == read(there, web.url)
        assert IMAGES == read(there, folder)
    assert here.plans[0].fingerprint == there.plans[0].fingerprint
    assert here.listing("train").copy_digest == there.listing("train").copy_digest


def test_the_members_of_an_item_are_chosen_by_what_follows_the_first_dot(tmp_path: Path) -> None:
    """Suffixes in any case; a label in JSON by its field; masks are no images unless they are named."""
    facts = json.dumps({"species": 7, "name": "x"}).encode()
    write_tar(tmp_path / "s.tar", [("k.v2.JPG", b"left"), ("k.seg.png", b"mask"), ("k.json", facts), ("k.jpeg", b"x")])
    chosen = {"path": "s.tar", "label": "json", "label_field": "species"}
    assert ("7",) == tar(tmp_path, **chosen).classes
    for image, content in (("", b"x"), ("v2.jpg", b"left"), (".seg.png", b"mask")):
        assert [content] == read(catalog(tmp_path, image=image, **chosen), tmp_path)
    unlabelled = tar(tmp_path, "s.tar", label="")
    assert () == unlabelled.classes
    assert -1 == unlabelled.label(0)


def test_labels_follow_the_rule_of_all_sources(tmp_path: Path) -> None:
    """Numbers by value, text without the line's end; classes that are given number them."""
    write_tar(tmp_path / "s.tar", [*sample("a", b"1", "10\n"), *sample("b", b"2", "9"), *sample("c", b"3", "9.0")])
    assert ("9", "10") == tar(tmp_path, "s.tar").classes
    assert ["10", "9", "9"] == labels(tar(tmp_path, "s.tar", classes=("10", "9")))
    with pytest.raises(SourceError, match=r"item 'a'.*10'?: not among source.classes \('9'\)"):
        tar(tmp_path, "s.tar", classes=("9",))


def test_a_split_holds_each_item_on_one_side_and_reads_it(folder: Path) -> None:
    """Both sides together are the whole; items of a side keep their places."""
    whole, sides = tar(folder), []
    for subset in ("training", "validation"):
        side = tar(folder, validation_split=0.5, subset=subset)
        sides += [side.path(index) for index in range(len(side))]
        assert len(side) == sum(side.counts().values())
        assert set(side.counts()) == set(whole.counts())
    assert sorted(whole.path(index) for index in range(6)) == sorted(sides)
    with pytest.raises(SourceError, match=r"subset 'validation' of 6 items is empty at validation_split = 0\.01"):
        tar(folder, validation_split=0.01, subset="validation")


def test_a_worker_whose_shards_are_others_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Their sizes differ, or one is missing: its offsets would lead to other bytes."""
    listed = catalog(folder)
    other = tmp_path_factory.mktemp("other")
    (other / "train-00.tar").write_bytes((folder / "train-00.tar").read_bytes())
    with pytest.raises(SourceError, match=r"train-01\.tar: cannot find the shard"):
        read(listed, other)
    write_tar(other / "train-01.tar", sample("a", b"x"))
    with pytest.raises(SourceError, match="other names or sizes than those that the ventilator listed"):
        read(listed, other)


def test_a_shard_that_is_cut_while_it_is_read_quarantines_its_items(folder: Path) -> None:
    """By the shard and the place in it; the items of other shards are read."""
    listed = catalog(folder)
    [plan] = listed.plans
    reader = open_reader(plan, {"photos": str(folder)})
    with (folder / "train-01.tar").open("r+b") as file:
        file.truncate(600)
    loaded = reader.read(listed.task(TaskKey(stream="train", ordinal=0), 0))
    assert IMAGES[:3] == list(loaded.contents[:3])
    for content in loaded.contents[3:]:
        assert isinstance(content, ItemError)
        assert "the file ends before the item does" in str(content)
    assert np.array_equal(range(6), loaded.items)


def test_links_that_lead_out_of_the_root_need_leave(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As in every source of files."""
    root = tmp_path_factory.mktemp("links")
    for shard in ("train-00.tar", "train-01.tar"):
        (root / shard).symlink_to(folder / shard)
    with pytest.raises(SourceError, match="allow_outside = true"):
        tar(root)
    assert tar(folder).digest == tar(root, allow_outside=True).digest


def members_of(count: int) -> Members:
    """Return the members of so many items."""
    return [member for number in range(count) for member in sample(f"{number}", b"x")]


def test_a_shard_of_no_items_is_allowed_among_others(folder: Path) -> None:
    """Writers leave one at the end; a source of nothing else is refused."""
    write_tar(folder / "train-02.tar", [])
    assert 6 == len(tar(folder, "train-*.tar"))
    with pytest.raises(SourceError, match="1 shards, and no item with an image"):
        tar(folder, "train-02.tar")
