"""Describes which rows of a virtual data set come from which part, as pure arithmetic over HDF5's selections.

Most virtual data sets put whole rows of one part after whole rows of another. Any other regular arrangement
(interleaved rows, a part for each channel) is described by the indices on each axis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SourceError

Indices = npt.NDArray[np.int64]

#: Most rows of a part that is not whole rows side by side: their indices are held in memory.
MOST_SCATTERED = 10_000_000


@dataclass(frozen=True, slots=True)
class Mapping:
    """Elements of a virtual data set that come from one part."""

    #: The part's file as the virtual data set names it ("." is its own file), and the data set in it.
    file: str
    inner: str
    #: Rows [start, stop) of the virtual data set, if they are whole and side by side.
    rows: tuple[int, int] | None
    #: Indices on each axis of the virtual data set; empty where `rows` says it all.
    into: tuple[Indices, ...]
    #: The part's rows [start, stop) if they are whole and side by side; None: all of the part, or as `source` says.
    taken: tuple[int, int] | None
    #: Indices on each axis of the part, where they are not whole rows side by side.
    source: tuple[Indices, ...]
    #: Shape that the part's data set must have at least; None: all of it is taken.
    least: tuple[int, ...] | None
    #: How many elements there are.
    elements: int


def mappings_of(data: h5py.Dataset, where: str) -> list[Mapping]:
    """Return the mappings of a virtual data set in the file's order, read once.

    Raises SourceError for what cannot be confined: names with a placeholder (HDF5 fills in numbers when it reads) and
    selections without an end; and for selections that are neither rectangular nor whole rows.
    """
    return [_mapping(each, where) for each in data.virtual_sources()]


def _mapping(each: Any, where: str) -> Mapping:  # noqa: ANN401 - of h5py
    _check_fixed(each, where)
    into, source = each.vspace, each.src_space
    whole = source.get_select_type() == h5py.h5s.SEL_ALL
    rows, taken = _whole_rows(into), None if whole else _whole_rows(source)
    return Mapping(
        file=each.file_name.replace("%%", "%"),
        inner=each.dset_name.replace("%%", "%"),
        rows=rows,
        into=() if rows else _indices(into, where),
        taken=taken,
        source=() if whole or taken else _indices(source, where),
        least=None if whole else tuple(int(high) + 1 for high in source.get_select_bounds()[1]),
        elements=int(into.get_select_npoints()),
    )


def in_order(mappings: Sequence[Mapping], count: int, where: str) -> list[Mapping] | None:
    """Return the mappings in the order of their rows if they are runs of whole rows, without overlap; else None.

    Raises SourceError if rows of `count` belong to no part: HDF5 would deliver its fill value for them.
    """
    ordered = sorted((each for each in mappings if each.rows), key=lambda each: each.rows or (0, 0))
    if len(ordered) < len(mappings):
        return None
    at = 0
    for start, stop in (each.rows for each in ordered if each.rows):
        if start < at:
            return None
        if start > at:
            raise gap(where, at, start)
        at = stop
    if at < count:
        raise gap(where, at, count)
    return ordered


def gap(where: str, start: int, stop: int) -> SourceError:
    """Return the error for rows that belong to no part."""
    return SourceError(
        f"{where}: rows {start} to {stop - 1} belong to no part, and would be read as fill values: write it again with "
        "all its parts"
    )


def _check_fixed(each: Any, where: str) -> None:  # noqa: ANN401 - of h5py
    for name in (each.file_name, each.dset_name):
        if "%b" in name.replace("%%", ""):
            raise SourceError(
                f"{where}: its parts are named by a pattern, {name!r}, and which files it leads to shows only while "
                "they are read: write it again with the name of each part"
            )
    if any(_is_endless(space) for space in (each.vspace, each.src_space)):
        raise SourceError(
            f"{where} holds data of {each.file_name} by a selection without an end: write it again with the number of "
            "rows of each part"
        )


def _is_endless(space: Any) -> bool:  # noqa: ANN401 - of h5py
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return False
    return any(int(number) >= h5py.h5s.UNLIMITED for numbers in space.get_regular_hyperslab() for number in numbers)


def _whole_rows(space: Any) -> tuple[int, int] | None:  # noqa: ANN401 - of h5py
    """Return the rows [start, stop) that a selection takes, if it is whole rows side by side; else None."""
    shape = tuple(space.get_simple_extent_dims())
    kind = space.get_select_type()
    if kind == h5py.h5s.SEL_ALL and shape:
        return 0, int(shape[0])
    if kind != h5py.h5s.SEL_HYPERSLABS:
        return None
    start, last = space.get_select_bounds()
    sides = [int(high) - int(low) + 1 for low, high in zip(start, last, strict=True)]
    together = sides[1:] == list(shape[1:]) and math.prod(sides) == space.get_select_npoints()
    return (int(start[0]), int(last[0]) + 1) if together else None


def _indices(space: Any, where: str) -> tuple[Indices, ...]:  # noqa: ANN401 - of h5py
    """Return the indices that a selection takes on each axis. Raises SourceError if it is no such product."""
    shape = [int(side) for side in space.get_simple_extent_dims()]
    kind = space.get_select_type()
    if kind == h5py.h5s.SEL_ALL:
        axes = tuple(np.arange(side) for side in shape)
    elif kind == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        start, stride, count, block = space.get_regular_hyperslab()
        if max(int(number) for number in (*count, *block)) > MOST_SCATTERED:
            raise unknown(where)
        axes = tuple(
            (low + step * np.arange(times)[:, np.newaxis] + np.arange(side)).reshape(-1)
            for low, step, times, side in zip(start, stride, count, block, strict=True)
        )
    elif kind == h5py.h5s.SEL_HYPERSLABS and space.get_select_hyper_nblocks() <= MOST_SCATTERED:
        blocks = np.asarray(space.get_select_hyper_blocklist(), np.int64)
        if (blocks[:, 0, 1:] != 0).any() or (blocks[:, 1, 1:] != np.array(shape[1:]) - 1).any():
            raise unknown(where)
        rows = np.concatenate([np.arange(low, high + 1) for low, high in blocks[:, :, 0].tolist()])
        axes = (np.unique(rows), *(np.arange(side) for side in shape[1:]))
    else:
        raise unknown(where)
    if len(axes[0]) > MOST_SCATTERED or math.prod(map(len, axes)) != space.get_select_npoints():
        raise unknown(where)
    return tuple(axis.astype(np.int64) for axis in axes)


def unknown(where: str) -> SourceError:
    """Return the error for parts in an arrangement that cannot be read."""
    return SourceError(
        f"{where}: its parts are arranged in a way that is not known here: write it again, so that each part holds "
        "whole rows, side by side"
    )
