"""Which of several sinks lack samples of a task, and which tasks hold positions. No socket, no clock."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping

from penstock.protocol.order import Geometry
from penstock.protocol.ranges import Ranges


class Claims:
    """Which sinks lack samples of a task, found by one search, however many sinks there are."""

    def __init__(self, names: Mapping[bytes, str], lacking: Mapping[bytes, Ranges]) -> None:
        """Take the tasks of which each sink lacks samples; those without a name are not connected."""
        self.names = names
        peers = sorted((peer for peer in lacking if peer in names), key=lambda peer: names[peer])
        edges = sorted(
            edge
            for number, peer in enumerate(peers)
            for start, stop in lacking[peer]
            for edge in ((start, True, number), (stop, False, number))
        )
        self._starts: list[int] = []
        self._peers: list[tuple[bytes, ...]] = []
        lack, alone = set[int](), [(peer,) for peer in peers]
        for at, begins, number in edges:
            if begins:
                lack.add(number)
            else:
                lack.discard(number)
            now = alone[next(iter(lack))] if len(lack) == 1 else tuple([peers[each] for each in sorted(lack)])
            if self._starts and self._starts[-1] == at:
                self._peers[-1] = now
            else:
                self._starts.append(at)
                self._peers.append(now)

        #: What was asked for last: the first task of these, the one after the last, and who lacks samples of them.
        self._last: tuple[float, float, tuple[bytes, ...]] = (0, 0, ())

    def of(self, ordinal: int) -> tuple[bytes, ...]:
        """Return those that lack samples of a task, by name."""
        first, end, peers = self._last
        if not first <= ordinal < end:  # tasks are asked for by position, and a sink's stand together
            index = bisect_right(self._starts, ordinal) - 1
            first = self._starts[index] if index >= 0 else -math.inf
            end = self._starts[index + 1] if index + 1 < len(self._starts) else math.inf
            peers = self._peers[index] if index >= 0 else ()
            self._last = (first, end, peers)
        return peers


def tasks_at(geometry: Geometry, positions: Ranges) -> Iterator[tuple[int, int]]:
    """Yield the tasks that hold these positions, where the samples of each stand together."""
    epoch_samples, samples, tasks = geometry.samples_per_epoch, geometry.block_samples, geometry.tasks_per_epoch
    for start, stop in positions:
        (first, at), (last, end) = divmod(start, epoch_samples), divmod(stop - 1, epoch_samples)
        yield first * tasks + at // samples, last * tasks + end // samples + 1
