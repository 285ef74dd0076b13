"""Opens HDF5 files for reading, and finds data sets in them without leaving the permitted folder.

A file may name other files anywhere on the host (external links, external storage, virtual data sets), and the HDF5
library follows them silently. So links are followed here, one by one. Parts of virtual data sets are opened by
`hdf5_parts`, never by the library, which would deliver fill values for a part that it cannot open.
"""

import errno
import importlib
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.confined_files import descriptor_path, open_regular, opened_path

try:
    import h5py as h5py  # noqa: PLC0414 - others take it from here
except ImportError as missing:
    raise SourceError("reading HDF5 needs h5py: pip install 'penstock[hdf5]'") from missing

#: Soft links that are followed on the way to a data set.
_MOST_LINKS = 16
#: Largest compressed chunk (bytes when unpacked). The library unpacks a chunk as a whole, and no other thread runs
#: meanwhile: 64 MiB of gzip take 0.2 to 0.6 s.
MOST_CHUNK_BYTES = 64 << 20
#: Messages of the HDF5 library, and clearer ones.
_REASONS = {
    "signature not found": "not an HDF5 file",
    "truncated file": "truncated: copy or write it again",
    "unable to lock": "another process is writing it: read it when that is done",
}
#: Errors that say that this process, or this host, has too many files open.
TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


class TooManyOpenError(SourceError):
    """A file cannot be opened because too many are open; closing some helps."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a file's data may lie, and how messages name the file."""

    #: How messages name the file.
    name: str
    #: Real path of the folder that everything must lie below; None: anywhere.
    top: str | None
    #: How the user can permit other places.
    remedy: str = "set allow_outside = true to permit it"

    def permits(self, place: str) -> bool:
        """Return whether data may lie in the file of this real path."""
        return self.top is None or place.startswith(self.top.rstrip("/") + "/")


def open_hdf5(place: str, name: str, *, cache_bytes: int | None = None) -> h5py.File:
    """Open the file at `place` for reading; `name` stands in messages. Raises SourceError that says why it cannot be.

    `cache_bytes` is how many unpacked chunks each data set keeps; default: HDF5's own.
    """
    try:
        descriptor = open_regular(place, lambda _: None)
    except FileNotFoundError as error:
        raise SourceError(f"{name}: no such file") from error
    except OSError as error:
        raise _cannot_open(name, error) from error
    try:
        return open_descriptor(descriptor, name, cache_bytes=cache_bytes)
    finally:
        os.close(descriptor)


def open_descriptor(descriptor: int, name: str, *, cache_bytes: int | None = None) -> h5py.File:
    """Open the HDF5 file of a descriptor, which stays the caller's; otherwise as `open_hdf5`."""
    place = descriptor_path(descriptor)
    try:
        return h5py.File(place, "r") if cache_bytes is None else h5py.File(place, "r", rdcc_nbytes=cache_bytes)
    except (OSError, RuntimeError, ValueError) as error:
        raise _cannot_open(name, error) from error


def _cannot_open(name: str, error: Exception) -> SourceError:
    text = str(error)
    if getattr(error, "errno", None) in TOO_MANY_OPEN or any(f"errno = {code}," in text for code in TOO_MANY_OPEN):
        return TooManyOpenError(f"{name}: cannot be opened: too many open files: raise the limit (ulimit -n)")
    reason = next((words for sign, words in _REASONS.items() if sign in text), "cannot be opened")
    return SourceError(f"{name}: not a readable HDF5 file: {reason} ({error})")


def folder_of(file: h5py.File) -> str:
    """Return the real path of the folder that an open file lies in."""
    return os.path.dirname(opened_path(file.id.get_vfd_handle()))  # noqa: PTH120 - as text


