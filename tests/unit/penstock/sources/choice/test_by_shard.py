"""Orders that go by shards: from a source's files to the items of tasks, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import touch
from support.sources.tables import hub_table, write_arrow

from penstock.protocol.errors import SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.spec import parse_spec
from penstock.ventilator.sources.catalog import Catalog


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root with six Arrow files of three to five rows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in range(6):
        rows = 3 + number % 3
        write_arrow(tmp_path / f"s{number}.arrow", hub_table([b"x"] * rows, [f"c{row}" for row in range(rows)]))
    return tmp_path


def opened(root: Path, **changes: Any) -> Catalog:
    """Return the catalog of a stream by shards, two to a window, one task an epoch."""
    stream = {
        "source": {"kind": "arrow", "root": "photos", "path": "s*.arrow", **changes.pop("source", {})},
        "transform": {"resize": {"height": 4, "width": 4}},
        "shuffle": "shards",
        "shard_window": 2,
        "task_items": 100,
        **changes,
    }
    spec = parse_spec({"seed": 3, "roots": {"photos": str(root)}, "streams": {"train": stream}})
    return Catalog.open(spec, spec.roots)


def files(found: Catalog, epoch: int = 0) -> list[str]:
    """Return the file of each item of an epoch."""
    return [item.path for item in found.task(TaskKey(stream="train", ordinal=epoch), 0).items]


def test_few_files_are_read_at_a_time(root: Path) -> None:
    """Each window's two files come together, whole, and their items mixed."""
    found = opened(root)
    [plan] = found.plans
    assert plan.shards is not None
    assert (3, 4, 5, 3, 4, 5) == plan.shards.sizes
    read = files(found)
    assert 24 == len(read) == plan.items
    places = {name: [at for at, each in enumerate(read) if each == name] for name in set(read)}
    assert 6 == len(places)
    for name, at in places.items():
        others = set(read[min(at) : max(at) + 1]) - {name}
        assert len(others) <= 1
    assert read != sorted(read)
    assert files(found, 1) != read


def test_items_that_were_chosen_keep_their_shards(root: Path) -> None:
    """Shards shrink by what is left out, and vanish with their last item."""
    [plan] = opened(root, source={"classes": ("c4",), "other_classes": "leave_out"}).plans
    assert plan.shards is not None
    assert (1, 1) == plan.shards.sizes
    [plan] = opened(root, shard="2/2").plans
    assert 1 + 2 + 2 + 1 + 2 + 2 == plan.items


def test_positions_of_another_order_are_refused(root: Path) -> None:
    """By the fingerprint, which knows the window too."""
    plans = [opened(root, **changes).plans[0] for changes in ({}, {"shard_window": 3}, {"shuffle": True})]
    assert 3 == len({plan.fingerprint for plan in plans})


def test_what_has_no_shards_is_refused(root: Path) -> None:
    """And so is sampling by weight, whose shares would span all shards."""
    with pytest.raises(SourceError, match=r"stream 'train': shuffle = \"shards\" with sampling: give shuffle = true"):
        opened(root, sampling={"by": "class"})
    touch(root, "a/1.jpg")
    with pytest.raises(SourceError, match=r"needs a source of 1 to 100000 shards .*; kind = 'directory' has 0"):
        opened(root, source={"kind": "directory", "path": ""})
