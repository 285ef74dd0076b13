"""Mixtures: several sources as one stream by weight; epochs, classes, shards, and what is refused."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import touch, write_csv
from support.sources.tables import hub_table, write_arrow

from penstock.protocol.errors import SourceError, SpecError
from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import schema_of
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import open_reader
from penstock.ventilator.sources.catalog import Catalog

FOLDER = {"kind": "directory", "path": "folder"}
LIST = {"kind": "manifest", "path": "m.csv"}
ARROW = {"kind": "arrow", "path": "x.arrow", "label": ""}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root with a folder of 6 images, a manifest of 3 and an Arrow file of 2 rows without labels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    touch(tmp_path, *(f"folder/cat/{number}.jpg" for number in range(6)), "a.jpg", "b.jpg", "c.jpg")
    write_csv(tmp_path / "m.csv", [("path", "label"), ("a.jpg", "ant"), ("b.jpg", "cat"), ("c.jpg", "ant")])
    write_arrow(tmp_path / "x.arrow", hub_table([b"one", b"two"], ["x", "y"]))
    return tmp_path


def mixture(*weights: float | None, sources: tuple[dict[str, Any], ...] = (FOLDER, LIST, ARROW)) -> dict[str, Any]:
    """Return a mixture of three parts called p0 to p2."""
    padded = [*weights, *[None] * (len(sources) - len(weights))]
    given = [
        {"source": source} | ({} if weight is None else {"weight": weight})
        for source, weight in zip(sources, padded, strict=True)
    ]
    return {"kind": "mixture", "root": "photos", "parts": {f"p{number}": part for number, part in enumerate(given)}}


def opened(root: Path, source: dict[str, Any], **changes: Any) -> Catalog:
    """Return the catalog of a stream of a mixture, one task an epoch."""
    stream = {"source": source, "transform": {"resize": {"height": 4, "width": 4}}, "task_items": 1000, **changes}
    spec = parse_spec({"seed": 3, "roots": {"photos": str(root)}, "streams": {"train": stream}})
    return Catalog.open(spec, spec.roots)


def epoch_of(found: Catalog, epoch: int = 0) -> list[tuple[int, str, str]]:
    """Return the part, the name and the class of each item of an epoch."""
    [plan] = found.plans
    items = found.task(TaskKey(stream="train", ordinal=epoch), 0).items
    parts = plan.parts_of(plan.indices(epoch))
    assert parts is not None
    return [
        (part, item.path, plan.classes[item.label] if item.label >= 0 else "")
        for part, item in zip(parts.tolist(), items, strict=True)
    ]


def test_without_weights_every_item_comes_once_an_epoch(root: Path) -> None:
    """With its part and the class of all parts' list; in the parts' order if that is not shuffled."""
    found = opened(root, mixture())
    [plan] = found.plans
    assert ("ant", "cat") == plan.classes
    expected = [
        *((0, f"folder/cat/{number}.jpg", "cat") for number in range(6)),
        *((1, path, name) for path, name in (("a.jpg", "ant"), ("b.jpg", "cat"), ("c.jpg", "ant"))),
        *[(2, "x.arrow", "")] * 2,
    ]
    assert sorted(expected) == sorted(epoch_of(found))
    assert expected == epoch_of(opened(root, mixture(), shuffle=False))
    assert {"ant": 2, "cat": 7} == found.listing("train").counts()
    assert ["image", "label", "item", "patch", "source"] == [field.name for field in schema_of(plan.settings)]


def test_parts_share_every_epoch_by_weight(root: Path) -> None:
    """Whatever their sizes; a part's items come as equally often as possible."""
    found = opened(root, mixture(1, 2, 1), sampling={"epoch_items": 20})
    for epoch in range(4):
        items = epoch_of(found, epoch)
        assert {0: 5, 1: 10, 2: 5} == dict(Counter(part for part, _, _ in items))
        assert {3, 4} == set(Counter(path for part, path, _ in items if part == 1).values())
        assert {1} == set(Counter(path for part, path, _ in items if part == 0).values())
    assert 11 == len(epoch_of(opened(root, mixture(1, 2, 1))))


