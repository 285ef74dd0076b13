"""The samples of one stream that one of several sinks holds: some of each block, those that its own readers train on.

Whether a sample survived follows from the outcomes that the ventilator publishes, not from what has come: the samples
of most positions never come here. A block exists, for the readers that walk the blocks, once the outcomes of all its
tasks are known; its samples may come before or after that. Duplicates end here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from penstock.protocol import ranges
from penstock.protocol.messages import Failure, Result
from penstock.protocol.order import Int64s
from penstock.protocol.outcomes.doubts import Word
from penstock.protocol.outcomes.known import Failures, KnownOutcomes
from penstock.protocol.outcomes.shares import positions_of
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.wire import Array
from penstock.sink.core.block import Block, Slice, by_piece
from penstock.sink.core.shared.witnesses import Witnesses
from penstock.sink.core.store import Store


@dataclass(slots=True, eq=False)
class Rows:
    """The samples of one block that are here."""

    start: int
    #: For each position of the block, the number of its row in all pieces together; -1: it is not here.
    index: Int64s
    #: Arrays of each piece and the positions of its rows; where its rows begin (one more entry: the end).
    pieces: list[Sequence[Array]] = field(default_factory=list)
    places: list[Int64s] = field(default_factory=list)
    offsets: list[int] = field(default_factory=lambda: [0])

    def add(self, positions: Int64s, arrays: Sequence[Array]) -> int:
        """Keep those of a result's samples that are new; return how many."""
        fresh = self.index[positions - self.start] < 0
        count = int(fresh.sum())
        if not count:
            return 0
        if count < len(positions):
            positions, arrays = positions[fresh], [array[fresh] for array in arrays]
        self.index[positions - self.start] = self.offsets[-1] + np.arange(count)
        self.pieces.append(arrays)
        self.places.append(positions)
        self.offsets.append(self.offsets[-1] + count)
        return count

    def take(self, positions: Int64s) -> Iterator[Slice]:
        """Yield the samples at these positions, all of which are here."""
        for piece, rows in by_piece(self.index[positions - self.start], self.offsets):
            first, last = int(rows[0]), int(rows[-1])
            together = last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all())
            yield Slice(self.pieces[piece], range(first, last + 1) if together else rows)


@dataclass(slots=True)
class SharedBlock(Block):
    """A run of positions of which it is known what failed; the samples of some of the others are here."""

    #: What is here, by block: samples that come later stand there, too.
    here: dict[int, Rows] = field(default_factory=dict)

    def take(self, low: int, high: int) -> Iterator[Slice]:
        """Yield the samples number [low, high) in position order."""
        if low < high:
            yield from self.here[self.start].take(self._places(low, high))

    def first_missing(self, low: int, high: int) -> int | None:
        """Return the first of the samples number [low, high) that is not here; None: all are."""
        rows = self.here.get(self.start)
        if rows is None:
            return low if low < high else None
        missing = np.flatnonzero(rows.index[self._places(low, high) - self.start] < 0)
        return low + int(missing[0]) if len(missing) else None

    def _places(self, low: int, high: int) -> Int64s:
        if self.positions is None:
            return np.arange(self.start + low, self.start + high, dtype=np.int64)
        return self.positions[low:high]


class _Blocks(dict[int, Block]):
    """The blocks of which all outcomes are known, made whenever they are asked for."""

    def __init__(self, store: "SharedStore") -> None:
        super().__init__()
        self._store = store

    def get(self, start: int, default: Block | None = None) -> Block | None:  # type: ignore[override]
        """Return the block that starts at a position; None while it is not known what failed of it."""
        return self._store.make_block(start) or default


