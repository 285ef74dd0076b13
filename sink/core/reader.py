"""One trainer's place in a stream: walks the blocks in order and cuts rounds and batches from them.

A *round* is `world_size` batches that belong together; each rank takes its own, so that all ranks get equally many.
The last round of an epoch may be short: its samples are shared out evenly. Readers are independent of each other: two
ranks, or two jobs, are two readers over the same store. `store.py` makes the blocks.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.messages import MAX_BATCHES, Batch, EpochEnd, Subscribe
from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.stats import FeedWaits
from penstock.protocol.wire import MAX_FRAMES, Array, frames_of
from penstock.sink.core.block import Block, Slice
from penstock.sink.core.credit import SendingCredit
from penstock.sink.core.rounds import rounds_here, shares
from penstock.sink.core.store import Store
from penstock.sink.core.wait_clock import Waits

#: Batches that are complete share a message up to this size (bytes): each message costs both sides a wake-up.
_MESSAGE_BYTES = 16_000_000
#: Slices of a field at least this long on average (bytes) are sent as they lie; smaller ones are joined first.
_SEGMENT_BYTES = 32_768
#: Rows at least this long (bytes) are gathered one by one, which copies once; shorter ones by numpy's indexing.
_ROW_BYTES = 1024
#: Most slices of one field that are sent as they lie, and of all fields together: keeps the number of frames bounded.
_SEGMENTS, _ALL_SEGMENTS = 64, MAX_FRAMES - 2


class Consumer(Protocol):
    """A consumer of a stream's samples, in order: a trainer's reader, or the recording."""

    plan: StreamPlan
    cursor: int
    paced_with: list["Consumer"]

    @property
    def window(self) -> int:
        """How many samples may be ahead of it."""
        ...

    def own_limit(self, store: Store) -> int:
        """Return the position up to which samples may be made for it."""
        ...

    def limit(self, store: Store) -> int:
        """Return that position, or a lower one if a consumer that it keeps step with has a lower one."""
        ...


@dataclass(slots=True)
class _Epoch:
    """Counts of one epoch so far; compared with the expected number at its end."""

    expected: int
    delivered: int = 0
    quarantined: int = 0
    dropped: int = 0


@dataclass(slots=True, eq=False)
class Reader:
    """One subscription; `cursor` is the position before which everything was sent (or is accounted for)."""

    subscribe: Subscribe
    plan: StreamPlan
    live: Liveness
    cursor: int
    credit: SendingCredit = field(default_factory=SendingCredit)
    #: Consumers that share their limits with this one: neither goes further than the other. The stream's recording.
    paced_with: list["Consumer"] = field(default_factory=list)
    #: Samples sent; which side waited, as the sink sees it; the same by the training program's own clock.
    samples: int = 0
    waits: Waits = field(init=False)
    #: How many samples may be ahead of it.
    window: int = field(init=False)
    feed: FeedWaits | None = None
    #: Where the epoch that is being read ends.
    epoch_stop: int = field(init=False)
    epoch: _Epoch = field(init=False)
    #: Where the walk over the blocks stands; what it passed and was not sent is in `_walked`, `_count` samples.
    _reached: int = field(init=False)
    _walked: deque[tuple[Block, int]] = field(default_factory=deque)
    _count: int = 0
    #: Most batches that one message carries.
    _most: int = field(init=False)

    def __post_init__(self) -> None:
        """Begin at the cursor."""
        self.waits = Waits(self.live.heard_at)
        self.window = self.plan.window(self.world_size)
        batch_bytes = self.plan.settings.batch_size * self.plan.sample_bytes
        self._most = max(1, min(MAX_BATCHES, _MESSAGE_BYTES // batch_bytes))
        self._begin()

    @property
    def world_size(self) -> int:
        """Trainers that share each round."""
        return self.subscribe.world_size

    @property
    def starved(self) -> bool:
        """Whether there is credit and room for another round, so that only a complete one is waited for."""
        taken = self.plan.round_samples(self.world_size)
        return self.credit.available > 0 and self.credit.in_flight + taken <= self.window

    def own_limit(self, store: Store) -> int:
        """Return the position up to which samples may be made for it; it never falls while the reader lives.

        Samples on their way to the trainer count against the window, failed ones do not: they hold no memory.
        """
        return store.reach(self.cursor, max(0, self.window - self.credit.in_flight))

    def limit(self, store: Store) -> int:
        """Return the lowest limit of its own and those that it keeps step with."""
        return min([self.own_limit(store), *(other.own_limit(store) for other in self.paced_with)])

    def next(self, store: Store) -> tuple[Batch, list[Array]] | EpochEnd | None:
        """Return the complete samples to send next, or None if nothing is complete or there is no credit.

        An epoch's end needs no credit, or a trainer that still holds the last batch would wait for it; but the end of
        an epoch without a batch does: nothing else would hold back a stream in which hardly any item survives.
        """
        taken = self.world_size * self.plan.settings.batch_size
        self._walk(store, taken * self._most)
        if self._count < taken:
            if self._reached < self.epoch_stop:
                return None
            if self._count < self.world_size or self.plan.settings.drop_remainder:
                return self._end() if self.credit.available or self.epoch.delivered else None
            taken = self._count
        # What fits the window: blocks may be here for another reader, beyond this one's.
        fitting = (self.window - self.credit.in_flight) // taken
        rounds = min(self._count // taken, self.credit.available, fitting, self._most)
        if store.shared and rounds > 0:
            rounds = rounds_here(self._walked, rounds, taken, *self._share(taken))
        return self._batch(taken, rounds) if rounds > 0 else None

    def _begin(self) -> None:
        size = self.plan.geometry.samples_per_epoch
        self.epoch_stop = (self.cursor // size + 1) * size
        self.epoch = _Epoch(expected=self.epoch_stop - self.cursor)
        self._reached = self.cursor

    def _walk(self, store: Store, wanted: int) -> None:
        while self._count < wanted and self._reached < self.epoch_stop:
            block = store.blocks.get(self.plan.geometry.block_of(self._reached)[0])
            if block is None:
                return
            low = block.index(self._reached)
            self.epoch.quarantined += (block.stop - self._reached) - (block.count - low)
            self._reached = block.stop
            if low < block.count:
                self._walked.append((block, low))
                self._count += block.count - low

    def _batch(self, taken: int, rounds: int) -> tuple[Batch, list[Array]]:
        low, high = self._share(taken)
        sequence, start = self.credit.sent, self.cursor
        slices, stops = self._cut(taken, rounds, low, high)
        self.cursor = stops[-1]
        for _ in range(rounds):
            self.credit.spend(taken)
        self.samples += (high - low) * rounds
        self.epoch.delivered += taken * rounds
        frames, arrays = join(self.plan.schema, slices)
        sizes = (high - low,) * rounds
        batch = Batch.model_construct(sequence=sequence, start=start, stops=tuple(stops), sizes=sizes, frames=frames)
        return batch, arrays

    def _share(self, taken: int) -> tuple[int, int]:
        """Return which samples of a round are this rank's."""
        rank, size = self.subscribe.rank, self.world_size
        return rank * taken // size, (rank + 1) * taken // size

    def _cut(self, taken: int, rounds: int, low: int, high: int) -> tuple[list[Slice], list[int]]:
        """Remove the first `rounds` times `taken` walked samples.

        Return those numbered [low, high) of each round, and the position after each round.
        """
        slices: list[Slice] = []
        stops: list[int] = []
        passed, total = 0, taken * rounds
        self._count -= total
        while passed < total:
            block, first = self._walked.popleft()
            size = min(block.count - first, total - passed)
            for begin, end in shares(passed, passed + size, taken, low, high):
                _append(slices, block.take(first + begin - passed, first + end - passed))
            ends = range(passed - passed % taken + taken, passed + size + 1, taken)
            stops += [block.position(first + end - passed - 1) + 1 for end in ends]
            if first + size < block.count:
                self._walked.appendleft((block, first + size))
            passed += size
        return slices, stops

    def _end(self) -> EpochEnd:
        self.epoch.dropped += self._count
        self._walked.clear()
        self._count = 0
        epoch = self.epoch
        if epoch.delivered + epoch.quarantined + epoch.dropped != epoch.expected:
            raise LocalProtocolError(f"stream {self.plan.name!r}: an epoch's samples do not add up: {epoch}")
        self.cursor = self.epoch_stop
        self._begin()
        return EpochEnd(
            epoch=self.cursor // self.plan.geometry.samples_per_epoch - 1,
            sequence=self.credit.sent,
            stop=self.cursor,
            expected=epoch.expected,
            delivered=epoch.delivered,
            quarantined=epoch.quarantined,
            dropped=epoch.dropped,
        )


