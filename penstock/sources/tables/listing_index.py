"""Keeps the listing of a large manifest in a file that later starts map into memory, so that they take no time.

The file lies in `penstock/listings` in the user's cache folder, and all services of the host share its pages. It counts
only for a manifest with the same inode, size and times of change, and for the same columns; and only until the host is
started anew, so that it need not be synced: a crash of the host may tear it. Damage by the disk is noticed where the
index is used: each block bears a checksum. Hosts that share a home have an index
each. Without a folder that can be written, every start reads the manifest.
"""

import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.user_cache import SETTLED_S, sweep, user_cache_folder, write_whole
from penstock.sources.file_listing import FileListing
from penstock.sources.tables.block_sums import BLOCK_BYTES, Checked, sums_of

#: How an index begins; counted up when the same manifest would get another one.
_MAGIC = b"penstock listing 2\n"
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
    """The mapped pages of an index, whose blocks are compared with their checksums when they are used first."""

    def __init__(self, file: Path, mapped: mmap.mmap, starts: Checked, labels: Checked, paths: Checked) -> None:
        """Take the mapping of a whole file, and its parts."""
        self._file, self._mapped, self._used = file, mapped, 0
        self._starts, self._labels, self._paths = starts, labels, paths

    def check(self, index: int) -> None:
        """Raise SourceError if where an item's path stands, or its label, is damaged."""
        if not (self._starts.is_whole(8 * index, 8 * index + 16) and self._labels.is_whole(4 * index, 4 * index + 4)):
            self._refuse()

    def check_path(self, begin: int, end: int) -> None:
        """Raise SourceError if a path is damaged."""
        if not self._paths.is_whole(begin, end):
            self._refuse()

    def check_labels(self, items: int) -> None:
        """Raise SourceError if any label is damaged."""
        if not self._labels.is_whole(0, 4 * items):
            self._refuse()

    def used(self) -> None:
        """Say that an item was looked up."""
        self._used += 1
        if self._used % _GIVE_BACK == 0:
            self.give_back()

    def give_back(self) -> None:
        """Let go of all pages; those that are needed again come from the kernel's cache."""
        with suppress(OSError, ValueError):
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def _refuse(self) -> NoReturn:
        with suppress(OSError):
            self._file.unlink()
        raise SourceError(
            f"{self._file}: this kept listing of a manifest is damaged, as by a failing disk, and was removed: start "
            "again, so that the manifest is read anew"
        )


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
    columns = [np.ascontiguousarray(numbers.astype(kind, copy=False)).view(np.uint8).data for numbers, kind in arrays]
    body = [*columns, memoryview(listing.paths)]
    sums = np.concatenate([sums_of(part) for part in body])
    head = start.ljust(-(-len(start) // _ALIGN) * _ALIGN)
    write_whole(file, [head, *body, sums.data, sums_of(sums.view(np.uint8).data).data, sums_of(head).data])
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
        return _listing(file, mapped, identity)
    except OSError:  # none yet, or one that cannot be mapped: some file systems cannot, and memory may be short
        return None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):  # damaged: made anew
        return None


def _listing(file: Path, mapped: mmap.mmap, identity: list[int]) -> FileListing | None:
    end = mapped.find(b"\n", len(_MAGIC)) + 1
    if mapped[: len(_MAGIC)] != _MAGIC or not end:
        return None
    header = json.loads(mapped[len(_MAGIC) : end])
    items, path_bytes = int(header["items"]), int(header["path_bytes"])
    head, view = -(-end // _ALIGN) * _ALIGN, memoryview(mapped)
    places, sums = _places(head, (8 * (items + 1), 4 * items, path_bytes), len(mapped), view)
    if header["identity"] != identity or header["boot"] != _boot() or not places:
        return None
    starts, labels, paths = (Checked(view[begin:end], mine) for (begin, end), mine in zip(places, sums, strict=True))
    listing = FileListing(
        str(header["kind"]),
        tuple(map(str, header["classes"])),
        view[places[2][0] : places[2][1]],
        np.frombuffer(mapped, "<i8", items + 1, places[0][0]),
        np.frombuffer(mapped, "<i4", items, places[1][0]),
        str(header["digest"]),
    )
    return replace(listing, pages=Pages(file, mapped, starts, labels, paths))


def _places(
    head: int, sizes: Sequence[int], size: int, view: memoryview
) -> tuple[list[tuple[int, int]], list[npt.NDArray[np.uint64]]]:
    """Return where each part of an index lies, and the sums of its blocks; none if the index is not whole."""
    ends = list(accumulate(sizes, initial=head))
    blocks = [-(-each // BLOCK_BYTES) for each in sizes]
    at = ends[-1]
    table = view[at : at + 8 * sum(blocks)]
    own = [sums_of(table), sums_of(view[:head])]
    if size != at + len(table) + sum(each.nbytes for each in own) or min(sizes) < 0:
        return [], []
    if bytes(view[at + len(table) :]) != b"".join(each.tobytes() for each in own):
        return [], []
    sums = np.frombuffer(table, "<u8")
    return list(pairwise(ends)), np.split(sums, np.cumsum(blocks)[:-1])
