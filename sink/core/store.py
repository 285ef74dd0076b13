"""The samples of one stream that the sink holds: results by task, then blocks in which order is restored.

Duplicates end here. A task may arrive whole or item by item, more than once, in any order; the first complete copy
counts, since equal work gives equal bytes. `reader.py` walks the blocks.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Failure, Result, TaskKey
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.wire import Array
from penstock.sink.core.block import Block
from penstock.sink.core.results.pieces import Piece, first_item, runs, without


@dataclass(slots=True)
class _TaskResults:
    """The part of one task that has arrived."""

    #: (offsets of the items that survived, arrays) as they came.
    pieces: list[Piece] = field(default_factory=list)
    #: Offsets of the items that are accounted for.
    covered: set[int] = field(default_factory=set)
    #: Those of them that failed, and how.
    failed: dict[int, Failure] = field(default_factory=dict)


class Store:
    """Results of one stream, deduplicated, and the blocks that they complete."""

    #: Whether only a part of the samples is kept here, since there are other sinks (`shared/store.py`).
    shared: ClassVar[bool] = False

    def __init__(self, plan: StreamPlan) -> None:
        """Start empty."""
        self.plan = plan
        self.geometry = plan.geometry
        self.schema = plan.schema
        self.blocks: dict[int, Block] = {}
        #: Blocks with failed samples: start to how many.
        self.dead: dict[int, int] = {}
        self._held: dict[int, _TaskResults] = {}
        self._complete: set[int] = set()
        self._dropped: set[int] = set()

    def complete(self) -> Ranges:
        """Return the ordinals of the tasks that are here entirely."""
        return ranges.from_sorted(sorted(self._complete))

    def partial(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield the tasks that are here in part, with the offsets of the items that are."""
        for ordinal, held in self._held.items():
            if ordinal not in self._complete:
                yield ordinal, tuple(sorted(held.covered))

    @property
    def samples(self) -> int:
        """How many samples are here, of complete blocks and others."""
        items = sum(len(alive) for held in self._held.values() for alive, _ in held.pieces)
        return items * self.geometry.patches

    def held(self) -> Iterator[tuple[Int64s, Sequence[Array]]]:
        """Yield the samples that are here, of complete blocks and others: positions and fields, by task."""
        for ordinal in sorted(self._held):
            positions = self.geometry.positions(ordinal)
            for alive, arrays in self._held[ordinal].pieces:
                yield positions[list(alive)].ravel(), arrays

    def failures(self, start: int) -> list[tuple[int, Failure]]:
        """Return the items that failed in the block that starts at `start`: first position and failure, ascending."""
        found = [
            (int(self.geometry.positions(ordinal)[failure.offset].min()), failure)
            for ordinal in (self.geometry.block_tasks(start) if start in self.dead else ())
            for failure in self._held[ordinal].failed.values()
        ]
        return sorted(found, key=lambda each: each[0])

    def reach(self, cursor: int, room: int) -> int:
        """Return the position up to which samples may be made for a reader at `cursor` with room for so many.

        Failed ones take no room. Only failures between the cursor and the limit count, so the limit never rests on a
        block that may be dropped.
        """
        limit = cursor + room
        for start in sorted(self.dead):
            if start >= limit:
                break
            block = self.blocks[start]
            low = max(cursor, start)
            if low < block.stop:
                limit += (block.stop - low) - (block.count - block.index(low))
        return limit

    def check(self, result: Result) -> Sequence[int]:
        """Return the offsets of a result's items. Raises RemoteProtocolError if it does not fit the stream's plan."""
        offsets = self.check_failures(result)
        self.check_frames(result, (len(offsets) - len(result.failures)) * self.geometry.patches)
        return offsets

    def check_failures(self, result: Result) -> Sequence[int]:
        """Return the offsets of a result's items. Raises RemoteProtocolError if others are said to have failed."""
        offsets = self.offsets(result.key)
        failed = {failure.offset for failure in result.failures}
        if len(failed) != len(result.failures) or not failed <= set(offsets):
            raise RemoteProtocolError("result", f"{result.key}: failures {sorted(failed)} of items it does not hold")
        items = self.plan.indices(result.key.ordinal) if failed else ()
        for failure in result.failures:
            if failure.item != items[failure.offset]:
                known = f"item {failure.offset} of the task is {items[failure.offset]}"
                raise RemoteProtocolError("result", f"{result.key}: failure of item {failure.item}; {known}")
        return offsets

    def lacks(self, key: TaskKey) -> set[int]:
        """Return the offsets of a unit's items that are neither here nor known to have failed."""
        held = self._held.get(key.ordinal)
        return set(self.offsets(key)) - (held.covered if held else set())

    def add(self, key: TaskKey, failed: Collection[int], counted: Sequence[Failure], arrays: Sequence[Array]) -> None:
        """Take in a result that was checked: `arrays` holds the samples of all items but those at the offsets `failed`.

        The failures `counted` are of items that were lacking. Other items that failed stay as they are.
        """
        offsets = self.offsets(key)
        alive = [offset for offset in offsets if offset not in failed] if failed else offsets
        settled = [*alive, *(failure.offset for failure in counted)]
        if settled:
            self._merge(key.ordinal, settled, counted, (alive, arrays) if alive else None)

    def quarantine(self, key: TaskKey, failure: Failure) -> bool:
        """Count the one item of a unit of work as failed; return whether that was new.

        Raises RemoteProtocolError if the unit holds another item, or several.
        """
        offsets = self.offsets(key)
        if list(offsets) != [failure.offset]:
            raise RemoteProtocolError("quarantined", f"{key}: failure of item {failure.offset} in items {offsets}")
        if not self.lacks(key):
            return False
        self._merge(key.ordinal, offsets, (failure,), None)
        return True

    def drop(self, start: int) -> None:
        """Forget the block that starts at position `start` and all that has arrived of it."""
        self.blocks.pop(start, None)
        self.dead.pop(start, None)
        for ordinal in self.geometry.block_tasks(start):
            self._held.pop(ordinal, None)
            if ordinal in self._complete:
                self._complete.discard(ordinal)
                self._dropped.add(ordinal)

    def take_dropped(self) -> Ranges:
        """Return the tasks that were complete and were dropped since the last call."""
        dropped, self._dropped = self._dropped, set()
        return ranges.from_sorted(sorted(dropped))

    def starts(self) -> set[int]:
        """Return where the blocks start of which anything is here."""
        return set(self.blocks) | {self.geometry.block_start(ordinal) for ordinal in self._held}

    def offsets(self, key: TaskKey) -> Sequence[int]:
        """Return the offsets of a unit's items in its task. Raises RemoteProtocolError if there are none."""
        items = len(self.geometry.slots(key.ordinal))
        if key.offsets:
            if key.offsets[-1] >= items or list(key.offsets) != sorted(set(key.offsets)):
                raise RemoteProtocolError("result", f"{key}: its task has {items} items")
            return key.offsets
        if key.item_offset is None:
            return range(items)
        if key.item_offset >= items:
            raise RemoteProtocolError("result", f"{key}: its task has {items} items")
        return range(key.item_offset, key.item_offset + 1)

    def check_frames(self, result: Result, samples: int) -> None:
        """Raise RemoteProtocolError if a result does not hold the fields of so many samples."""
        if not samples and not result.frames:
            return
        if len(result.frames) != len(self.schema):
            raise RemoteProtocolError("result", f"{result.key}: {len(result.frames)} fields, not {len(self.schema)}")
        for frame, known in zip(result.frames, self.schema, strict=True):
            if (frame.name, frame.dtype, frame.shape) != (known.name, known.dtype, (samples, *known.shape)):
                raise RemoteProtocolError(
                    "result",
                    f"{result.key}: {frame.name} {frame.dtype}{frame.shape}; the schema says {known.name} {known.dtype}"
                    f"{(samples, *known.shape)}",
                )

    def _merge(
        self,
        ordinal: int,
        offsets: Sequence[int],
        failures: Sequence[Failure],
        piece: Piece | None,
    ) -> None:
        held = self._held.get(ordinal)
        if held is None or held.covered.issubset(offsets):  # a whole task after some of its items replaces them
            held = self._held[ordinal] = _TaskResults()
        elif piece and held.covered.intersection(offsets):  # it lacks items that are here: it fills the gaps
            piece = without(piece, held.covered, self.geometry.patches)
        held.covered.update(offsets)
        held.failed.update((failure.offset, failure) for failure in failures)
        if piece and not held.pieces and len(held.covered) == len(self.geometry.slots(ordinal)):
            held.pieces.append(piece)
        elif piece:  # other pieces may lie between its items
            held.pieces += runs(piece, self.geometry.patches)
        if len(held.covered) == len(self.geometry.slots(ordinal)):
            self._complete.add(ordinal)
            self._build(self.geometry.block_start(ordinal))

    def _build(self, start: int) -> None:
        """Make a block of the tasks that start at position `start`, if all of them are complete."""
        tasks = self.geometry.block_tasks(start)
        if not self._complete.issuperset(tasks):
            return
        stop = self.geometry.block_of(start)[1]
        pieces: list[Sequence[Array]] = []
        offsets = [0]
        places: list[Int64s] = []
        plain = self.geometry.mix == 1
        whole = not any(self._held[ordinal].failed for ordinal in tasks)
        for ordinal in tasks:
            positions = None if plain and whole else self.geometry.positions(ordinal)
            for alive, arrays in sorted(self._held[ordinal].pieces, key=first_item):
                pieces.append(arrays)
                offsets.append(offsets[-1] + len(alive) * self.geometry.patches)
                if positions is not None:
                    places.append(positions[list(alive)].ravel())
        positions = rows = None
        if places:
            positions = np.concatenate(places)
            if not plain:
                rows = np.argsort(positions)
                positions = positions[rows]
        block = Block(start, stop, None if whole else positions, offsets[-1], pieces, offsets, rows)
        if not whole:
            block.positions = np.empty(0, np.int64) if positions is None else positions
            self.dead[start] = stop - start - block.count
        self.blocks[start] = block

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        assert self._complete <= set(self._held)  # noqa: S101
        for start, block in self.blocks.items():
            assert start == block.start < block.stop  # noqa: S101
            assert block.count + self.dead.get(start, 0) == block.stop - block.start  # noqa: S101
            assert block.offsets[-1] == block.count  # noqa: S101
            assert self._complete.issuperset(self.geometry.block_tasks(start))  # noqa: S101
