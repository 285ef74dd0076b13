"""Finds the items of a task that one request can bring, and gives their contents back in the task's order."""

from collections.abc import Sequence
from typing import TypeVar, overload

from penstock.protocol.records import Item
from penstock.sources.fetchers import Coming

#: Bytes between two items that are brought along rather than asked around: 50 ms of latency cost more. And the most
#: bytes of one request, so that decoding need not wait for all items of a task.
GAP_BYTES, MOST_BYTES = 131_072, 2_000_000

_Result = TypeVar("_Result")


def together(items: Sequence[Item]) -> list[list[int]]:
    """Return the places of the items in groups, each of which one request brings: one file's, with small gaps only.

    A whole file is a group of its own.
    """
    groups: list[list[int]] = []
    path, begin, end = "", 0, -1
    for place in sorted(range(len(items)), key=lambda place: (items[place].path, items[place].span or (-1, 0))):
        item = items[place]
        if item.span is None:
            groups.append([place])
            end = -1
            continue
        offset, length = item.span
        joins = end >= 0 and item.path == path and offset - end <= GAP_BYTES and offset + length - begin <= MOST_BYTES
        if joins:
            groups[-1].append(place)
            end = max(end, offset + length)
        else:
            groups.append([place])
            path, begin, end = item.path, offset, offset + length
    return groups


def by_file(items: Sequence[Item]) -> list[list[int]]:
    """Return the places of the items in groups: all parts of one file together, each whole file alone."""
    groups: dict[object, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(place if item.span is None else item.path, []).append(place)
    return list(groups.values())


class InPlace(Sequence[_Result]):
    """The results of groups, which are on their way, in the order of the items."""

    def __init__(self, coming: Coming[list[_Result]], groups: Sequence[Sequence[int]]) -> None:
        """Take the groups' results, and which places each group has."""
        self._coming = coming
        self._found = {
            place: (number, within) for number, group in enumerate(groups) for within, place in enumerate(group)
        }

    @property
    def waited_s(self) -> float:
        """Seconds that were spent on waiting for results."""
        return self._coming.waited_s

    def __len__(self) -> int:
        """Return how many there are, without waiting."""
        return len(self._found)

    @overload
    def __getitem__(self, place: int) -> _Result: ...
    @overload
    def __getitem__(self, place: slice) -> list[_Result]: ...
    def __getitem__(self, place: int | slice) -> _Result | list[_Result]:
        """Return one result, or some, as soon as their groups are there."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        try:
            number, within = self._found[place + len(self) if place < 0 else place]
        except KeyError:
            raise IndexError(place) from None
        return self._coming[number][within]