def test_weights_change_at_the_epochs_of_the_schedule(root: Path) -> None:
    """A curriculum: at any epoch, whatever was read before."""
    source = mixture(1, 1, 0) | {
        "schedule": [
            {"from_epoch": 2, "weights": {"p0": 0, "p1": 1, "p2": 1}},
            {"from_epoch": 5, "weights": {"p0": 0, "p1": 0, "p2": 1}},
        ]
    }
    found = opened(root, source, sampling={"epoch_items": 12})
    shares = [dict(Counter(part for part, _, _ in epoch_of(found, epoch))) for epoch in (0, 1, 2, 4, 5, 99)]
    assert [{0: 6, 1: 6}, {0: 6, 1: 6}, {1: 6, 2: 6}, {1: 6, 2: 6}, {2: 12}, {2: 12}] == shares


def test_workers_read_files_and_parts_of_files(root: Path) -> None:
    """Of all parts, below one root; other shards than those that were listed are refused."""
    (root / "a.jpg").write_bytes(b"a")
    found = opened(root, mixture(sources=(LIST, ARROW)), shuffle=False)
    [plan] = found.plans
    task = found.task(TaskKey(stream="train", ordinal=0), 0)
    contents = open_reader(plan, {"photos": str(root)}).read(task).contents
    assert [b"a", b"one", b"two"] == [contents[0], *contents[3:]]
    write_arrow(root / "x.arrow", hub_table([b"one", b"two", b"three"], ["x", "y", "z"]))
    with pytest.raises(SourceError, match=r"the shards 'x\.arrow' have other names or sizes"):
        open_reader(plan, {"photos": str(root)})


def test_parts_choose_their_items_and_jobs_divide_them(root: Path) -> None:
    """By their own fields; the digest knows them, and the weights."""
    limited = mixture(sources=({**FOLDER, "limit": 2}, {**LIST, "classes": ["ant"], "other_classes": "leave_out"}))
    assert ["a.jpg", "c.jpg", "folder/cat/0.jpg", "folder/cat/3.jpg"] == sorted(
        path for _, path, _ in epoch_of(opened(root, limited))
    )
    jobs = [epoch_of(opened(root, mixture(), shard=f"{number}/2")) for number in (1, 2)]
    assert [3 + 2 + 1, 3 + 1 + 1] == [len(job) for job in jobs]
    assert 0 == len({path for part, path, _ in jobs[0] if part < 2} & {path for _, path, _ in jobs[1]})
    sources = [mixture(), limited, mixture(1, 1, 1), mixture(1, 1, 2)]
    assert 4 == len({opened(root, source).plans[0].fingerprint for source in sources})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (mixture(1, None, 2), "give each of them a weight, or none of them"),
        (mixture(0, 0, 0), "all weights are 0"),
        (mixture(-1, 1, 1), "parts.p0.weight"),
        (mixture(sources=({"kind": "arrays", "images": "x.npy"},)), "kind = 'arrays': a part is one of directory"),
        (mixture(sources=({**FOLDER, "root": "other"},)), "root = 'other': the mixture's root is 'photos'"),
        (mixture(sources=({**FOLDER, "allow_outside": True},)), "allow_outside is of the mixture"),
        (mixture() | {"limit": 3}, "rename, other_classes and limit are of the parts"),
        (mixture() | {"schedule": [{"from_epoch": 1, "weights": {"p0": 1}}]}, "give a weight for each of p0, p1, p2"),
        (mixture() | {"schedule": [{"from_epoch": 1, "weights": {"p0": 0}}]}, "and not all 0"),
        (mixture() | {"parts": {"p0": 3}}, "parts.p0"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(source: dict[str, Any], words: str, root: Path) -> None:
    """When the spec is read, with the part."""
    with pytest.raises(SpecError, match=words):
        opened(root, source)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling": {"by": "class"}}, "a mixture goes by the weights of its parts"),
        ({"shuffle": "shards"}, "a mixture goes by the weights of its parts"),
        ({"shard": "3/3"}, "'p2' has 2 items, of which shard 3/3 gets none"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(changes: dict[str, Any], words: str, root: Path) -> None:
    """When its source is listed."""
    with pytest.raises(SourceError, match=rf"stream 'train': .*{words}"):
        opened(root, mixture(1, 1, 1), **changes)


def test_a_part_that_cannot_be_listed_is_named(root: Path) -> None:
    """And so is one whose class the mixture does not have."""
    with pytest.raises(SourceError, match=r"part 'p0': .*no such folder"):
        opened(root, mixture(sources=({**FOLDER, "path": "gone"},)))
    with pytest.raises(SourceError, match=r"part 'p0': class = 'cat': not among source\.classes \('ant'\)"):
        opened(root, mixture() | {"classes": ["ant"]})
