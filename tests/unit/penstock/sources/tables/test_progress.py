"""A listing that takes long says how far it is, whatever is listed."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import touch
from support.sources.tars import sample, write_tar

from penstock.protocol.spec.source import model_of
from penstock.sources import manifest_rows
from penstock.sources.base import list_source
from penstock.sources.tables import listing_index, text_blocks
from penstock.sources.tables.progress import telling

ROWS = [(f"{number}.jpg", "cat") for number in range(90)]


def said(root: Path, **fields: Any) -> list[str]:
    """List a source; return what was told of it."""
    found: list[str] = []
    with telling(found.append):
        assert len(list_source(model_of(fields).model_validate({"root": "r", **fields}), {"r": str(root)}))
    return found


def test_a_manifest_tells_how_much_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By columns and row by row, and then of the index."""
    pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 400)
    monkeypatch.setattr(listing_index, "LEAST_BYTES", 1)
    monkeypatch.setattr(manifest_rows, "_TOLD", 40)
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *map(",".join, ROWS)]))
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps({"path": path, "label": label}) for path, label in ROWS))
    (tmp_path / "rows.csv").write_text("\n".join(["path,label", *(f'"{path}",{label}' for path, label in ROWS)]))
    for name in ("m.csv", "m.jsonl"):
        found = said(tmp_path, kind="manifest", path=name)
        assert ["0 % of the manifest", "0 % of the index"] == [found[0], found[-1]]
        assert 3 < len(found)
    assert [f"{tmp_path}/rows.csv, line {line} of the manifest" for line in (40, 80)] == [
        each for each in said(tmp_path, kind="manifest", path="rows.csv") if "line" in each
    ]


def test_shards_and_folders_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, and as many folders as are walked at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar", sample(f"{number}", b"x", "cat"))
    assert [f"{number} of 3 shards" for number in range(3)] == said(tmp_path, kind="tar", path="*.tar")
    touch(tmp_path / "tree", *(f"{label:02}/a.jpg" for label in range(20)))
    assert [f"{part} % of the classes" for part in (0, 40, 80)] == said(tmp_path, kind="directory", path="tree")
