"""A manifest whose listing is kept, and what is kept of it."""

import os
from pathlib import Path
from typing import Any

from penstock.sources.base import Listing, list_source
from penstock.sources.manifest import ManifestSource


def write(root: Path, rows: int, age_s: float = 100.0) -> None:
    """Write a manifest that was changed so long ago."""
    lines = [f"a/{number}.jpg,{'cat' if number % 3 else 'dog'}" for number in range(rows)]
    (root / "m.csv").write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    then = (root / "m.csv").stat().st_mtime - age_s
    os.utime(root / "m.csv", (then, then))


def listed(root: Path, **fields: Any) -> Listing:
    """List the manifest."""
    return list_source(ManifestSource(kind="manifest", root="r", path="m.csv", **fields), {"r": str(root)})


def kept(root: Path) -> list[Path]:
    """Return all indexes."""
    return list((root / "cache/penstock/listings").iterdir())


def facts(listing: Listing) -> list[object]:
    """Return all that a listing says."""
    items = [listing.item(index) for index in range(len(listing))]
    return [listing.digest, listing.classes, listing.counts(), items]
