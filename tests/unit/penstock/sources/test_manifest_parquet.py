"""Parquet manifests: the listing of the same CSV, and what every mistake is called."""

from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import items, manifest, write_csv

from penstock.protocol.errors import SourceError


def write_parquet(file: Path, **columns: Any) -> None:
    """Write a Parquet file in row groups of two."""
    pyarrow = pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), file, row_group_size=2)


def test_parquet_and_csv_of_the_same_rows_are_the_same_listing(tmp_path: Path) -> None:
    """Integers and dictionary-coded strings are labels like any other, and the digest does not tell the format."""
    paths, labels = ["b.jpg", "a.jpg", "ä/c.jpg", "b.jpg", "d.jpg"], [10, 9, 10, 9, 0]
    write_parquet(tmp_path / "m.parquet", other=[1.5] * 5, path=paths, label=labels)
    write_csv(tmp_path / "m.csv", [("path", "label"), *zip(paths, labels, strict=True)])
    found = manifest(tmp_path, path="m.parquet")
    assert ("0", "9", "10") == found.classes
    assert list(zip(paths, [2, 1, 2, 1, 0], strict=True)) == items(found)
    assert manifest(tmp_path, path="m.csv").digest == found.digest
    pyarrow = pytest.importorskip("pyarrow")
    names = pyarrow.array(["dog", "cat", "dog"]).dictionary_encode()
    write_parquet(tmp_path / "named.parquet", path=["1.jpg", "2.jpg", "3.jpg"], label=names)
    assert [1, 0, 1] == [label for _, label in items(manifest(tmp_path, path="named.parquet"))]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a.jpg", None, "b.jpg"], "label": [0, 0, 0]}, r"m\.parquet, row 2: path = None: must be text"),
        ({"path": ["a.jpg"] * 3, "label": ["x", "x", None]}, r"row 3: label = None: a label must be text or a finite"),
        ({"path": ["a.jpg"] * 3, "label": [[1]] * 3}, r"row 1: label = \[1\]: a label must be"),
        ({"path": ["a.jpg", "../b.jpg", "c.jpg"], "label": [0, 0, 0]}, r"row 2: path = '\.\./b\.jpg'"),
        ({"path": ["a.jpg"], "target": [0]}, r"has no column 'label' .*'path', 'target'"),
    ],
)
def test_a_bad_parquet_row_is_named_by_its_number(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    """Rows count from 1, over all row groups."""
    write_parquet(tmp_path / "m.parquet", **columns)
    with pytest.raises(SourceError, match=message):
        manifest(tmp_path, path="m.parquet")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    """A damaged file is an error in words, not a traceback of the library."""
    pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    (tmp_path / "m.parquet").write_bytes(b"path,label\n")
    with pytest.raises(SourceError, match=r"m\.parquet: cannot read the Parquet file"):
        manifest(tmp_path, path="m.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    (tmp_path / "m.parquet").touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SourceError, match=r"penstock\[parquet\]"):
        manifest(tmp_path, path="m.parquet")
