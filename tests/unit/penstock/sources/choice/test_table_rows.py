"""Rows that `where` chooses, in every kind of table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import items, touch, write_csv
from support.sources.shards import IMAGES, catalog, labels, listed, read
from support.sources.tables import hub_table, write_arrow, write_parquet

from penstock.protocol.errors import SourceError

NAMES = ["dog", "cat", "dog", "cat", "10", "dog"]
WIDTHS = [10, 200, 300, None, 500, 20]
WIDE = [{"column": "width", "op": ">=", "value": 100}, {"column": "width", "op": "!=", "value": 500}]


def table() -> Any:
    """Return a table of six rows with images, labels and widths."""
    return hub_table(list(IMAGES), NAMES).append_column("width", [WIDTHS])


@pytest.mark.parametrize(("kind", "write"), [("parquet", write_parquet), ("arrow", write_arrow)])
def test_rows_that_match_are_items(kind: str, write: Callable[..., None], tmp_path: Path) -> None:
    """With their own images, labels and weights; an index that is kept is that of the choice."""
    write(tmp_path / "t", table())
    listing = listed(tmp_path, kind, "t", where=WIDE, weight_column="width")
    assert ["cat", "dog"] == labels(listing)
    assert listing.weights is not None
    assert [200.0, 300.0] == listing.weights.tolist()
    assert IMAGES[1:3] == read(catalog(tmp_path, kind=kind, path="t", where=WIDE), tmp_path)
    assert 6 == len(listed(tmp_path, kind, "t"))
    with pytest.raises(SourceError, match=r"t, row 3: width = None: a weight is a number"):
        listed(tmp_path, kind, "t", weight_column="width")


@pytest.mark.parametrize(("kind", "write"), [("parquet", write_parquet), ("arrow", write_arrow)])
def test_a_column_that_is_missing_is_named(kind: str, write: Callable[..., None], tmp_path: Path) -> None:
    """With the spec's field."""
    write(tmp_path / "t", table())
    with pytest.raises(SourceError, match=r"no column 'height' \(source\.where\); its columns: 'image', 'label', 'w"):
        listed(tmp_path, kind, "t", where=[{"column": "height", "op": "==", "value": 1}])
    with pytest.raises(SourceError, match=r"no column 'w' \(source\.weight_column\)"):
        listed(tmp_path, kind, "t", weight_column="w")
    with pytest.raises(SourceError, match=r"1 shards, and no row of them matches source\.where"):
        listed(tmp_path, kind, "t", where=[{"column": "width", "op": ">", "value": 1000}])


def test_an_image_or_label_that_is_missing_does_not_matter_in_a_row_that_is_left_out(tmp_path: Path) -> None:
    """So `where` is the way to leave such rows out."""
    broken = hub_table([b"x", None, b"y"], ["a", None, "b"]).append_column("good", [[True, False, True]])
    write_arrow(tmp_path / "t.arrow", broken)
    where = [{"column": "good", "op": "==", "value": True}]
    assert ["a", "b"] == labels(listed(tmp_path, "arrow", "t.arrow", where=where))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_manifests_are_chosen_from_too(suffix: str, tmp_path: Path) -> None:
    """Where CSV has text for numbers, and nothing for what is missing."""
    paths = [f"{number}.jpg" for number in range(6)]
    touch(tmp_path, *paths)
    if suffix == "csv":
        write_csv(tmp_path / "m.csv", [("path", "label", "width"), *zip(paths, NAMES, WIDTHS, strict=True)])
    else:
        write_parquet(tmp_path / "m.parquet", table().drop(["image"]).append_column("path", [paths]))
    listing = listed(tmp_path, "manifest", f"m.{suffix}", where=WIDE, weight_column="width")
    assert [("1.jpg", 0), ("2.jpg", 1)] == items(listing)
    assert listing.weights is not None
    assert [200.0, 300.0] == listing.weights.tolist()
    fields = {"where": [{"column": "width", "op": ">", "value": 0}], "weight_column": "width"}
    weights = [
        side.weights.tolist()
        for subset in ("training", "validation")
        if (side := listed(tmp_path, "manifest", f"m.{suffix}", **fields, validation_split=0.5, subset=subset)).weights
        is not None
    ]
    assert [width for width in WIDTHS if width] == sorted(weights[0] + weights[1], key=WIDTHS.index)
    assert 2 == len(weights)
    with pytest.raises(SourceError, match=r"no row matches source\.where"):
        listed(tmp_path, "manifest", f"m.{suffix}", where=[{"column": "width", "op": "<", "value": 0}])
    with pytest.raises(SourceError, match=r"no column 'height' \(source\.where\)"):
        listed(tmp_path, "manifest", f"m.{suffix}", where=[{"column": "height", "op": "<", "value": 0}])
