"""Pieces of a task: the samples of some of its items, as one result brought them."""

from collections.abc import Collection, Iterator, Sequence

from penstock.protocol.wire import Array

#: Offsets of items in their task, and the fields of their samples: by item, then by patch.
Piece = tuple[Sequence[int], Sequence[Array]]


def without(piece: Piece, covered: Collection[int], patches: int) -> Piece | None:
    """Return a piece without the samples of the `covered` items; None if nothing is left."""
    alive, arrays = piece
    places = [place for place, offset in enumerate(alive) if offset not in covered]
    rows = [place * patches + patch for place in places for patch in range(patches)]
    return ([alive[place] for place in places], [array[rows] for array in arrays]) if places else None


def runs(piece: Piece, patches: int) -> Iterator[Piece]:
    """Yield a piece in parts whose items follow each other without gaps."""
    alive, arrays = piece
    start = 0
    for stop in range(1, len(alive) + 1):
        if stop == len(alive) or alive[stop] != alive[stop - 1] + 1:
            yield alive[start:stop], [array[start * patches : stop * patches] for array in arrays]
            start = stop


def first_item(piece: Piece) -> int:
    """Return the offset of a piece's first item."""
    return piece[0][0]
