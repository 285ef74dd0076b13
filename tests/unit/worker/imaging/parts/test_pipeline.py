"""Parts of a mixture with transforms of their own: whose bytes they are, whatever a task holds; and what is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cache.pipelines import cache_in
from support.images import encode, picture, write_images
from support.sources.listings import write_csv
from support.sources.tables import hub_table, write_parquet

from penstock.protocol.errors import SourceError, SpecError
from penstock.protocol.messages import Task, TaskKey
from penstock.protocol.spec.spec import parse_spec
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.parts.pipeline import MixedPipeline, open_pipeline
from penstock.worker.imaging.pipeline import Outcome, Pipeline

PLAIN = {"patch": {"kind": "random", "height": 20, "width": 24}}
WILD = {"steps": [{"op": "random_resized_crop", "size": [20, 24]}, {"op": "color_jitter", "brightness": 0.4}]}
#: Images of every part are scaled first, so that a cache keeps other pixels of each.
SMALL = {"resize": {"height": 22, "width": 26}, "patch": {"kind": "random", "height": 20, "width": 24}}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root with folders `a` and `b`, and a Parquet file; each has an item that is no image."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    for folder in ("a", "b"):
        write_images(photos / folder, ("cat", "dog"), 4)
        (photos / folder / "cat" / "bad.jpg").write_bytes(b"no image")
    images: list[bytes | None] = [encode(picture(number)) for number in range(5)]
    write_parquet(photos / "x.parquet", hub_table([*images, b"no image"], ["cat", "dog"] * 3))
    return photos


def catalog_of(root: Path, transforms: Sequence[Any], **changes: Any) -> Catalog:
    """Return the catalog of a mixture of the three, with these transforms of their own (None: the stream's)."""
    sources = [{"kind": "directory", "path": "a"}, {"kind": "directory", "path": "b"}, {"kind": "parquet", "path": "*"}]
    sources[2]["path"] = "x.parquet"
    parts = {
        name: {"source": source} | ({} if own is None else {"transform": own})
        for name, source, own in zip("abx", sources, transforms, strict=True)
    }
    source = {"kind": "mixture", "root": "photos", "parts": parts}
    stream = {"source": source, "transform": PLAIN, "patches": 2, "task_items": 64, **changes}
    spec = parse_spec({"seed": 5, "roots": {"photos": str(root)}, "streams": {"train": stream}})
    return Catalog.open(spec, spec.roots)


def task_of(catalog: Catalog, epoch: int = 0, **which: Any) -> Task:
    """Return an epoch's only task, or some of its items."""
    return catalog.task(TaskKey(stream="train", ordinal=epoch, **which), 0)


def by_sample(catalog: Catalog, outcome: Outcome) -> dict[tuple[int, int, int], bytes]:
    """Return the pixels of each sample by its part, item and patch; all orders of fields are checked."""
    [plan] = catalog.plans
    fields = dict(zip((field.name for field in plan.schema), outcome.arrays, strict=True))
    names = zip(fields["source"].tolist(), fields["item"].tolist(), fields["patch"].tolist(), strict=True)
    return {name: image.tobytes() for name, image in zip(names, fields["image"], strict=True)}


def test_each_part_s_samples_are_those_of_a_stream_of_its_transform(root: Path) -> None:
    """In the task's order, bad items of all parts left out and named; so draws depend on the item and its part only."""
    mixed = catalog_of(root, (None, WILD, SMALL))
    [plan] = mixed.plans
    for epoch in range(2):
        task = task_of(mixed, epoch)
        outcome = open_pipeline(plan, {"photos": root}).run(task)
        found = by_sample(mixed, outcome)
        assert {0: 16, 1: 16, 2: 10} == {part: sum(name[0] == part for name in found) for part in range(3)}
        failed = {place for place, item in enumerate(task.items) if "bad" in item.path or item.item == 23}
        assert failed == {failure.offset for failure in outcome.failures}
        kept = [item.item for place, item in enumerate(task.items) if place not in failed for _ in range(2)]
        assert kept == [item for _, item, _ in found]
        for part, transform in enumerate((PLAIN, WILD, SMALL)):
            alone = catalog_of(root, (None, None, None), transform=transform)
            [own] = alone.plans
            expected = by_sample(alone, Pipeline(own, {"photos": root}).run(task_of(alone, epoch)))
            assert {name: pixels for name, pixels in expected.items() if name[0] == part} == {
                name: pixels for name, pixels in found.items() if name[0] == part
            }


def test_a_task_may_be_cut_anywhere(root: Path) -> None:
    """One item, some items, read and made apart, in given memory: always the samples of the whole task."""
    catalog = catalog_of(root, (None, WILD, SMALL))
    pipeline = open_pipeline(catalog.plans[0], {"photos": root})
    whole = by_sample(catalog, pipeline.run(task_of(catalog)))
    halves = [tuple(range(0, 24, 2)), tuple(range(1, 24, 2))]
    ways: list[list[dict[str, Any]]] = [
        [{"item_offset": place} for place in range(24)],
        [{"offsets": half} for half in halves],
    ]
    for pieces in ways:
        found: dict[tuple[int, int, int], bytes] = {}
        failed = set[int]()
        for which in pieces:
            task = task_of(catalog, **which)
            loaded = pipeline.read(task)
            room = np.empty(pipeline.room_bytes(len(task.items)), np.uint8)
            outcome = pipeline.make(task, loaded, room)
            assert all(np.shares_memory(array, room) for array in outcome.arrays if array.size)
            found |= by_sample(catalog, outcome)
            failed |= {failure.offset for failure in outcome.failures}
        assert whole == found
        assert 3 == len(failed)


def test_the_cache_keeps_what_each_part_s_transform_begins_with(root: Path, tmp_path: Path) -> None:
    """Samples are the same with it, the second time from it."""
    catalog = catalog_of(root, (SMALL, WILD, None), cache={"gb": 0.1})
    [plan] = catalog.plans
    expected = [by_sample(catalog, open_pipeline(plan, {"photos": root}).run(task_of(catalog, k))) for k in range(2)]
    cache = cache_in(tmp_path)
    kept = open_pipeline(plan, {"photos": root}, cache=cache)
    assert expected == [by_sample(catalog, kept.run(task_of(catalog, k))) for k in range(2)]
    assert cache.counts.hits


def test_parts_of_one_transform_and_one_kind_share_a_pipeline(root: Path) -> None:
    """A mixture without transforms of its own is read as one stream; equal transforms change no fingerprint."""
    plain = catalog_of(root, (None, None, None)).plans[0]
    same = catalog_of(root, (PLAIN, None, PLAIN)).plans[0]
    other = catalog_of(root, (WILD, None, None)).plans[0]
    assert plain.fingerprint == same.fingerprint
    assert plain.fingerprint_1 == same.fingerprint_1 != ""
    assert plain.fingerprint != other.fingerprint
    assert "" == other.fingerprint_1
    opened = open_pipeline(other, {"photos": root})
    assert isinstance(opened, MixedPipeline)
    assert 3 == len(opened.readers)
    two = parse_spec({"streams": {"train": two_folders(None)}})
    found = Catalog.open(two, {"photos": str(root)})
    assert isinstance(open_pipeline(found.plans[0], {"photos": root}), Pipeline)


def two_folders(own: Any, **changes: Any) -> dict[str, Any]:
    """Return a stream of the two folders, the second with a transform of its own."""
    parts = {
        "a": {"source": {"kind": "directory", "path": "a"}},
        "b": {"source": {"kind": "directory", "path": "b"}} | ({} if own is None else {"transform": own}),
    }
    return {"source": {"kind": "mixture", "root": "photos", "parts": parts}, "transform": PLAIN, **changes}


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"resize": [20, 25]}, r"makes image uint8 \(20, 25, 3\) .*transform image uint8 \(20, 24, 3\)"),
        ({"resize": [20, 24], "color": "gray"}, r"makes image uint8 \(20, 24, 1\) \(hwc gray\)"),
        ({"resize": [20, 24], "normalize": {"rescale": 0.5}}, r"makes image float32"),
        ({"resize": [20, 24], "normalize": {"rescale": 0.5, "where": "trainer"}}, r"normalize.*of the stream's"),
        ({"steps": [], "views": {"v": {"steps": [{"op": "resize", "size": [20, 24]}]}}}, r"makes the fields v, label"),
        ({"patch": {"kind": "grid", "height": 20, "width": 24, "rows": 2}}, r"patches = 1 but the grid has 2"),
        ({"resize": [20, 24], "fit": 1}, r"parts\.b\.transform\.fit"),
    ],
)
def test_a_part_that_makes_other_samples_is_refused(own: dict[str, Any], words: str) -> None:
    """When the spec is read, with the part, both fields and what to do."""
    with pytest.raises(SpecError, match=rf"source\.parts\.b\.transform.*{words}|{words}"):
        parse_spec({"streams": {"train": two_folders(own)}})


