"""A reader that feeds a file: walks a stream's blocks in order and cuts them into whole chunks of rows.

Rows that the disk has not taken yet count against its window. `recording.py` decides when to commit.
"""

from collections import deque

from penstock.protocol.plan import StreamPlan
from penstock.sink.core.block import Block, Slice
from penstock.sink.core.reader import Consumer
from penstock.sink.core.rounds import rounds_here
from penstock.sink.core.store import Store
from penstock.sink.core.writer_jobs import Lost, RowsJob
from penstock.sink.output.layout import Layout, OutputConfig

#: Samples are handed over in jobs of about this size (bytes).
_JOB_BYTES = 4_000_000
#: Jobs that a small window holds at least: the disk has the next one while samples are made for those after it.
_JOBS = 4


class RecordingReader:
    """One stream's way into a file; `cursor` is the position before which everything was handed over."""

    def __init__(self, plan: StreamPlan, config: OutputConfig) -> None:
        """Begin at position 0."""
        self.plan, self.layout = plan, Layout.of(plan)
        #: Where it ends.
        self.total = config.epochs * plan.geometry.samples_per_epoch
        self.paced_with: list[Consumer] = []
        #: Samples that were handed over and are not written.
        self.in_flight = 0
        #: Samples handed over since the last commit.
        self.open_rows = 0
        self._shard_rows = config.shard_rows(self.layout)
        self.cursor = self._rows = 0
        #: Where the walk over the blocks stands; what it passed and was not handed over, `_count` samples.
        self._reached = self._count = 0
        self._walked: deque[tuple[Block, int]] = deque()
        #: Failures that are not committed yet, by position.
        self._lost: deque[Lost] = deque()

    def __repr__(self) -> str:
        """Show where it stands."""
        return (
            f"<RecordingReader of {self.plan.name!r} at {self.cursor} of {self.total}, {self.in_flight} on their way>"
        )

    def begin(self, position: int, rows: int) -> None:
        """Go on at a position before which `rows` samples are written."""
        self.cursor, self._rows = position, rows
        self._forget()

    def replan(self, plan: StreamPlan) -> None:
        """Go on with other batches or memory limits; positions hold."""
        self.plan = plan
        self._forget()

    def join(self, other: Consumer) -> None:
        """Keep step with a trainer: neither goes further than the other's limit."""
        other.paced_with.append(self)
        self.paced_with.append(other)

    def part(self, only: Consumer | None = None) -> None:
        """Go on without a trainer, or without all."""
        for other in [other for other in self.paced_with if only in (other, None)]:
            other.paced_with.remove(self)
            self.paced_with.remove(other)

    @property
    def window(self) -> int:
        """How many samples may be ahead of it."""
        return max(self.plan.window(), 2 * self.layout.unit)

    @property
    def done(self) -> bool:
        """Whether everything was handed over."""
        return self.cursor == self.total

    def own_limit(self, store: Store) -> int:
        """Return the position up to which samples may be made for it."""
        return min(self.total, store.reach(self.cursor, max(0, self.window - self.in_flight)))

    def limit(self, store: Store) -> int:
        """Return the lowest limit of its own and those of the trainers that it keeps step with."""
        return min([self.own_limit(store), *(other.own_limit(store) for other in self.paced_with)])

    def next(self, store: Store, piece_bytes: int) -> RowsJob | None:
        """Return the next samples, whole chunks of them but at the very end; None while they are not complete."""
        unit = self.layout.unit
        usual = min(_JOB_BYTES // self.layout.sample_bytes, self.window // _JOBS)
        most = max(unit, min(usual, self.window - self.in_flight) // unit * unit)
        if self.in_flight and self.in_flight + unit > self.window:
            return None
        self._walk(store, most)
        count = min(self._count, most, self._room(piece_bytes))
        if store.shared:
            count = rounds_here(self._walked, count, 1, 0, 1)
        if self._reached < self.total or count < self._count:
            count -= count % unit
        if count:
            return self._cut(count)
        if self._reached == self.total and not self._count:
            self.cursor = self.total  # what is left has failed
        return None

    def at_boundary(self, piece_bytes: int) -> bool:
        """Return whether a piece, or a shard, is full."""
        return not self._room(piece_bytes)

    def commit(self) -> list[Lost]:
        """Begin another piece; return the failures in this one."""
        self.open_rows = 0
        lost: list[Lost] = []
        while self._lost and (self._lost[0].position < self.cursor):
            lost.append(self._lost.popleft())
        return lost

    def _room(self, piece_bytes: int) -> int:
        """Return how many more rows the piece takes."""
        unit = self.layout.unit
        room = max(unit, piece_bytes // self.layout.sample_bytes // unit * unit) - self.open_rows
        if self._shard_rows:
            left = -self._rows % self._shard_rows
            room = min(room, left or (0 if self.open_rows else self._shard_rows))
        return max(0, room)

    def _walk(self, store: Store, wanted: int) -> None:
        while self._count < wanted and self._reached < self.total:
            block = store.blocks.get(self.plan.geometry.block_of(self._reached)[0])
            if block is None:
                return
            low = block.index(self._reached)
            self._lost += [
                Lost(position, self.plan.epoch_of(block.start), failure)
                for position, failure in store.failures(block.start)
                if position >= self._reached
            ]
            self._reached = block.stop
            if low < block.count:
                self._walked.append((block, low))
                self._count += block.count - low

    def _cut(self, count: int) -> RowsJob:
        slices: list[Slice] = []
        epochs: list[tuple[int, int]] = []
        left = count
        while left:
            block, first = self._walked.popleft()
            size = min(block.count - first, left)
            slices += block.take(first, first + size)
            epochs.append((self.plan.epoch_of(block.start), size))
            self.cursor = block.position(first + size - 1) + 1
            left -= size
            if first + size < block.count:
                self._walked.appendleft((block, first + size))
        self._count -= count
        self._rows += count
        self.open_rows += count
        self.in_flight += count
        if not self._count and self._reached == self.total:
            self.cursor = self.total
        return RowsJob(slices, count, epochs)

    def _forget(self) -> None:
        """Walk anew from the cursor."""
        self._reached, self._count = self.cursor, 0
        self._walked.clear()
        self._lost = deque(lost for lost in self._lost if lost.position < self.cursor)