def locate(file: h5py.File, name: str, bounds: Bounds) -> h5py.Dataset | None:
    """Return a data set whose own storage may be read; None if there is none of that name.

    Parts of a virtual data set are not looked at: `hdf5_rows.find` does that. Raises SourceError if the data set leads
    out of the bounds, or if it cannot be unpacked here.
    """
    where = f"{bounds.name}/{name.strip('/')}"
    data = _follow(file, name, bounds, where)
    if data is None:
        return None
    if data.external and bounds.top is not None:
        raise SourceError(f"{where} holds data of {data.external[0][0]}, another file: {bounds.remedy}")
    check_filters(data, where)
    _check_chunks(data, where)
    return data


def check_filters(data: h5py.Dataset, where: str) -> None:
    """Raise SourceError if the data set is compressed by a filter that is not installed."""
    creation = data.id.get_create_plist()
    for index in range(creation.get_nfilters()):
        code, _, _, label = creation.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            with suppress(ImportError):
                importlib.import_module("hdf5plugin")  # registers its filters; most files need none of them
            if not h5py.h5z.filter_avail(code):
                named = f" ({label.decode(errors='replace')})" if label else ""
                raise SourceError(
                    f"{where}: compressed by filter {code}{named}, which is not here: pip install hdf5plugin, or write "
                    "it with another compression"
                )


def chunk_bytes(data: h5py.Dataset) -> int:
    """Return the size (bytes) of a chunk that is unpacked as a whole; 0 if the data set is not compressed."""
    if not data.chunks or not data.id.get_create_plist().get_nfilters():
        return 0
    size: int = math.prod(data.chunks) * data.dtype.itemsize
    return size


def _check_chunks(data: h5py.Dataset, where: str) -> None:
    size = chunk_bytes(data)
    if size > MOST_CHUNK_BYTES:
        raise SourceError(
            f"{where}: compressed chunks of shape {data.chunks} are {size / 1e6:,.0f} MB each when unpacked, and at "
            f"most {MOST_CHUNK_BYTES / 1e6:,.0f} MB are read: write it again with smaller chunks (such as "
            "h5repack -l CHUNK=…)"
        )


def names_of(file: h5py.File) -> str:
    """Return the names at a file's root, for messages."""
    return ", ".join(hard_links(file)) or "nothing"


def hard_links(group: h5py.Group) -> list[str]:
    """Return the names in a group (a file's root is one) that lead nowhere else, in the file's order."""
    return [str(key) for key in group if isinstance(group.get(str(key), getlink=True), h5py.HardLink)]


def _follow(file: h5py.File, name: str, bounds: Bounds, where: str) -> h5py.Dataset | None:
    """Follow the links to a data set: hard and soft ones, and external ones where the bounds permit that."""
    place: Any = file
    rest = list(PurePosixPath(name.strip("/")).parts)
    followed = 0
    while rest:
        link = place.get(rest[0], getlink=True) if isinstance(place, h5py.Group) else None
        if isinstance(link, h5py.SoftLink):
            followed += 1
            if followed > _MOST_LINKS:
                raise SourceError(f"{where}: soft links lead on and on")
            place = file if link.path.startswith("/") else place
            rest = [*PurePosixPath(link.path.strip("/")).parts, *rest[1:]]
            continue
        if isinstance(link, h5py.ExternalLink):
            place = _external(place, link, bounds, where)
        else:
            place = place.get(rest[0]) if link is not None else None
        rest = rest[1:]
    return place if isinstance(place, h5py.Dataset) else None


def _external(place: Any, link: Any, bounds: Bounds, where: str) -> Any:  # noqa: ANN401 - of h5py
    if bounds.top is not None:
        raise SourceError(f"{where} leads into another file, {link.filename}: {bounds.remedy}")
    target = os.path.join(folder_of(place.file), link.filename)  # noqa: PTH118 - as HDF5 does it
    if not os.path.isfile(target):  # noqa: PTH113
        raise SourceError(f"{where} leads into {link.filename}, and there is no such file")
    return open_hdf5(target, f"{where} ({link.filename})").get(link.path)
