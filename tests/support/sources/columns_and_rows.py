"""Lists a manifest by whole columns and by rows, and compares what both give."""

from pathlib import Path
from typing import Any

import pytest

from penstock.protocol.errors import SourceError
from penstock.sources.base import Listing, list_source
from penstock.sources.manifest import ManifestSource
from penstock.sources.tables.blocks import NotPlainError
from penstock.sources.tables.whole_columns import WholeColumns

#: The way by whole columns, before `same` turns it off.
GATHER = WholeColumns.gather


def listed(file: Path, **fields: Any) -> Listing | str:
    """List the manifest, or return its error."""
    source = ManifestSource(kind="manifest", root="photos", path=file.name, **fields)
    try:
        return list_source(source, {"photos": str(file.parent)})
    except SourceError as error:
        return str(error)


def same(file: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> bool:
    """Check that both ways give the same; return whether whole columns were taken."""
    taken: list[bool] = []

    def gather(*arguments: Any) -> None:
        GATHER(*arguments)
        taken.append(True)

    def refuse(*_: Any) -> None:
        raise NotPlainError

    monkeypatch.setattr(WholeColumns, "gather", gather)
    fast = listed(file, **fields)
    monkeypatch.setattr(WholeColumns, "gather", refuse)
    slow = listed(file, **fields)
    if isinstance(fast, Listing) and isinstance(slow, Listing):
        assert slow.digest == fast.digest
        assert slow.classes == fast.classes
        assert [slow.item(index) for index in range(len(slow))] == [fast.item(index) for index in range(len(fast))]
        assert [None if each.weights is None else each.weights.tolist() for each in (slow, fast)] == [
            None if each.weights is None else each.weights.tolist() for each in (fast, slow)
        ]
    else:
        assert slow == fast
    return bool(taken)