def test_parts_that_are_manifests_may_have_targets(root: Path) -> None:
    """Each part's own transform moves them; a bad one names the part's manifest; a part without columns is refused."""
    for name, boxes in (("a", "[[2, 2, 20, 20]]"), ("b", "[[4, 4, 30, 30]]")):
        first, second = (path.relative_to(root).as_posix() for path in sorted((root / name / "dog").iterdir())[:2])
        rows = [("path", "label", "boxes"), (first, "x", boxes), (second, "x", "[[1]]")]
        write_csv(root / f"{name}.csv", rows)
    parts: dict[str, Any] = {name: {"source": {"kind": "manifest", "path": f"{name}.csv"}} for name in "ab"}
    parts["b"]["transform"] = {"steps": [{"op": "resize", "size": [20, 24]}, {"op": "flip", "p": 1.0}]}
    stream = {
        "source": {"kind": "mixture", "root": "photos", "parts": parts},
        "transform": {"steps": [{"op": "resize", "size": [20, 24]}]},
        "targets": {"boxes": {"kind": "boxes", "column": "boxes", "format": "xyxy", "max_boxes": 2}},
        "shuffle": False,
    }
    spec = parse_spec({"roots": {"photos": str(root)}, "streams": {"train": stream}})
    catalog = Catalog.open(spec, spec.roots)
    [plan] = catalog.plans
    outcome = open_pipeline(plan, spec.roots).run(task_of(catalog))
    assert ["a.csv", "b.csv"] == [failure.reason.split(",")[0].split(":")[0] for failure in outcome.failures]
    fields = dict(zip((field.name for field in plan.schema), outcome.arrays, strict=True))
    assert [1, 1] == fields["boxes_count"].tolist()
    left, right = fields["boxes"][:, 0, 0].tolist()
    assert left < right  # the second is a mirror image
    parts["b"] = {"source": {"kind": "directory", "path": "b"}}
    spec = parse_spec({"roots": {"photos": str(root)}, "streams": {"train": stream}})
    with pytest.raises(SourceError, match=r"part 'b': targets read column 'boxes'.*has no columns"):
        Catalog.open(spec, spec.roots)
