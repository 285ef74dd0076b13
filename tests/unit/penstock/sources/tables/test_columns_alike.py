"""Parquet and JSON lines by whole columns say what their rows say; whatever is not plain is left to the rows."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.sources.columns_and_rows import GATHER, listed, same

from penstock.sources.base import Listing
from penstock.sources.tables import text_blocks
from penstock.sources.tables.whole_columns import WholeColumns

#: Settings that manifests are listed with.
FIELDS: list[dict[str, Any]] = [
    {},
    {},
    {"label_column": ""},
    {"label_column": "score"},
    {"images": "x"},
    {"classes": ("cat", "7", "0.1", "1")},
    {"where": [{"column": "score", "op": ">=", "value": 1}]},
    {"where": [{"column": "score", "op": "!=", "value": 0.1}, {"column": "label", "op": "!=", "value": "dog"}]},
    {"where": [{"column": "label", "op": "in", "value": ["cat", "7", "a"]}]},
    {"where": [{"column": "score", "op": "not in", "value": [7, 0.1]}], "weight_column": "score"},
    {"weight_column": "score"},
    {"weight_column": "score", "validation_split": 0.5, "subset": "training"},
]
PATHS = ["a/b.jpg", "ü.jpg", "a..b", ".x", "c.", "a\\b", "/a", "..", "a/../b", "", None, "x\0y"]
LABELS = ["cat", "dog", "7", "7.0", "", None]
SCORES = [0, 1, 7, 0.5, 0.1, -1, 2**53 + 1, True, "1", "0.1", "x", None, float("nan"), float("inf"), [1]]


def values(rng: random.Random, cells: list[Any], rows: int) -> list[Any]:
    """Return a column of few different cells, mostly of those that are plain."""
    some = rng.sample(cells[:3], 2) if rng.random() < 0.7 else rng.sample(cells, rng.randint(1, 3))
    return [rng.choice(some) for _ in range(rows)]


def kinds(pa: Any) -> list[Any]:
    """Return types that a column of scores may have."""
    return [
        pa.int64(),
        pa.int8(),
        pa.uint64(),
        pa.float64(),
        pa.float32(),
        pa.bool_(),
        pa.string(),
        pa.decimal128(30, 2),
    ]


def test_any_parquet_manifest_is_listed_alike_or_refused_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred and fifty small ones of every type, in several row groups, with repeated text and missing values."""
    pa = pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    rng, taken = random.Random(5), 0
    (tmp_path / "x").mkdir()
    for _ in range(150):
        rows = rng.randint(1, 9)
        text = rng.choice([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
        columns = {"path": pa.array(values(rng, PATHS, rows), pa.string()).cast(text)}
        columns["label"] = pa.array(values(rng, LABELS, rows), pa.string()).cast(rng.choice([pa.string(), text]))
        scores, kind = values(rng, SCORES, rows), rng.choice(kinds(pa))
        try:
            columns["score"] = pa.array(scores).cast(kind)
        except pa.ArrowException:
            columns["score"] = pa.array([rng.choice([0, 1, 7, None]) for _ in range(rows)]).cast(kind)
        parquet.write_table(
            pa.table(columns),
            tmp_path / "m.parquet",
            row_group_size=rng.randint(1, 9),
            use_dictionary=rng.random() < 0.5,
        )
        taken += same(tmp_path / "m.parquet", monkeypatch, **rng.choice(FIELDS))
    assert 30 < taken < 125


def test_a_missing_number_changes_no_class_of_other_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short floats name the class that their few decimals say, also next to rows that `where` leaves out."""
    pa = pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    scores = pa.array([0.1, 0.5, None, 0.1], pa.float32())
    table = pa.table({"path": ["a", "b", "c", "d"], "label": scores, "score": scores})
    parquet.write_table(table, tmp_path / "m.parquet", row_group_size=2, use_dictionary=False)
    fields = {"where": [{"column": "score", "op": "==", "value": 0.1}]}
    assert same(tmp_path / "m.parquet", monkeypatch, **fields)
    monkeypatch.setattr(WholeColumns, "gather", GATHER)
    found = listed(tmp_path / "m.parquet", **fields)
    assert isinstance(found, Listing)
    assert (len(found), found.classes) == (2, ("0.1",))


def test_any_json_manifest_is_listed_alike_or_refused_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hundred small ones, of values of one kind and of several, and lines that are none."""
    pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    rng, taken = random.Random(6), 0
    (tmp_path / "x").mkdir()
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 170)
    for _ in range(300):
        rows = rng.randint(1, 9)
        columns = {
            "path": values(rng, PATHS, rows),
            "label": values(rng, LABELS, rows),
            "score": values(rng, SCORES, rows),
        }
        lines = [
            json.dumps(
                {**dict(zip(columns, row, strict=True)), "more": [{"path": "}\n{"}]}, ensure_ascii=rng.random() < 0.5
            )
            for row in zip(*columns.values(), strict=True)
        ]
        if rng.random() < 0.2:
            lines[rng.randrange(rows)] = rng.choice(
                [
                    "",
                    "{}",
                    "[]",
                    '{"path": "a"}',
                    lines[0] + lines[0],
                    lines[0][:-1],
                    '{"path":\n"a"}',
                    "\ufeff" + lines[0],
                ]
            )
        end = rng.choice(["\n", "\n", "\n", "\r\n"])
        text = rng.choice(["", "", "\ufeff"]) + end.join(lines) + rng.choice(["", end])
        (tmp_path / "m.jsonl").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        taken += same(tmp_path / "m.jsonl", monkeypatch, **rng.choice(FIELDS))
    assert 30 < taken < 275


def csv_of(rows: list[tuple[str, str, float]]) -> str:
    """Return the rows as CSV."""
    return "\n".join(["path,label,score", *(",".join(map(str, row)) for row in rows)])


def json_of(rows: list[tuple[str, str, float]]) -> str:
    """Return the rows as JSON lines."""
    return "\n".join(json.dumps(dict(zip(("path", "label", "score"), row, strict=True))) for row in rows)


@pytest.mark.parametrize(("name", "write"), [("m.csv", csv_of), ("m.jsonl", json_of), ("m.parquet", None)])
def test_what_is_plain_is_listed_by_columns(
    name: str, write: Callable[..., str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a choice of rows and weights; names with dots and letters of all languages are plain."""
    pa = pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 300)
    rows = [(f"train/é..{number}.jpg", f"c{number % 3}", number % 5 / 4) for number in range(60)]
    if write is None:
        table = pa.table(dict(zip(("path", "label", "score"), map(list, zip(*rows, strict=True)), strict=True)))
        parquet.write_table(table, tmp_path / name, row_group_size=25)
    else:
        (tmp_path / name).write_text(write(rows), encoding="utf-8")
    where = [{"column": "score", "op": ">", "value": 0.25}, {"column": "label", "op": "!=", "value": "c1"}]
    for fields in ({}, {"where": where}, {"weight_column": "score"}, {"where": where, "weight_column": "score"}):
        assert same(tmp_path / name, monkeypatch, **fields)
    assert 24 == len(listed(tmp_path / name, where=where))
