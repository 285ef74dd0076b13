"""Lists folders and manifests of empty files, and shows what was listed."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from penstock.sources.base import Listing, list_source
from penstock.sources.directory import DirectorySource
from penstock.sources.manifest import ManifestSource


def touch(folder: Path, *paths: str) -> None:
    """Make empty files: listing never looks inside."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def directory(root: Path, **fields: Any) -> Listing:
    """List a directory source below `root`."""
    return list_source(DirectorySource(kind="directory", root="photos", **fields), {"photos": str(root)})


def manifest(root: Path, **fields: Any) -> Listing:
    """List a manifest source below `root`."""
    return list_source(ManifestSource(kind="manifest", root="photos", **fields), {"photos": str(root)})


def items(listing: Listing) -> list[tuple[str, int]]:
    """Return every item as (path, label)."""
    return [(listing.path(index), listing.label(index)) for index in range(len(listing))]


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
