"""HDF5 files opened for reading: owns why one cannot be, where its links and parts may lead, and who unpacks it.

A file may name other files (external links, external storage, virtual data sets) anywhere on the host, and HDF5 follows
them without a word; so links are walked here, one by one, and nothing is opened before it is known to be a regular file
below the folder that is permitted. Refuses to know what a file's data sets mean.
"""

import importlib
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from penstock.protocol.errors import SourceError

try:
    import h5py as h5py  # noqa: PLC0414 - others take it from here
except ImportError as missing:
    raise SourceError("reading HDF5 needs h5py: pip install 'penstock[hdf5]'") from missing

#: Soft links that are followed on the way to a data set, and virtual data sets within each other.
_MOST_LINKS, _MOST_NESTED = 16, 4
#: What the HDF5 library says, and what is meant.
_REASONS = {
    "signature not found": "not an HDF5 file",
    "truncated file": "truncated: copy or write it again",
    "unable to lock": "another process is writing it: read it when that is done",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a file's data may lie, and how messages name it."""

    #: How messages name the file.
    name: str
    #: Real path of the folder that everything must lie below; None: anywhere.
    top: str | None
    #: How that can be permitted.
    remedy: str = "set allow_outside = true to permit it"

    def permits(self, place: str) -> bool:
        """Return whether data may lie in the file of this real path."""
        return self.top is None or place.startswith(self.top.rstrip("/") + "/")


def open_hdf5(place: str, name: str, *, cache_bytes: int | None = None) -> h5py.File:
    """Open the file at `place` for reading; `name` stands in messages. Raises SourceError that says why it cannot be.

    `cache_bytes` is how many unpacked chunks each data set keeps; default: HDF5's own.
    """
    try:
        return h5py.File(place, "r") if cache_bytes is None else h5py.File(place, "r", rdcc_nbytes=cache_bytes)
    except FileNotFoundError as error:
        raise SourceError(f"{name}: no such file") from error
    except (OSError, RuntimeError, ValueError) as error:
        text = str(error)
        reason = next((words for sign, words in _REASONS.items() if sign in text), "cannot be opened")
        raise SourceError(f"{name}: not a readable HDF5 file: {reason} ({error})") from error


def find(file: h5py.File, name: str, bounds: Bounds, nested: int = 0) -> h5py.Dataset | None:
    """Return a data set that may be read, whose filters are known; None if there is none of that name.

    Raises SourceError if it leads out of the bounds, if a part is missing, or if nobody can unpack it.
    """
    where = f"{bounds.name}/{name.strip('/')}"
    data = _walk(file, name, bounds, where)
    if data is None:
        return None
    if data.external and bounds.top is not None:
        raise SourceError(f"{where} holds data of {data.external[0][0]}, another file: {bounds.remedy}")
    check_filters(data, where)
    if data.is_virtual:
        if nested == _MOST_NESTED:
            raise SourceError(f"{where}: virtual data sets nested deeper than {_MOST_NESTED}")
        sources = dict.fromkeys((part.file_name, part.dset_name) for part in data.virtual_sources())
        for part, inner in sources:
            _check_part(data, part, inner, Bounds(bounds.name, bounds.top, bounds.remedy), where, nested)
    return data


def part_place(data: h5py.Dataset, part: str) -> str:
    """Return the real path of a virtual data set's part: names are relative to the file, and have two % for one."""
    own: str = os.path.realpath(data.file.filename)
    if part == ".":
        return own
    return os.path.realpath(os.path.join(os.path.dirname(own), part.replace("%%", "%")))  # noqa: PTH118, PTH120


def check_filters(data: h5py.Dataset, where: str) -> None:
    """Raise SourceError if the data set is compressed in a way that nobody here can unpack."""
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


def names_of(file: h5py.File) -> str:
    """Return what a file holds at its root, for messages."""
    return ", ".join(hard_links(file)) or "nothing"


def hard_links(group: h5py.Group) -> list[str]:
    """Return the names in a group (a file's root is one) that lead nowhere else, in the file's order."""
    return [str(key) for key in group if isinstance(group.get(str(key), getlink=True), h5py.HardLink)]


def _walk(file: h5py.File, name: str, bounds: Bounds, where: str) -> h5py.Dataset | None:
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
    target = os.path.join(os.path.dirname(place.file.filename), link.filename)  # noqa: PTH118, PTH120 - as HDF5 does it
    if not os.path.isfile(target):  # noqa: PTH113
        raise SourceError(f"{where} leads into {link.filename}, and there is no such file")
    return open_hdf5(target, f"{where} ({link.filename})").get(link.path)


def _check_part(data: h5py.Dataset, part: str, inner: str, bounds: Bounds, where: str, nested: int) -> None:
    """Raise SourceError if a part of a virtual data set is not there (it would read as zeros), or lies elsewhere."""
    place = part_place(data, part)
    if part != "." and not bounds.permits(place):
        raise SourceError(f"{where} holds data of {part}, outside the root: {bounds.remedy}")
    if not os.path.isfile(place):  # noqa: PTH113
        raise SourceError(f"{where} holds data of {part}, and there is no such file beside it")
    with open_hdf5(place, f"{bounds.name} ({part})") as file:
        found = find(file, inner, Bounds(f"{bounds.name} ({part})", bounds.top, bounds.remedy), nested + 1)
        if found is None:
            raise SourceError(f"{where} holds data of {part}, which has no data set {inner!r}: write it again")
        for mapped in data.virtual_sources():
            if (mapped.file_name, mapped.dset_name) == (part, inner) and _reaches_beyond(mapped, found):
                raise SourceError(f"{where} holds more of {part} than there is ({found.shape}): write it again")


def _reaches_beyond(mapped: Any, data: h5py.Dataset) -> bool:  # noqa: ANN401 - of h5py
    """Return whether a part's data set is smaller than what is taken of it: that would read as zeros."""
    if mapped.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        return bool(data.size < mapped.vspace.get_select_npoints())
    taken = row_range(mapped.src_space)
    return taken is not None and taken[1] > data.shape[0]


def row_range(space: Any) -> tuple[int, int] | None:  # noqa: ANN401 - of h5py
    """Return the rows [start, stop) that a selection takes, if it is whole rows side by side; else None."""
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS:
        return None
    try:
        start, last = space.get_select_bounds()
    except ValueError:  # a selection without an end
        return None
    sides = [high - low + 1 for low, high in zip(start, last, strict=True)]
    inner = list(space.get_simple_extent_dims())[1:]
    together = sides[1:] == inner and math.prod(sides) == space.get_select_npoints()
    return (int(start[0]), int(last[0]) + 1) if together else None


def stored_sets(data: h5py.Dataset, bounds: Bounds, part: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield what holds a data set's rows, as (part, data set): itself, or of a virtual one all that it is made of.

    `part` is the real path of a part's file, empty for the data set itself. Each is open until the next is asked for.
    Raises SourceError, as `find` does.
    """
    if not data.is_virtual:
        yield part, data
        return
    for name, inner in dict.fromkeys((mapped.file_name, mapped.dset_name) for mapped in data.virtual_sources()):
        named = f"{bounds.name} ({name})"
        place = part_place(data, name)
        with open_hdf5(place, named) as file:
            found = find(file, inner, Bounds(named, bounds.top, bounds.remedy))
            if found is None:
                raise SourceError(f"{named}: no data set {inner!r}: write it again")
            yield from stored_sets(found, bounds, place)
