"""The cache's folder: its places for groups and entries.

`<folder>/<group>/<2 letters of the key>/<rest of the key>` is an entry. A group holds the images of one recipe's
deterministic part; `used` in it was touched when a worker last used the group. Names that begin with a dot are entries
that are being written.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from penstock.protocol.storage import cache_folder

#: Name of the layout.
_LAYOUT = "penstock-images-1"
#: Files next to the groups: how much is reserved, and when the cache was last tidied.
USAGE, TIDIED = "usage", "tidied"
#: File of a group whose time of change says when the group was last used.
USED = "used"


def open_folder(given: str) -> Path:
    """Return the cache's own folder below the one that is given, made if it is missing. Raises CacheError."""
    return cache_folder.open_folder(given, _LAYOUT)


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a group, as a walk finds it."""

    path: str
    #: Bytes on the disk.
    bytes: int
    #: When it was last used, or written (seconds since 1970).
    used: float
    #: Whether it is a whole entry; otherwise it is being written, or its writer died.
    whole: bool


def on_disk(size: int) -> int:
    """Return how many bytes a file of this size takes: whole blocks of 4 KiB."""
    return -(-size // 4096) * 4096


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
    for shard in _folders(group):
        try:
            with os.scandir(shard) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    whole = not entry.name.startswith(".")
                    found.append(Found(entry.path, on_disk(status.st_size), status.st_mtime, whole))
        except FileNotFoundError:
            continue
    return found


def _folders(group: str) -> list[str]:
    try:
        with os.scandir(group) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _changed(path: str, default: float) -> float:
    try:
        return os.stat(path).st_mtime  # noqa: PTH116 - as text
    except FileNotFoundError:
        return default
