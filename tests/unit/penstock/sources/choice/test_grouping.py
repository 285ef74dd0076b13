"""Items in groups that share epochs by weight: by class, by a column, repeated; and what is refused."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sources.listings import touch, write_csv

from penstock.protocol.errors import SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import open_reader
from penstock.ventilator.sources.catalog import Catalog

#: Four cats, one dog, two eels, and the weight of each.
ROWS = [
    ("e1", "eel", 1),
    ("c1", "cat", 2),
    ("d1", "dog", 0),
    ("c2", "cat", 1),
    ("c3", "cat", 2),
    ("e2", "eel", 1),
    ("c4", "cat", 2),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with a manifest of seven images."""
    touch(tmp_path, *(f"{name}.jpg" for name, _, _ in ROWS))
    rows = [(f"{name}.jpg", label, weight) for name, label, weight in ROWS]
    write_csv(tmp_path / "m.csv", [("path", "label", "weight"), *rows])
    return tmp_path


def opened(root: Path, sampling: dict[str, Any] | None, **changes: Any) -> Catalog:
    """Return the catalog of a stream of the manifest, four items a task."""
    stream = {
        "source": {"kind": "manifest", "root": "photos", "path": "m.csv", "weight_column": "weight"},
        "transform": {"resize": {"height": 4, "width": 4}},
        "task_items": 4,
        "sampling": sampling,
        **changes,
    }
    spec = parse_spec({"seed": 3, "roots": {"photos": str(root)}, "streams": {"train": stream}})
    return Catalog.open(spec, spec.roots)


def plan_of(found: Catalog) -> StreamPlan:
    """Return the one stream's plan."""
    [plan] = found.plans
    return plan


def epoch_of(found: Catalog, epoch: int = 0) -> list[str]:
    """Return the names of an epoch's items, as tasks carry them."""
    plan = plan_of(found)
    first = epoch * plan.geometry.tasks_per_epoch
    tasks = [
        found.task(TaskKey(stream="train", ordinal=ordinal), 0)
        for ordinal in range(first, first + plan.geometry.tasks_per_epoch)
    ]
    for task in tasks:
        assert plan.indices(task.key.ordinal).tolist() == [item.item for item in task.items]
        assert [plan.classes[item.label][0] for item in task.items] == [item.path[0] for item in task.items]
    return [item.path.removesuffix(".jpg") for task in tasks for item in task.items]


def test_balanced_classes_share_an_epoch_equally(root: Path) -> None:
    """Each class a third, each item of a class as often as its others, in every epoch."""
    found = opened(root, {"by": "class", "epoch_items": 24})
    for epoch in range(3):
        counts = Counter(epoch_of(found, epoch))
        assert {**dict.fromkeys(("c1", "c2", "c3", "c4"), 2), "d1": 8, "e1": 4, "e2": 4} == dict(counts)
    assert epoch_of(found, 0) != epoch_of(found, 1)


def test_classes_share_an_epoch_by_weight(root: Path) -> None:
    """A class that is not named has weight 1; the epoch is as long as the source."""
    counts = Counter(name[0] for name in epoch_of(opened(root, {"by": "class", "weights": {"cat": 5, "dog": 0}})))
    assert 7 == sum(counts.values())
    assert counts["c"] in {5, 6}
    assert 0 == counts["d"]


def test_items_share_an_epoch_by_the_numbers_of_a_column(root: Path) -> None:
    """Twice the weight, twice as often; never at weight 0."""
    counts = Counter(epoch_of(opened(root, {"by": "column", "epoch_items": 18})))
    assert {"c1": 4, "c3": 4, "c4": 4, "c2": 2, "e1": 2, "e2": 2} == dict(counts)


def test_every_item_comes_as_often_as_repeat_says(root: Path) -> None:
    """And no item comes again before all have come, in the source's order if that is not shuffled."""
    names = [name for name, _, _ in ROWS]
    assert dict.fromkeys(names, 3) == dict(Counter(epoch_of(opened(root, {"repeat": 3}))))
    assert names * 3 == epoch_of(opened(root, {"repeat": 3}, shuffle=False))


def test_an_epoch_of_fewer_items_takes_others_each_time(root: Path) -> None:
    """Without replacement, none twice."""
    found = opened(root, {"epoch_items": 3, "replacement": False})
    epochs = [epoch_of(found, epoch) for epoch in range(12)]
    assert [3] * 12 == [len(set(each)) for each in epochs]
    assert {name for name, _, _ in ROWS} == {name for each in epochs for name in each}


