"""The order in which a file's rows become batches: runs, mix windows, rounds and ranks. Pure arithmetic, O(1) memory.

A *run* is consecutive rows of the file, whole chunks of them, so that it is read in one go. An epoch's runs stand
in the order of a keyed permutation; *windows* of several runs have their rows permuted together, so that a batch
holds rows of many runs. Positions count rows, endlessly, as a live stream's count samples. A *round* is
`world_size` batches that stand together; each rank takes its own.

The last run is shorter where runs do not divide the rows. It stands at a place that is drawn, and the full runs are
permuted among themselves: so any position is found without looking at the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from penstock.protocol.order import Int64s, permute

_RUNS, _WINDOW, _TAIL = (
    3,
    4,
    5,
)  # what a permutation is for: keeps the keys of the uses apart (1 and 2: `protocol.order`)


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive places of an epoch."""

    start: int
    stop: int
    #: The rows of the file that stand there, in any order: ascending.
    rows: Int64s
    #: Where in `rows` the row of each place is; None: in order.
    order: Int64s | None


@dataclass(frozen=True, slots=True)
class RowOrder:
    """The order of a file's rows over epochs."""

    seed: int
    #: Rows of each epoch of the file; epochs beyond these begin with the first again.
    sizes: tuple[int, ...]
    #: Rows in a run, and runs in a window.
    run_rows: int
    window_runs: int
    shuffle: bool

    def epoch_of(self, position: int) -> int:
        """Return the epoch that a position is in."""
        turns, place = divmod(position, sum(self.sizes))
        return turns * len(self.sizes) + sum(stop <= place for stop in accumulate(self.sizes))

    def epoch_span(self, epoch: int) -> tuple[int, int]:
        """Return the positions [start, stop) of an epoch."""
        turns, index = divmod(epoch, len(self.sizes))
        start = turns * sum(self.sizes) + sum(self.sizes[:index])
        return start, start + self.sizes[index]

    def windows(self, epoch: int, place: int) -> Iterator[Window]:
        """Yield the windows of an epoch from the one that holds `place` on."""
        index = epoch % len(self.sizes)
        size, base = self.sizes[index], sum(self.sizes[:index])
        full, rest = divmod(size, self.run_rows)
        tail = self._tail(epoch, full) if rest else full
        slots = full + (rest > 0)
        for first in range(
            self._slot(place, tail, rest) // self.window_runs * self.window_runs, slots, self.window_runs
        ):
            last = min(first + self.window_runs, slots)
            start, stop = (slot * self.run_rows - (slot > tail) * (self.run_rows - rest) for slot in (first, last))
            runs = self._runs(epoch, first, last, tail, full)
            rows = (runs[:, np.newaxis] * self.run_rows + np.arange(self.run_rows)).reshape(-1)
            rows = rows[rows < size] + base
            order = None
            if self.shuffle:
                places = np.arange(len(rows), dtype=np.int64)
                order = permute(places, len(rows), self.seed, _WINDOW, epoch, first // self.window_runs)
            yield Window(start, stop, rows, order)

    def _tail(self, epoch: int, full: int) -> int:
        """Return the slot of the run that is shorter than the others."""
        if not self.shuffle:
            return full
        return int(permute(np.zeros(1, np.int64), full + 1, self.seed, _TAIL, epoch)[0])

    def _slot(self, place: int, tail: int, rest: int) -> int:
        """Return the slot of the run that stands at a place."""
        before = tail * self.run_rows
        return (
            place // self.run_rows
            if place < before + rest
            else tail + (rest > 0) + (place - before - rest) // self.run_rows
        )

    def _runs(self, epoch: int, first: int, last: int, tail: int, full: int) -> Int64s:
        """Return the runs of some slots, ascending."""
        slots = np.arange(first, last, dtype=np.int64)
        if not self.shuffle:
            return slots
        runs = np.full(len(slots), full, np.int64)
        usual = slots != tail
        numbers = slots[usual] - (slots[usual] > tail)
        if len(numbers):
            runs[usual] = permute(numbers, full, self.seed, _RUNS, epoch)
        return np.sort(runs)


@dataclass(frozen=True, slots=True)
class Rounds:
    """How one rank's batches are cut from an epoch, or from the rest of one: as the sink does it."""

    #: Positions from where reading began to the epoch's end.
    size: int
    batch_size: int
    rank: int
    world_size: int
    drop_remainder: bool

    @property
    def taken(self) -> int:
        """Samples of a full round."""
        return self.batch_size * self.world_size

    @property
    def last(self) -> int:
        """Samples of the last round if that is short; 0: it is dropped, or there is none."""
        rest = self.size % self.taken
        return 0 if rest < self.world_size or self.drop_remainder else rest

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.size // self.taken + (self.last > 0)

    @property
    def dropped(self) -> int:
        """Samples at the end of an epoch that no rank gets."""
        return self.size % self.taken - self.last

    def mine(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Return which of the places [start, stop), counted from where reading began, this rank gets."""
        places = np.arange(start, stop, dtype=np.int64)
        full = self.size // self.taken * self.taken
        low, high = self._share(self.taken)
        inside = places % self.taken
        mine = (inside >= low) & (inside < high) & (places < full)
        if self.last:
            low, high = self._share(self.last)
            mine |= (places >= full + low) & (places < full + high)
        return mine

    def batch(self, number: int) -> tuple[int, int]:
        """Return the number of this rank's samples in a batch, and the place after its round."""
        full = self.size // self.taken
        if number < full:
            return self.batch_size, (number + 1) * self.taken
        low, high = self._share(self.last)
        return high - low, full * self.taken + self.last

    def _share(self, taken: int) -> tuple[int, int]:
        return self.rank * taken // self.world_size, (self.rank + 1) * taken // self.world_size
