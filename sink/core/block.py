"""A run of consecutive positions of a stream whose samples can be taken in order, and slices of them.

`store.py` makes blocks, and `shared/store.py` those of one of several sinks; `reader.py` walks them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.protocol.order import Int64s
from penstock.protocol.wire import Array


@dataclass(frozen=True, slots=True)
class Slice:
    """Samples that lie together: rows [start, stop) of `arrays`, or the listed rows when order was mixed."""

    arrays: Sequence[Array]
    rows: range | Int64s


@dataclass(slots=True)
class Block:
    """A complete run of positions [start, stop): every sample is here, or known to have failed."""

    start: int
    stop: int
    #: Positions of the samples that are here, ascending; None: all of them.
    positions: Int64s | None
    #: Number of samples that are here.
    count: int
    #: Arrays of each piece, and where its rows start in the block's row numbers (one more entry: the end).
    pieces: list[Sequence[Array]]
    offsets: list[int]
    #: Row number of each sample in position order; None: they stand in order.
    rows: Int64s | None

    def index(self, position: int) -> int:
        """Return the number of samples in this block before `position`."""
        if self.positions is None:
            return position - self.start
        return int(np.searchsorted(self.positions, position))

    def position(self, index: int) -> int:
        """Return the position of sample number `index`."""
        return self.start + index if self.positions is None else int(self.positions[index])

    def first_missing(self, low: int, high: int) -> int | None:
        """Return the first of the samples number [low, high) that is not here; None: all are."""
        del low, high
        return None

    def take(self, low: int, high: int) -> Iterator[Slice]:
        """Yield the samples number [low, high) in position order."""
        if self.rows is None:
            for piece, (start, stop) in enumerate(zip(self.offsets, self.offsets[1:], strict=False)):
                first, last = max(low, start), min(high, stop)
                if first < last:
                    yield Slice(self.pieces[piece], range(first - start, last - start))
            return
        for piece, rows in by_piece(self.rows[low:high], self.offsets):
            yield Slice(self.pieces[piece], rows)


def by_piece(rows: Int64s, offsets: Sequence[int]) -> Iterator[tuple[int, Int64s]]:
    """Yield runs of rows that lie in one piece: its number, and the rows in it; `offsets`: where each piece begins."""
    owner = np.searchsorted(offsets, rows, side="right") - 1
    edges = np.flatnonzero(np.diff(owner)) + 1
    for run in np.split(np.arange(len(rows)), edges):
        if len(run):
            piece = int(owner[run[0]])
            yield piece, rows[run] - offsets[piece]