def test_shards_divide_each_class(root: Path) -> None:
    """So that every job is balanced by itself."""
    sampling = {"by": "class", "weights": {"dog": 0}, "epoch_items": 6}
    found = [set(epoch_of(opened(root, sampling, shard=shard))) for shard in ("1/2", "2/2")]
    assert [{"c1", "c3", "e1"}, {"c2", "c4", "e2"}] == found


@pytest.mark.parametrize(
    ("sampling", "changes", "words"),
    [
        ({"by": "class", "weights": {"cow": 1}}, {}, r"sampling.weights: no class is called 'cow'; classes: 'cat'"),
        ({"by": "class", "weights": dict.fromkeys(("cat", "dog", "eel"), 0)}, {}, "leaves out every class"),
        ({"by": "class", "replacement": False}, {}, "an epoch of 7 items .* sampling.epoch_items of at most 3"),
        ({"by": "class"}, {"shard": "2/2"}, "'dog' has 1 items, of which shard 2/2 gets none: give it weight 0"),
        ({"repeat": 2, "replacement": False}, {}, "an epoch of 14 items needs some of them twice, .* at most 7"),
    ],
)
def test_shares_that_cannot_be_are_refused(
    sampling: dict[str, Any], changes: dict[str, Any], words: str, root: Path
) -> None:
    """With the way out."""
    with pytest.raises(SourceError, match=rf"stream 'train': .*{words}"):
        opened(root, sampling, **changes)


def test_a_column_is_needed_for_weights_of_items(root: Path) -> None:
    """And labels for those of classes."""
    source = {"kind": "manifest", "root": "photos", "path": "m.csv"}
    with pytest.raises(SourceError, match=r"stream 'train': sampling\.by = \"column\" needs source\.weight_column"):
        opened(root, {"by": "column"}, source=source)
    np.save(root / "x.npy", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(SourceError, match=r"sampling\.by = \"class\" needs labels, and the source has none"):
        opened(root, {"by": "class"}, source={"kind": "arrays", "root": "photos", "images": "x.npy"})


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ("-1", r"m\.csv, line 8: weight = '-1': a weight is a number of 0 or more \(source\.weight_column\)"),
        ("", r"line 8: weight = ''"),
        ("nan", r"line 8: weight = 'nan'"),
        ("much", r"line 8: weight = 'much'"),
    ],
)
def test_a_weight_that_is_none_is_refused(weight: str, words: str, root: Path) -> None:
    """With its row."""
    content = (root / "m.csv").read_text(encoding="utf-8")
    (root / "m.csv").write_text(content.rstrip()[:-1] + weight, encoding="utf-8")
    with pytest.raises(SourceError, match=words):
        opened(root, {"by": "column"})


def test_positions_of_another_sampling_are_refused(root: Path) -> None:
    """The fingerprint holds the spec's fields and the weights; without sampling it is that of before."""
    samplings: list[dict[str, Any] | None] = [
        None,
        {},
        {"repeat": 2},
        {"by": "class"},
        {"by": "class", "weights": {"cat": 2}},
        {"by": "column"},
    ]
    prints = [plan_of(opened(root, sampling)).fingerprint for sampling in samplings]
    assert len(prints) == len(set(prints))
    (root / "m.csv").write_text((root / "m.csv").read_text(encoding="utf-8").replace(",2", ",3"), encoding="utf-8")
    assert plan_of(opened(root, {"by": "column"})).fingerprint not in prints
    assert prints[0] == plan_of(opened(root, None)).fingerprint
    assert plan_of(opened(root, None)).fingerprint_1
    assert not plan_of(opened(root, {})).fingerprint_1


def test_rows_of_arrays_are_balanced_too(tmp_path: Path) -> None:
    """In the order of classes, which workers do not know: tasks carry the rows."""
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.uint8)[:, np.newaxis, np.newaxis] * np.ones((6, 4, 4), np.uint8))
    np.save(tmp_path / "y.npy", np.array([1, 0, 1, 1, 1, 1]))
    source = {"kind": "arrays", "root": "photos", "images": "x.npy", "labels": "y.npy"}
    found = opened(tmp_path, {"by": "class", "epoch_items": 10}, source=source, task_items=10)
    task = found.task(TaskKey(stream="train", ordinal=0), 0)
    loaded = open_reader(plan_of(found), {"photos": str(tmp_path)}).read(task)
    values = [int(np.asarray(content)[0, 0, 0]) for content in loaded.contents]
    assert {0: 1, 1: 5, 2: 1, 3: 1, 4: 1, 5: 1} == dict(Counter(values))
    assert [int(value != 1) for value in values] == loaded.labels.tolist()
