"""Opens the folders that caches on a host's disk lie in, and checks who may write to them."""

import os
import stat
from pathlib import Path

from penstock.protocol.errors import PenstockError
from penstock.protocol.storage.user_cache import user_cache_folder


class CacheError(PenstockError):
    """The folder cannot hold a cache."""


def open_folder(given: str, layout: str) -> Path:
    """Return the folder of a cache below the one that is given, made if it is missing. Raises CacheError.

    `layout` is its name: another layout gets another folder, so that two versions of Penstock can share a place. Only
    its owner may write to it: what comes from a folder that others can write to is not to be trusted.
    """
    top = Path(given or user_cache_folder()).expanduser()
    folder = top / layout
    if not top.is_absolute():
        raise CacheError(f"cache folder {str(top)!r}: give an absolute path, such as /var/tmp/penstock or /dev/shm")
    try:
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise CacheError(
            f"cache folder {str(folder)!r} cannot be made: {error.strerror}; give a folder on a local disk that this "
            "user can write to, by --cache or PENSTOCK_CACHE"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise CacheError(f"cache folder {str(folder)!r} is no folder: remove it, or give another one by --cache")
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheError(
            f"cache folder {str(folder)!r} belongs to another user or others may write to it: give another one by "
            "--cache, or remove it"
        )
    return folder
