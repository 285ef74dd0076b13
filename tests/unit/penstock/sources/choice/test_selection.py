"""Classes that are renamed or left out, and limits: of every kind of source, on the ventilator and on workers."""

from pathlib import Path

import numpy as np
import pytest
from support.sources.listings import directory, items, touch, write_csv
from support.sources.shards import catalog

from penstock.protocol.errors import SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.source import model_of
from penstock.sources.base import Listing, list_source, open_reader
from penstock.sources.choice.selection import select

FILES = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg", "c/2.jpg", "c/3.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with three class folders, and a manifest of their files in another order."""
    touch(tmp_path, *FILES)
    write_csv(tmp_path / "m.csv", [("path", "label"), *((path, path[0]) for path in reversed(FILES))])
    return tmp_path


def selected(root: Path, **fields: object) -> Listing:
    """List a source as a stream does."""
    given = {"kind": "directory", "root": "photos", **fields}
    source = model_of(given).model_validate(given)
    return select(source, list_source(source, {"photos": str(root)}))


def named(listing: Listing) -> list[tuple[str, str]]:
    """Return every item as (path, class)."""
    return [(path, listing.classes[label]) for path, label in items(listing)]


def test_renamed_classes_become_one_and_are_sorted_anew(root: Path) -> None:
    """In the source's order; names that are not renamed stay."""
    listing = selected(root, rename={"a": "z", "b": "z"})
    assert ("c", "z") == listing.classes
    assert [(path, "c" if path[0] == "c" else "z") for path in FILES] == named(listing)
    assert {"c": 3, "z": 3} == listing.counts()


def test_classes_select_and_order_if_others_are_left_out(root: Path) -> None:
    """In a manifest, where they are an error otherwise; with new names too."""
    manifest = {"kind": "manifest", "path": "m.csv", "other_classes": "leave_out"}
    listing = selected(root, **manifest, classes=("c", "a"))
    assert [(path, path[0]) for path in reversed(FILES) if path[0] != "b"] == named(listing)
    assert [0, 0, 0, 1, 1] == [label for _, label in items(listing)]
    both = selected(root, **manifest, classes=("x",), rename={"a": "x", "b": "x"})
    assert [(path, "x") for path in ("b/1.jpg", "a/2.jpg", "a/1.jpg")] == named(both)
    with pytest.raises(SourceError, match=r"line 2: label = 'c': not among source\.classes \('a', 'b'\)"):
        selected(root, kind="manifest", path="m.csv", classes=("a", "b"))
    with pytest.raises(SourceError, match=r"class = 'c': not among source\.classes \('z'\)"):
        selected(root, kind="manifest", path="m.csv", classes=("z",), rename={"a": "z", "b": "z"})


def test_a_limit_is_spread_evenly_over_the_order(root: Path) -> None:
    """So that classes keep their shares; a larger one changes nothing."""
    assert ["a/1.jpg", "b/1.jpg", "c/2.jpg"] == [path for path, _ in items(selected(root, limit=3))]
    assert directory(root).digest == selected(root, limit=6).digest


def test_each_choice_has_a_digest_of_its_own_and_none_has_that_of_before(root: Path) -> None:
    """A position of another choice is refused; specs without one keep the digests that they had."""
    assert directory(root).digest == selected(root).digest
    choices = [
        selected(root, **fields).digest
        for fields in ({}, {"limit": 3}, {"limit": 4}, {"rename": {"a": "b"}}, {"rename": {"a": "x"}})
    ]
    assert len(choices) == len(set(choices))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rename": {"d": "x"}}, "rename: no class is called 'd'; found: 'a', 'b', 'c'"),
        ({"classes": ("x",), "other_classes": "leave_out"}, "none of 6 items is of the classes 'x'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(fields: dict[str, object], words: str, root: Path) -> None:
    """With what was found."""
    with pytest.raises(SourceError, match=words):
        selected(root, **fields)


def test_leaving_out_needs_classes() -> None:
    """Else it would leave nothing out."""
    given = {"kind": "directory", "root": "photos", "other_classes": "leave_out"}
    with pytest.raises(ValueError, match="needs classes: the names of those that stay"):
        model_of(given).model_validate(given)


def test_workers_read_the_rows_of_arrays_that_were_chosen(tmp_path: Path) -> None:
    """A task carries them, since workers know only the whole array; names in the ledger are those of its rows."""
    images = np.arange(6, dtype=np.uint8)[:, np.newaxis, np.newaxis] * np.ones((6, 4, 4), np.uint8)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", np.array([0, 1, 2, 0, 1, 2]))
    choice = {"classes": ("2", "one"), "rename": {"1": "one"}, "other_classes": "leave_out"}
    found = catalog(tmp_path, kind="arrays", images="x.npy", labels="y.npy", **choice)
    [plan] = found.plans
    task = found.task(TaskKey(stream="train", ordinal=0), 0)
    loaded = open_reader(plan, {"photos": str(tmp_path)}).read(task)
    assert [1, 2, 4, 5] == [int(np.asarray(content)[0, 0, 0]) for content in loaded.contents]
    assert [1, 0, 1, 0] == loaded.labels.tolist()
    assert [f"x.npy[{row}]" for row in (1, 2, 4, 5)] == list(loaded.paths) == [item.name for item in task.items]
    beyond = task.replaced(items=(task.items[0].replaced(row=6),))
    [error] = open_reader(plan, {"photos": str(tmp_path)}).read(beyond).contents
    assert "row 6 is none of the 6 rows of x.npy" == str(error)
