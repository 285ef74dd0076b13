"""Keeps the listing of a large manifest in a file that later starts map into memory, so that they take no time.

The file lies in `penstock/listings` in the user's cache folder, and all services of the host share its pages. It counts
only for a manifest with the same inode, size and times of change, and for the same columns; and only until the host is
started anew, so that it need not be synced: a crash of the host may tear it. Hosts that share a home have an index
each. Without a folder that can be written, every start reads the manifest.
"""

import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from penstock.protocol.storage.user_cache import SETTLED_S, sweep, user_cache_folder, write_whole
from penstock.sources.file_listing import FileListing

#: How an index begins; counted up when the same manifest would get another one.
_MAGIC = b"penstock listing 1\n"
#: Bytes of the header with its padding are a multiple of this.
_ALIGN = 4096
#: A manifest with fewer bytes is read so fast that an index would only take room.
LEAST_BYTES = 4_000_000
#: After so long (s) without a start that used it, an index of another host, or of another start of it, is removed.
_UNUSED_S = 90 * 86400.0
#: After so many items, the pages that they touched are given back: a look-up may map 2 MB around it, so that all of a
#: large listing would become resident.
_GIVE_BACK = 32


class Pages:
    """The mapped pages of an index."""

    def __init__(self, mapped: mmap.mmap) -> None:
        """Take the mapping of a whole file."""
        self.mapped, self._used = mapped, 0

    def used(self) -> None:
        """Say that an item was looked up."""
        self._used += 1
        if self._used % _GIVE_BACK == 0:
            self.give_back()

    def give_back(self) -> None:
        """Let go of all pages; those that are needed again come from the kernel's cache."""
        with suppress(OSError, ValueError):
            self.mapped.madvise(mmap.MADV_DONTNEED)


def indexed(place: bytes, told: Mapping[str, Any], make: Callable[[], FileListing]) -> FileListing:
    """Return the listing of the manifest at `place`, from its index or made; `told` is all that decides it."""
    status = os.stat(place)  # noqa: PTH116 - bytes
    folder = user_cache_folder()
    if status.st_size < LEAST_BYTES or not folder.is_absolute():
        return make()
    real = os.fsdecode(os.path.realpath(place))
    name = hashlib.sha256(json.dumps([real, dict(told)], sort_keys=True).encode(errors="surrogateescape")).hexdigest()
    file = folder / "listings" / f"{name}{_host()}"
    identity, now = _identity(status), time.time()
    if (found := _open(file, identity)) is not None:
        return found
    listing = make()
    if listing.weights is not None or listing.cells is not None or now - status.st_mtime < SETTLED_S:
        return listing
    if _identity(os.stat(place)) != identity:  # noqa: PTH116 - as above
        return listing
    with suppress(OSError):  # an index that cannot be written costs time only
        _write(file, identity, listing)
        return _open(file, identity) or listing
    return listing


def _identity(status: os.stat_result) -> list[int]:
    """Return what another content has another of: the time of change may be set back, the last one may not."""
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _write(file: Path, identity: list[int], listing: FileListing) -> None:
    """Write an index so that other processes see it whole or not at all; only its owner may read it."""
    header = {
        "identity": identity,
        "boot": _boot(),
        "kind": listing.kind,
        "classes": list(listing.classes),
        "digest": listing.digest,
        "items": len(listing),
        "path_bytes": len(listing.paths),
    }
    start = _MAGIC + json.dumps(header).encode() + b"\n"
    arrays = ((listing.starts, "<i8"), (listing.labels, "<i4"))
    columns = (np.ascontiguousarray(numbers.astype(kind, copy=False)).data for numbers, kind in arrays)
    write_whole(file, chain([start.ljust(-(-len(start) // _ALIGN) * _ALIGN)], columns, [listing.paths]))
    sweep(file.parent, "*", _UNUSED_S, _host())


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


def _open(file: Path, identity: list[int]) -> FileListing | None:
    """Return the listing of an index if it is whole and of this manifest."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid() or not status.st_size:
                return None
            mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            with suppress(OSError):
                os.utime(descriptor)  # in use: not swept
        finally:
            os.close(descriptor)
        return _listing(mapped, identity)
    except OSError:  # none yet, or one that cannot be mapped: some file systems cannot, and memory may be short
        return None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):  # damaged: made anew
        return None


def _listing(mapped: mmap.mmap, identity: list[int]) -> FileListing | None:
    end = mapped.find(b"\n", len(_MAGIC)) + 1
    if mapped[: len(_MAGIC)] != _MAGIC or not end:
        return None
    header = json.loads(mapped[len(_MAGIC) : end])
    items, path_bytes = int(header["items"]), int(header["path_bytes"])
    begin = -(-end // _ALIGN) * _ALIGN
    labels_at, paths_at = begin + 8 * (items + 1), begin + 8 * (items + 1) + 4 * items
    if header["identity"] != identity or header["boot"] != _boot() or len(mapped) != paths_at + path_bytes:
        return None
    listing = FileListing(
        str(header["kind"]),
        tuple(map(str, header["classes"])),
        memoryview(mapped)[paths_at:],
        np.frombuffer(mapped, "<i8", items + 1, begin),
        np.frombuffer(mapped, "<i4", items, labels_at),
        str(header["digest"]),
    )
    return replace(listing, pages=Pages(mapped))
