"""Keeps the listing of a large manifest in a file that later starts map into memory, so that they take no time.

The file lies in `penstock/listings` in the user's cache folder, and all services of the host share its pages. It counts
only for a manifest with the same inode, size and times of change, and for the same columns; and only until the host is
started anew, so that it need not be synced: a crash of the host may tear it. Damage by the disk is noticed where the
index is used: each block bears a checksum. Hosts that share a home have an index
each. The items go into the file as they are found, so that a first start takes little memory, too. Without a folder
that can be written, every start reads the manifest, into memory.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.protocol.storage.user_cache import SETTLED_S, sweep, user_cache_folder
from penstock.sources.file_listing import Builder, FileListing, ListingBuilder
from penstock.sources.tables.index_file import Pages, read_index
from penstock.sources.tables.spool import SpoolError, Spools

#: A manifest with fewer bytes is read so fast that an index would only take room.
LEAST_BYTES = 4_000_000
#: After so long (s) without a start that used it, an index of another host, or of another start of it, is removed.
_UNUSED_S = 90 * 86400.0

#: Makes a listing; its items are gathered in what the argument returns.
Make = Callable[[Callable[[], Builder]], FileListing]


def indexed(place: bytes, told: Mapping[str, Any], make: Make) -> FileListing:
    """Return the listing of the manifest at `place`, from its index or made; `told` is all that decides it."""
    status = os.stat(place)  # noqa: PTH116 - bytes
    folder = user_cache_folder() / "listings"
    if status.st_size < LEAST_BYTES or not folder.is_absolute():
        return make(ListingBuilder)
    real = os.fsdecode(os.path.realpath(place))
    name = hashlib.sha256(json.dumps([real, dict(told)], sort_keys=True).encode(errors="surrogateescape")).hexdigest()
    file = folder / f"{name}{_host()}"
    identity, now = _identity(status), time.time()
    facts = {"identity": identity, "boot": _boot()}
    if (found := _open(file, facts)) is not None:
        return found
    try:
        with Spools(folder, facts) as spools:
            listing = make(spools.new)
            settled = now - status.st_mtime >= SETTLED_S and _identity(os.stat(place)) == identity  # noqa: PTH116 - as above
            if settled and isinstance(listing.pages, Pages):
                _keep(listing.pages, file)
            return listing
    except SpoolError:
        return make(ListingBuilder)


def gathered_in_file(make: Make) -> FileListing:
    """Return a listing that is not kept; a file without a name holds it, so that it takes little memory."""
    folder = user_cache_folder() / "listings"
    if not folder.is_absolute():
        return make(ListingBuilder)
    try:
        with Spools(folder, {}) as spools:
            return make(spools.new)
    except SpoolError:
        return make(ListingBuilder)


def _keep(pages: Pages, file: Path) -> None:
    """Give the file of a listing the name by which later starts find it."""
    with suppress(OSError):  # an index that cannot be kept costs time only
        pages.file.replace(file)
        pages.file = file
    sweep(file.parent, "*", _UNUSED_S, _host())


def _identity(status: os.stat_result) -> list[int]:
    """Return what another content has another of: the time of change may be set back, the last one may not."""
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _host() -> str:
    """Return how the names of this host's indexes end.

    Hosts that share a home must not replace each other's: a network file system takes the pages from those who mapped
    the file before.
    """
    return f".{_boot() or os.uname().nodename}"


def _boot() -> str:
    """Return what tells this start of the host from others; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _open(file: Path, facts: Mapping[str, Any]) -> FileListing | None:
    """Return the listing of an index if it is whole and of this manifest."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid() or not status.st_size:
                return None
            with suppress(OSError):
                os.utime(descriptor)  # in use: not swept
            return read_index(file, descriptor, facts)
        finally:
            os.close(descriptor)
    except OSError:  # none yet, or one that cannot be mapped: some file systems cannot, and memory may be short
        return None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):  # damaged: made anew
        return None
