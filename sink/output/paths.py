"""Paths of an output's parts and shards. Removes only files that Penstock has written."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.protocol.errors import OutputError
from penstock.sink.output.durable_files import Disk, Lock
from penstock.sink.output.part_file import is_piece
from penstock.sink.output.virtual_file import look

#: Files in the folder of parts that Penstock may remove.
_OURS = re.compile(r"piece-\d{12,}\.h5|recording\.json|paths\.h5|lock|.*\.tmp")


def parts_of(path: Path) -> Path:
    """Return the folder of an output's parts."""
    return path.with_name(f"{path.name}.parts")


def shards_of(path: Path) -> list[Path]:
    """Return the shards in an output's folder."""
    name = re.compile(re.escape(path.stem) + r"-\d{5,}" + re.escape(path.suffix))
    return sorted(other for other in path.parent.iterdir() if name.fullmatch(other.name))


def clear(parts: Path) -> None:
    """Remove an output's parts; files of other programs stay."""
    ours = [entry for entry in parts.iterdir() if _OURS.fullmatch(entry.name)]
    for entry in sorted(ours, key=lambda entry: entry.name == "lock"):  # last: its next owner begins to write here
        entry.unlink()
    with suppress(OSError):
        parts.rmdir()


def check_place(output: str) -> None:
    """Raise OutputError if no output can be written at this path; called before a stack is started."""
    path = Path(output).absolute()
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}: make it, or give another name")
    if foreign := look(path).foreign:
        raise OutputError(f"{path}: {foreign}: give another name, or remove it yourself")
    if path.is_symlink():
        raise OutputError(f"{path}: a symbolic link, whose place the file would take: give {path.resolve()}")


def discard(output: str) -> None:
    """Remove an output that Penstock has written, finished or not. Raises OutputError if it is none, or in use."""
    path = Path(output).absolute()
    found, parts = look(path), parts_of(path)
    disk = Disk(0.0, lambda _: None)
    if found.foreign:
        raise OutputError(f"{path}: {found.foreign}: --force does not touch it; give another name")
    lock = Lock(parts / "lock", disk) if parts.is_dir() else None
    try:
        if found.recipe:
            path.unlink(missing_ok=True)  # first: a view of what is gone would read as zeros
            for shard in shards_of(path) if found.recipe.get("shard_rows") else ():
                if is_piece(shard, str(found.recipe["fingerprint"])):
                    shard.unlink()
        if lock:
            clear(parts)
    finally:
        if lock:
            lock.release()


def read_manifest(path: Path) -> Mapping[str, Any]:
    """Return the settings that an output was begun with. Raises OutputError."""
    try:
        recipe: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: {error}; remove the folder {path.parent} to begin anew") from error
    return recipe
