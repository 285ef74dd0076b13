"""Holds tasks back for a moment whose samples another sink will probably want too, so that they are made once.

Part of the leases core: no socket, no clock. The windows of a job's sinks move together, but each sink's report comes
at its own time. The first report lists tasks of which that sink wants some samples, or only wants to know what failed;
leased at once, they would be made again for the next report. A task waits no longer than `_PATIENCE_S`: a sink may
stand still, or the ranks of some samples may not be there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.protocol import ranges
from penstock.protocol.ranges import Ranges

#: Seconds that a task waits: a few reports of a sink.
_PATIENCE_S = 0.5
#: No task has a higher ordinal.
_LAST = 2**62


@dataclass(frozen=True, slots=True)
class Reach:
    """The tasks that one sink's window spans, as far as its reports tell."""

    first: int
    #: One more than the last.
    end: int


NOWHERE = Reach(0, 0)


def reach_of(missing: Ranges, lacking: Ranges, before: Reach) -> Reach:
    """Return what a sink's window spans: by its report, or by the one before if it needs nothing now."""
    spans = [(each[0][0], each[-1][1]) for each in (missing, lacking) if each]
    if not spans:
        return Reach(before.end, before.end)
    return Reach(min(first for first, _ in spans), max(end for _, end in spans))


class Patience:
    """The tasks of one stream that wait."""

    def __init__(self) -> None:
        """Start without any."""
        #: Since when which tasks have waited (s), the oldest first.
        self._waiting: list[tuple[float, Ranges]] = []

    def waiting(self, fresh: Ranges, lacking: Ranges, reaches: Iterable[Reach], now: float) -> Ranges:
        """Return which of the tasks that are new to the queue wait.

        `lacking`: the tasks of which a sink wants samples; `reaches`: those of all sinks that read the stream.
        """
        early = ranges.intersect(fresh, ((_end_of_all(reaches), _LAST),))
        candidates = ranges.normalise((*ranges.subtract(fresh, lacking), *early))
        kept = [(since, ranges.intersect(each, candidates)) for since, each in self._waiting]
        known = ranges.normalise(span for _, each in kept for span in each)
        self._waiting = [(since, each) for since, each in kept if each]
        if unknown := ranges.subtract(candidates, known):
            self._waiting.append((now, unknown))
        waiting = (span for since, each in self._waiting if now < since + _PATIENCE_S for span in each)
        return ranges.normalise(waiting)


def _end_of_all(reaches: Iterable[Reach]) -> int:
    """Return where the first window ends of those that overlap the foremost; others read elsewhere in the stream."""
    known = list(reaches)
    if not known:
        return _LAST
    foremost = max(known, key=lambda reach: reach.end)
    return min(reach.end for reach in known if reach.end >= foremost.first)
