"""A manifest whose listing is kept, however small it is."""

from pathlib import Path
from typing import Any

import pytest
from support.sources.kept_listings import write

from penstock.sources import manifest_rows
from penstock.sources.tables import listing_index


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root with an old manifest of 300 rows; indexes are kept of small ones, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(listing_index, "LEAST_BYTES", 1)
    write(tmp_path, 300)
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which each reading of a manifest is added."""
    done: list[str] = []
    real = manifest_rows.list_rows

    def list_rows(*arguments: Any) -> Any:
        done.append(arguments[2])
        return real(*arguments)

    monkeypatch.setattr("penstock.sources.manifest.list_rows", list_rows)
    return done
