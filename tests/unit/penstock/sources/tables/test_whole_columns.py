"""A manifest that is listed by whole columns is what its rows say, and every other one is left to its rows."""

import random
from pathlib import Path
from typing import Any

import pytest
from support.sources.columns_and_rows import same

from penstock.sources.tables import text_blocks

#: What a cell may hold: plain text, and all that needs a closer look.
CELLS = [
    "a/b.jpg",
    "ü.jpg",
    "x",
    "7",
    "7.0",
    "007",
    "-1",
    "cat",
    " ",
    "",
    "/a",
    "..",
    "a/../b",
    "a..b",
    "\\",
    '"q"',
    "\t",
]


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({}, 1),
        ({"label_column": ""}, 1),
        ({"images": "x/y"}, 1),
        ({"classes": ("dog", "cat", "7", "é")}, 1),
        ({"classes": ("dog",)}, 0),
        ({"label_column": "more"}, 0),
        ({"path_column": "label", "label_column": "path"}, 1),
        ({"label_column": "path"}, 1),
        ({"where": [{"column": "label", "op": "==", "value": "cat"}]}, 1),
    ],
)
def test_plain_manifests_are_listed_by_columns(
    fields: dict[str, Any], taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several blocks, with blank lines, a byte-order mark and numbers that are one class."""
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 100)
    (tmp_path / "x/y").mkdir(parents=True)
    labels = ["cat", "7", "7.0", "é", "dog"]
    rows = [f"train/{number}.jpg,{number},{labels[number % 5]}" for number in range(50)]
    text = "\n".join(["\ufeffpath,more_,label", *rows[:20], "", "", *rows[20:]])
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    assert bool(taken) == same(tmp_path / "m.csv", monkeypatch, **fields)


def test_any_manifest_is_listed_alike_or_refused_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six hundred small ones, of cells that need a closer look; some of each kind are taken by columns."""
    rng, taken = random.Random(3), 0
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 24)
    for _ in range(600):
        cells = rng.sample(CELLS, rng.randint(1, 3)) if rng.random() < 0.7 else CELLS[:4]
        lines = [
            ",".join(rng.choice(cells) for _ in range(2 + (rng.random() < 0.02))) for _ in range(rng.randint(0, 6))
        ]
        header = rng.choice(["path,label", "path,label", "label,path", "path", "path,path,label", "path,label,"])
        end = rng.choice(["\n", "\n", "\n", "\r\n"])
        (tmp_path / "m.csv").write_text(
            end.join([header, *lines]) + rng.choice(["", end]), encoding="utf-8", newline=""
        )
        taken += same(tmp_path / "m.csv", monkeypatch, label_column=rng.choice(["label", "label", ""]))
    assert 30 < taken < 570


def test_what_is_not_utf8_is_left_to_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the header, a path, a label, or a column that nobody wants."""
    for content in (
        b"path,label\n\xff.jpg,cat\n",
        b"path,label\na,\xff\n",
        b"path,label,\xff\na,b,c\n",
        b"\xff",
        b"path,label,note\na,b,\xff\n",
        b"path,label,note\na,b,\xed\xa0\x80\n",
    ):
        (tmp_path / "m.csv").write_bytes(content)
        assert not same(tmp_path / "m.csv", monkeypatch)


@pytest.mark.parametrize(
    "text", ["\ufeffa,x\nb,y\n", "a,\ufeffx\nb,y\n", "a,x\n\ufeffb,y\nc,y\n", "a,x\n\ufeff\nb,y\n"]
)
@pytest.mark.parametrize("header", ["path,label\n", "\ufeffpath,label\n", "label,path\n"])
def test_a_byte_order_mark_within_a_manifest_is_part_of_the_text(
    header: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a block begins, too; only at the very beginning of the file it is none."""
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 20)
    (tmp_path / "m.csv").write_bytes((header + text).encode())
    assert not same(tmp_path / "m.csv", monkeypatch)


@pytest.mark.parametrize(("length", "taken"), [(131_000, 1), (131_073, 0), (4_500_000, 0)])
def test_a_field_is_as_long_as_the_rows_permit(
    length: int, taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a column that is not wanted, on the first line or a later one."""
    long, short = f"a,x,{'n' * length}", "b,y,"
    for lines in ([long, short], [short, long], [short] * 9 + [long] + [short] * 9):
        (tmp_path / "m.csv").write_text("\n".join(["path,label,note", *lines]), encoding="utf-8")
        assert bool(taken) == same(tmp_path / "m.csv", monkeypatch)