def _append(slices: list[Slice], more: Iterable[Slice]) -> None:
    """Append slices, making one of those that lie side by side."""
    for each in more:
        last = slices[-1] if slices else None
        if (
            last
            and last.arrays is each.arrays
            and isinstance(last.rows, range)
            and isinstance(each.rows, range)
            and last.rows.stop == each.rows.start
        ):
            slices[-1] = Slice(each.arrays, range(last.rows.start, each.rows.stop))
        else:
            slices.append(each)


def join(schema: Sequence[FieldSchema], slices: Sequence[Slice]) -> tuple[tuple[FieldSchema, ...], list[Array]]:
    """Return the segments of a batch, all of the first field and then of the next, and their `frames` entry.

    Long runs are passed on as they lie in the workers' messages, uncopied; everything else is copied once.
    """
    frames: list[FieldSchema] = []
    arrays: list[Array] = []
    total = sum(len(piece.rows) for piece in slices)
    few = len(slices) <= min(_SEGMENTS, _ALL_SEGMENTS // len(schema))
    in_runs = few and all(isinstance(piece.rows, range) for piece in slices)
    for index, known in enumerate(schema):
        if in_runs and (len(slices) == 1 or known.sample_bytes * total >= _SEGMENT_BYTES * len(slices)):
            segments = [
                piece.arrays[index][piece.rows.start : piece.rows.stop]
                for piece in slices
                if isinstance(piece.rows, range)
            ]
        else:
            segments = [gather(index, known, slices, total)]
        arrays += segments
        frames += frames_of([known] * len(segments), segments)
    return tuple(frames), arrays


def gather(index: int, known: FieldSchema, slices: Sequence[Slice], total: int) -> Array:
    """Return field number `index` of `total` samples in one array of its own: shape (total, *shape of the field)."""
    out = np.empty((total, *known.shape), known.dtype)
    at = 0
    for piece in slices:
        source, stop = piece.arrays[index], at + len(piece.rows)
        if isinstance(piece.rows, range):
            out[at:stop] = source[piece.rows.start : piece.rows.stop]
        elif known.sample_bytes < _ROW_BYTES:
            out[at:stop] = source[piece.rows]
        else:
            for target, row in enumerate(piece.rows.tolist(), at):
                out[target] = source[row]
        at = stop
    return out
