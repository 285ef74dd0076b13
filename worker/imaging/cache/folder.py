"""The cache's folder: its places for groups and entries.

A group, `<folder>/<group>`, holds the images of one recipe's deterministic part: their segments (`segments.py`), an
index (`hints.py`), and `used`, which was touched when a worker last used the group.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.protocol.storage import cache_folder

#: Name of the layout.
_LAYOUT = "penstock-images-2"
#: Files next to the groups: how much is reserved, and when the cache was last tidied.
USAGE, TIDIED = "usage", "tidied"
#: File of a group whose time of change says when the group was last used.
USED = "used"
#: How the names of segments end.
SEGMENT = ".pixels"


def open_folder(given: str) -> Path:
    """Return the cache's own folder below the one that is given, made if it is missing. Raises CacheError."""
    return cache_folder.open_folder(given, _LAYOUT)


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a group, as a walk finds it."""

    path: str
    bytes: int
    #: When it was last used, or written (seconds since 1970).
    used: float
    #: Whether it is a segment; otherwise it is part of the index.
    segment: bool


def list_groups(folder: Path) -> dict[str, float]:
    """Return the path of each group, and when it was last used (seconds since 1970)."""
    groups = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                groups[entry.path] = _changed(f"{entry.path}/{USED}", default=entry.stat().st_mtime)
    return groups


def list_files(group: str) -> list[Found]:
    """Return the files of a group; what vanishes meanwhile is left out."""
    found: list[Found] = []
    with suppress(FileNotFoundError), os.scandir(group) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            found.append(Found(entry.path, status.st_size, status.st_mtime, entry.name.endswith(SEGMENT)))
    return found


def _changed(path: str, default: float) -> float:
    try:
        return os.stat(path).st_mtime  # noqa: PTH116 - as text
    except FileNotFoundError:
        return default
