"""Where Penstock caches what it found in files of this user, and when a file is old enough for that."""

import os
from pathlib import Path

#: A file that changed less than this ago (s) may change again at the same time of change, as coarse clocks give it.
SETTLED_S = 2.0


def user_cache_folder() -> Path:
    """Return `penstock` below `$XDG_CACHE_HOME` or `~/.cache`; it is not absolute if the user has no such folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - leaves ~ without a home
    return Path(home) / "penstock"
