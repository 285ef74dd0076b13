"""Files, folders and sockets of a run that only their owner may use: modes 0600 and 0700, whatever the umask.

Logs, ledgers and traces name hosts, files and classes; a connection to a socket without keys can do anything. What a
user asks for, such as an HDF5 file of `penstock write`, keeps the user's umask.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_FILE_MODE, _FOLDER_MODE, _UMASK = 0o600, 0o700, 0o077


def make_own_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter; one that exists stays as it is. Raises OSError."""
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)


def open_own(path: str | os.PathLike[str], mode: str, **options: Any) -> IO[Any]:  # noqa: ANN401 - those of `open`
    """Open as `open` does; a file that is made by it belongs to its owner only. Raises OSError."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, _FILE_MODE), **options)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is for its owner only, and complete when it appears in place of another one. Raises OSError."""
    fresh = path.with_suffix(".new")
    with open_own(fresh, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


@contextmanager
def made_for_owner() -> Generator[None]:
    """Within this, what the process makes is for its owner only: for sockets, which cannot be given a mode."""
    before = os.umask(_UMASK)
    try:
        yield
    finally:
        os.umask(before)
