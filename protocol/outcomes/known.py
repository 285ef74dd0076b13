"""The tasks of one stream of which it is known, for good, what failed; and the items that did.

With several sinks, the ventilator decides what counts as failed and tells the sinks; both keep it here. Memory is
bounded: epochs that were not touched for longest are forgotten as a whole, once there are too many.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from penstock.protocol.messages import Failure
from penstock.protocol.order import Geometry
from penstock.protocol.ranges import Ranges, normalise

#: Epochs, and failures of all epochs, that are remembered; the failures of the newest epochs are kept in any case.
_EPOCHS, _FAILURES, _LEAST_EPOCHS = 4096, 100_000, 4

#: Failures of one task by the offset of the item.
Failures = Mapping[int, Failure]
_NONE: Failures = MappingProxyType({})


class KnownOutcomes:
    """What failed of the tasks that are settled."""

    def __init__(self, geometry: Geometry) -> None:
        """Start with nothing settled."""
        self._geometry = geometry
        #: Settled tasks by epoch, as sorted, disjoint ranges; the epoch that was touched last stands last.
        self._epochs: dict[int, tuple[list[int], list[int]]] = {}
        self._failed: dict[int, dict[int, Failure]] = {}
        self._count = 0
        #: Grows when something is forgotten.
        self.forgotten = 0

    def settle(self, ordinal: int, failed: Failures = _NONE) -> None:
        """Note what failed of a task. Only for tasks that are not settled."""
        epoch = ordinal // self._geometry.tasks_per_epoch
        starts, stops = self._epochs[epoch] = self._epochs.pop(epoch, ([], []))
        if not failed and stops and stops[-1] == ordinal:  # most often
            stops[-1] = ordinal + 1
            return
        index = bisect_right(starts, ordinal)
        joins_left = index > 0 and stops[index - 1] == ordinal
        joins_right = index < len(starts) and starts[index] == ordinal + 1
        if joins_left and joins_right:
            stops[index - 1] = stops[index]
            del starts[index], stops[index]
        elif joins_left:
            stops[index - 1] = ordinal + 1
        elif joins_right:
            starts[index] = ordinal
        else:
            starts.insert(index, ordinal)
            stops.insert(index, ordinal + 1)
        if failed:
            self._failed[ordinal] = dict(failed)
            self._count += len(failed)
        self._forget()

    def cover(self, settled: Ranges) -> None:
        """Note that nothing failed of these tasks; of very many, of those of the last epochs."""
        for epoch, parts in self._by_epoch(settled).items():
            known = self._epochs.pop(epoch, ([], []))
            merged = normalise([*zip(*known, strict=True), *parts])
            self._epochs[epoch] = ([low for low, _ in merged], [high for _, high in merged])
            self._forget()

    def _by_epoch(self, tasks: Ranges) -> dict[int, list[tuple[int, int]]]:
        """Return these tasks by epoch, the last epochs first, and no more of them than are remembered."""
        size = self._geometry.tasks_per_epoch
        found: dict[int, list[tuple[int, int]]] = {}
        for start, stop in reversed(tasks):
            for epoch in range((stop - 1) // size, start // size - 1, -1):
                if epoch not in found and len(found) == _EPOCHS:
                    return found
                part = (max(start, epoch * size), min(stop, (epoch + 1) * size))
                found.setdefault(epoch, []).append(part)
        return found

    def is_settled(self, ordinal: int) -> bool:
        """Return whether it is known what failed of a task."""
        known = self._epochs.get(ordinal // self._geometry.tasks_per_epoch)
        if known is None:
            return False
        index = bisect_right(known[0], ordinal) - 1
        return index >= 0 and ordinal < known[1][index]

    def failed(self, ordinal: int) -> Failures:
        """Return what failed of a settled task."""
        return self._failed.get(ordinal, _NONE)

    def failures(self) -> Iterator[tuple[int, Failures]]:
        """Yield the settled tasks of which items failed, in no order, and what failed of them."""
        yield from self._failed.items()

    @property
    def any_failed(self) -> bool:
        """Whether any item of the settled tasks failed."""
        return bool(self._failed)

    def settled(self, low: int = 0, high: int | None = None) -> Ranges:
        """Return the tasks that are settled; with bounds, at least those between them."""
        size = self._geometry.tasks_per_epoch
        if high is None or high // size - low // size >= len(self._epochs):
            epochs = sorted(self._epochs)
        else:
            epochs = [epoch for epoch in range(low // size, high // size + 1) if epoch in self._epochs]
        return normalise(span for epoch in epochs for span in zip(*self._epochs[epoch], strict=True))

    def _forget(self) -> None:
        while len(self._epochs) > _EPOCHS or (self._count > _FAILURES and len(self._epochs) > _LEAST_EPOCHS):
            epoch = next(iter(self._epochs))
            del self._epochs[epoch]
            first = epoch * self._geometry.tasks_per_epoch
            for ordinal in [each for each in self._failed if first <= each < first + self._geometry.tasks_per_epoch]:
                self._count -= len(self._failed.pop(ordinal))
            self.forgotten += 1