class SharedStore(Store):
    """Samples of one stream at one of several sinks, and the blocks of which it is known what failed."""

    shared: ClassVar[bool] = True

    def __init__(self, plan: StreamPlan) -> None:
        """Start empty."""
        super().__init__(plan)
        self.known = KnownOutcomes(plan.geometry)
        self.blocks = _Blocks(self)
        #: What came of tasks of which it is not known what failed.
        self.witnesses = Witnesses()
        #: Whether this ventilator has yet to hear what is known here; the report in which it was told that first.
        self.unheard, self._told_in = False, 0
        #: The last report that told of results, and the last one that the ventilator has answered.
        self._asked_in = self._answered = 0
        self._rows: dict[int, Rows] = {}
        #: Positions of all samples that are known to have failed, ascending; as of which version of `known`.
        self.lost: Int64s = np.empty(0, np.int64)
        self._forgotten = 0

    def settle(self, ordinal: int, failed: Failures) -> bool:
        """Note what failed of a task, for good; return whether that was new.

        Raises ValueError if something else is known of it.
        """
        self.witnesses.settle(ordinal, failed)
        if self.known.is_settled(ordinal):
            if self.known.failed(ordinal).keys() != failed.keys():
                words = f"items {sorted(self.known.failed(ordinal))} failed, and now {sorted(failed)}"
                raise ValueError(f"of task {self.plan.name}/{ordinal}, {words}")
            return False
        self.known.settle(ordinal, failed)
        if failed:
            places = np.sort(self.geometry.positions(ordinal)[sorted(failed)], axis=None)
            self.lost = np.insert(self.lost, np.searchsorted(self.lost, places), places)
        if self.known.forgotten != self._forgotten:
            self._forgotten = self.known.forgotten
            known = [self.geometry.positions(task)[sorted(lost)].ravel() for task, lost in self.known.failures()]
            self.lost = np.sort(np.concatenate(known)) if known else np.empty(0, np.int64)
        return True

    def meet(self) -> None:
        """Report what is known to another ventilator, until it has answered."""
        self.unheard, self._told_in = True, 0
        self._asked_in = self._answered = 0

    def told(self, report: int) -> None:
        """Note that report number `report` tells the ventilator what is known."""
        self._told_in = self._told_in or report

    def heard(self, report: int) -> None:
        """Note that the ventilator has heard report number `report`."""
        self.unheard = self.unheard and not (0 < self._told_in <= report)
        self._answered = max(self._answered, report)

    def asked(self, report: int) -> None:
        """Note that report number `report` tells of results, of which the ventilator decides what failed."""
        self._asked_in = report

    @property
    def answered(self) -> bool:
        """Whether the ventilator has answered the last report that told of results."""
        return self._asked_in <= self._answered

    def make_block(self, start: int) -> Block | None:
        """Return the block that starts at a position; None while it is not known what failed of it."""
        tasks = self.geometry.block_tasks(start)
        if not all(self.known.is_settled(ordinal) for ordinal in tasks):
            return None
        stop = self.geometry.block_of(start)[1]
        lost = self.lost_between(start, stop)
        positions = np.delete(np.arange(start, stop), lost - start) if len(lost) else None
        return SharedBlock(start, stop, positions, stop - start - len(lost), [], [0], None, self._rows)

    def lost_between(self, start: int, stop: int) -> Int64s:
        """Return the positions of samples that failed."""
        if not len(self.lost):
            return self.lost
        low, high = np.searchsorted(self.lost, (start, stop))
        return self.lost[low:high]

    def lacking(self, start: int, stop: int) -> Ranges:
        """Return which of the positions [start, stop), within a block, are neither here nor known to have failed."""
        first, _ = self.geometry.block_of(start)
        rows, lost = self._rows.get(first), self.lost_between(start, stop)
        if rows is None and not len(lost):
            return ((start, stop),)
        lacking = rows.index[start - first : stop - first] < 0 if rows else np.ones(stop - start, np.bool_)
        lacking[lost - start] = False
        if not lacking.any():
            return ()
        padded = np.zeros(stop - start + 2, np.bool_)
        padded[1:-1] = lacking
        edges = np.flatnonzero(padded[1:] != padded[:-1]) + start
        return tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))

    def is_here(self, positions: Int64s) -> bool:
        """Return whether the samples at these positions, all of one block, are here."""
        rows = self._rows.get(self.geometry.block_of(int(positions[0]))[0])
        return rows is not None and bool((rows.index[positions - rows.start] >= 0).all())

    def reach(self, cursor: int, room: int) -> int:
        """Return the position up to which samples may be made for a reader at `cursor` with room for so many."""
        if not len(self.lost):
            return cursor + room
        lost = self.lost[np.searchsorted(self.lost, cursor) :]
        return cursor + room + int(np.searchsorted(lost - cursor - np.arange(len(lost)), room))

    def check(self, result: Result) -> Sequence[int]:
        """Return the offsets of a result's items. Raises RemoteProtocolError if it does not fit the stream's plan."""
        offsets = self.check_failures(result)
        self.check_frames(result, len(self.places(result)))
        return offsets

    def places(self, result: Result) -> Int64s:
        """Return the positions of a result's samples."""
        places = positions_of(self.plan, result.key, {failure.offset for failure in result.failures})
        return places if result.shares is None else places[ranges.contained(result.shares, places)]

    def take_in(self, result: Result, arrays: Sequence[Array]) -> int:
        """Keep the samples of a result that are new; return how many."""
        places = self.places(result)
        if not len(places):
            return 0
        start, stop = self.geometry.block_of(int(places[0]))
        rows = self._rows.get(start) or Rows(start, np.full(stop - start, -1, np.int64))
        count = rows.add(places, arrays)
        if count:
            self._rows[start] = rows
        return count

    def witness(self, ordinal: int, offsets: Sequence[int], failures: Sequence[Failure], word: Word) -> bool:
        """Note what came of the items at `offsets` of a task, of which `failures` failed; return whether it is new."""
        failed = {failure.offset for failure in failures}
        made = [offset for offset in offsets if offset not in failed]
        if self.known.is_settled(ordinal):
            lost, places = self.known.failed(ordinal), self.geometry.positions(ordinal)
            failures = [each for each in failures if each.offset not in lost and not self.is_here(places[each.offset])]
            made = []
        shown = self._shown(ordinal, made) if made else []
        new = bool(shown) and self.witnesses.add_made(ordinal, shown, word.holder, shown=True)
        if len(shown) < len(made):
            said = set(made) - set(shown)
            new |= self.witnesses.add_made(ordinal, said, word.holder, shown=False)
        return (bool(failures) and self.witnesses.add_failing(ordinal, failures, word)) or new

    def _shown(self, ordinal: int, offsets: Sequence[int]) -> Sequence[int]:
        """Return the offsets of those of a task's items of which any sample is here: no worker needs to be believed."""
        places = self.geometry.positions(ordinal)[offsets]
        rows = self._rows.get(self.geometry.block_of(int(places[0, 0]))[0])
        if rows is None:
            return []
        here = np.flatnonzero((rows.index[places - rows.start] >= 0).any(axis=1)).tolist()
        return offsets if len(here) == len(offsets) else [offsets[number] for number in here]

    @property
    def samples(self) -> int:
        """How many samples are here."""
        return sum(rows.offsets[-1] for rows in self._rows.values())

    def held(self) -> Iterator[tuple[Int64s, Sequence[Array]]]:
        """Yield the samples that are here: positions and fields."""
        for start in sorted(self._rows):
            yield from zip(self._rows[start].places, self._rows[start].pieces, strict=True)

    def failures(self, start: int) -> list[tuple[int, Failure]]:
        """Return the items that failed in the block that starts at `start`: first position and failure, ascending."""
        found = [
            (int(self.geometry.positions(ordinal)[offset].min()), failure)
            for ordinal in self.geometry.block_tasks(start)
            for offset, failure in self.known.failed(ordinal).items()
        ]
        return sorted(found, key=lambda each: each[0])

    def drop(self, start: int) -> None:
        """Forget the samples of the block that starts at position `start`."""
        self._rows.pop(start, None)
        self.witnesses.drop(self.geometry.block_tasks(start))

    def take_dropped(self) -> Ranges:
        """Return nothing: one of several sinks says which positions it lacks."""
        return ()

    def starts(self) -> set[int]:
        """Return where the blocks start of which anything is here."""
        return set(self._rows) | {self.geometry.block_start(ordinal) for ordinal in self.witnesses.tasks()}

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        for start, rows in self._rows.items():
            assert start == rows.start  # noqa: S101
            here = np.flatnonzero(rows.index >= 0)
            places = np.concatenate(rows.places) if rows.places else np.empty(0, np.int64)
            assert len(here) == len(places) == rows.offsets[-1]  # noqa: S101
            assert (rows.index[places - start] == np.arange(len(places))).all()  # noqa: S101
