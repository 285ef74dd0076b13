"""One end of one link: when to speak, and when the peer's silence means that it is lost. No clock of its own.

A peer is silent only if what it sent was read: `Attention` says whether it was.
"""

import math
from dataclasses import dataclass

from penstock.protocol.messages import Intervals

#: Tasks that are left to a worker, at most, before it tells of those that it has done.
_MOST_LEFT = 2


def tasks_left(held: int) -> int:
    """Return how many of so many tasks are left to a worker when it tells of those that it has done, at the latest.

    While it makes these, the ventilator may leave its report unread. Both must rest by the same rule: if the worker
    told later, or the ventilator rested longer, the worker would run out of tasks.
    """
    return min(_MOST_LEFT, held // 2)


@dataclass(slots=True)
class Liveness:
    """Heartbeat state of a peer; every `now` is monotonic seconds."""

    intervals: Intervals
    heard_at: float
    spoke_at: float
    #: How many times longer than agreed the peer may be silent: while one large message comes over a slow line, no
    #: other can be heard.
    patience: int = 1

    def due(self, now: float) -> bool:
        """Return whether it is time to send a heartbeat."""
        return now >= self.spoke_at + self.intervals.heartbeat_s

    def lost(self, now: float) -> bool:
        """Return whether the peer has been silent for too long."""
        return now >= self._lost_at

    def timer(self) -> float:
        """Return when to check this connection next."""
        return min(self.spoke_at + self.intervals.heartbeat_s, self._lost_at)

    @property
    def _lost_at(self) -> float:
        return self.heard_at + self.patience * self.intervals.silence_s


#: How long (in `silence_s`) a loop stands still that was suspended, and how long it may always leave messages unread.
_STANDSTILL, _BEHIND = 0.5, 2.0


class Attention:
    """Says whether what peers have sent was read, so that those that were not heard for too long are lost.

    A loop reads only so much in a turn, and after a standstill (a suspended machine, a process that got no processor)
    more waits than that, some of it still in the kernel. So silence counts in turns that have read all there was, and
    after a standstill not before a heartbeat's time is over. One peer that sends without end cannot keep those that are
    dead alive: once messages were left in each turn for two silences, silence counts all the same. Peers are read in
    turn, so that those that live were heard by then. Nor does a loop that is always slow: standstills that follow each
    other without a heartbeat's time between them are excused for two silences, of which one uses up one at most.
    """

    def __init__(self) -> None:
        """Begin with nothing to be read."""
        self._turned_at = self._behind_since = math.inf
        self._resumed_at = -math.inf
        #: When the first of the standstills that follow each other was over; later by what was too long of each other.
        self._slow_since = math.inf

    def judges(self, now: float, intervals: Intervals, *, all_read: bool) -> bool:
        """Note that a turn at `now` has read all that had come, or not; return whether silence counts in it."""
        silence_s, heartbeat_s = intervals.silence_s, min(intervals.heartbeat_s, intervals.silence_s)
        stood_s = now - self._turned_at
        if stood_s > _STANDSTILL * silence_s:
            if self._slow_since == math.inf:
                self._slow_since, self._behind_since = now, math.inf
            else:
                excess_s = max(0.0, stood_s - silence_s)
                self._slow_since, self._behind_since = self._slow_since + excess_s, self._behind_since + excess_s
            self._resumed_at = now
        elif now >= self._resumed_at + heartbeat_s:
            self._slow_since = math.inf
        self._turned_at = now
        self._behind_since = math.inf if all_read else min(self._behind_since, now)
        if now < min(self._resumed_at + heartbeat_s, self._slow_since + _BEHIND * silence_s):
            return False
        return all_read or now >= self._behind_since + _BEHIND * silence_s
