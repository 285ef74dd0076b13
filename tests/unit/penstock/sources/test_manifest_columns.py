"""Columns that targets are made of: carried as text, the same from CSV, JSON lines and Parquet."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import write_csv

from penstock.protocol.errors import SourceError
from penstock.protocol.records import Item
from penstock.sources.base import Listing, list_source
from penstock.sources.directory import DirectorySource
from penstock.sources.manifest import ManifestSource

ROWS: list[dict[str, Any]] = [
    {"path": f"{index}.jpg", "label": "dog" if index % 2 else "cat", "boxes": boxes, "mask": f"{index}.png"}
    for index, boxes in enumerate(
        [[[1.5, 2.0, 3.0, 4.0]], [], [[0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 2.0, 2.0]], [], [], []]
    )
]


def listed(root: Path, path: str, columns: tuple[str, ...] = ("boxes", "mask"), **fields: Any) -> Listing:
    """List a manifest with columns."""
    source = ManifestSource(kind="manifest", root="photos", path=path, **fields)
    return list_source(source, {"photos": str(root)}, columns)


def write_json_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write a manifest of JSON lines."""
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with one manifest in three formats."""
    rows = [tuple(ROWS[0]), *((row["path"], row["label"], json.dumps(row["boxes"]), row["mask"]) for row in ROWS)]
    write_csv(tmp_path / "m.csv", rows)
    write_json_lines(tmp_path / "m.jsonl", ROWS)
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(ROWS), tmp_path / "m.parquet")
    return tmp_path


def test_an_item_carries_its_row(root: Path) -> None:
    """The cells of the columns that were asked for, in that order, and the row's number for messages."""
    found = listed(root, "m.csv", ("mask", "boxes"))
    expected = Item(
        item=2, path="2.jpg", label=0, row=4, cells=("2.png", "[[0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 2.0, 2.0]]")
    )
    assert expected == found.item(2)
    assert len("2.png") + len(expected.cells[1]) == found.longest_row


def test_the_format_of_the_manifest_does_not_matter(root: Path) -> None:
    """The same rows give the same cells and the same digest, which enters the fingerprint."""
    found = [listed(root, f"m.{suffix}") for suffix in ("csv", "jsonl", "parquet")]
    assert 1 == len({listing.digest for listing in found})
    assert [4, 3, 3] == [listing.item(2).row for listing in found]
    assert 1 == len({listing.item(2).cells for listing in found})


def test_targets_count_in_the_digest(root: Path) -> None:
    """Another box is another stream; without targets, the digest is what it was before there were any."""
    changed = [row | {"mask": "x.png"} if row["path"] == "3.jpg" else row for row in ROWS]
    write_json_lines(root / "changed.jsonl", changed)
    assert listed(root, "m.jsonl").digest != listed(root, "changed.jsonl").digest
    assert listed(root, "m.jsonl", ()).digest == listed(root, "changed.jsonl", ()).digest
    assert () == listed(root, "m.jsonl", ()).item(0).cells


def test_a_split_keeps_each_row_with_its_image(root: Path) -> None:
    """The cells of a subset are those of its own items."""
    for subset in ("training", "validation"):
        found = listed(root, "m.jsonl", validation_split=0.4, subset=subset)
        for item in map(found.item, range(len(found))):
            assert f"{item.path.removesuffix('.jpg')}.png" == item.cells[1]
            assert int(item.path.removesuffix(".jpg")) + 1 == item.row


def test_images_need_no_class(root: Path) -> None:
    """With boxes, an image often has no class of its own: label_column = "" gives -1."""
    found = listed(root, "m.csv", label_column="")
    assert [-1] * 6 == [found.label(index) for index in range(6)]
    assert () == found.classes
    assert {} == found.counts()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"path": "a.jpg"\n', "a.jsonl, line 1: not valid JSON"),
        ("a.jsonl", '\n["a.jpg"]\n', r"a.jsonl, line 2: must be an object .* is '\[\"a.jpg\"\]"),
        ("a.jsonl", '{"path": "a.jpg", "label": "x"}\n', "no line has 'boxes'"),
        ("a.jsonl", '{"path": "a.jpg", "boxes": []}\n', "a.jsonl, line 1: label = None: a label must be"),
        ("a.jsonl", '{"label": "x", "boxes": []}\n', "a.jsonl, line 1: path = None: must be text"),
        ("a.jsonl", '{"path": "\\ud800.jpg"}\n', "a.jsonl, line 1: path = .*surrogate"),
        ("a.jsonl", '{"path": "a.jpg", "label": "\\ud800", "boxes": []}\n', "line 1: label = .*surrogate"),
        ("a.jsonl", '{"path": "a.jpg", "label": "x", "boxes": "\\ud800"}\n', "line 1: boxes = .*surrogate"),
        ("a.csv", "path,label,box\n", "has no column 'boxes' .* its columns: 'path', 'label', 'box'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    """File, line and value."""
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        listed(tmp_path, name, ("boxes",))


def test_a_cell_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """Cells travel in messages of limited size."""
    write_json_lines(tmp_path / "m.jsonl", [{"path": "a.jpg", "label": "x", "boxes": "9" * 70_000}])
    with pytest.raises(SourceError, match="line 1: boxes has 70000 characters, and at most 65536"):
        listed(tmp_path, "m.jsonl", ("boxes",))


def test_a_kind_without_columns_refuses_targets(tmp_path: Path) -> None:
    """A folder has no columns."""
    source = DirectorySource(kind="directory", root="photos")
    with pytest.raises(SourceError, match="column 'boxes', and a source of kind 'directory' has no columns"):
        list_source(source, {"photos": str(tmp_path)}, ("boxes",))
