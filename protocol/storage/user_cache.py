"""Where Penstock caches what it found in files of this user, when a file is old enough for that, and how it is kept."""

import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: A file that changed less than this ago (s) may change again at the same time of change, as coarse clocks give it.
SETTLED_S = 2.0
#: How the names of files begin that are not whole yet, and after how long (s) without a write one was left by a process
#: that was killed.
_PART, _LEFT_S = "tmp", 3600.0


def user_cache_folder() -> Path:
    """Return `penstock` below `$XDG_CACHE_HOME` or `~/.cache`; it is not absolute if the user has no such folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - leaves ~ without a home
    return Path(home) / "penstock"


def write_whole(file: Path, parts: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write a file so that other processes see it whole or not at all; only its owner may read it. Raises OSError.

    What processes left in the folder that were killed while they wrote is removed.
    """
    descriptor, name = begin_part(file.parent)
    try:
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
            opened.writelines(parts)
        Path(name).replace(file)
    except BaseException:  # Ctrl-C, too
        Path(name).unlink(missing_ok=True)
        raise


def begin_part(folder: Path) -> tuple[int, str]:
    """Make a file that is not whole yet; return its descriptor and its name. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(folder, f"{_PART}*", _LEFT_S)
    return tempfile.mkstemp(prefix=_PART, dir=folder)


def sweep(folder: Path, pattern: str, age_s: float, spared: str = "") -> None:
    """Remove the files of a folder that match and were not written to for so long, unless their name ends as said."""
    oldest = time.time() - age_s
    for file in folder.glob(pattern):
        with suppress(OSError):  # removed by another process, or not ours
            if file.lstat().st_mtime < oldest and not (spared and file.name.endswith(spared)):
                file.unlink()
