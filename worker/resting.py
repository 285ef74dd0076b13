"""How long the worker's loop leaves messages unread, and whether a task that is done ends such a rest.

Each of the loop's turns takes the interpreter's lock, and its caches, from the thread that makes samples. So the loop
rests while the next task waits to be made: more tasks are not needed before. Tasks that are done meanwhile are
reported together, as long as enough others are here. No thread and no clock.
"""

import math

from penstock.protocol.heartbeat import tasks_left

#: Longest rest (s), and how many times as long as reading a task making it must take: its next files are asked for
#: later then.
_MOST_S, _TIMES_READING = 0.4, 2.0
#: How long before its end (s) a rest counts as over for what is done then.
_SLACK_S = 0.01


class Resting:
    """The rest of one worker: `begin` belongs to the loop, `ends` to the thread that makes samples."""

    def __init__(self) -> None:
        """Begin awake."""
        self._until = -math.inf
        #: Tasks that are left here when the loop is woken to report what is done and to read what comes next.
        self._left = 0
        #: When the loop must turn at the latest (monotonic s), since tasks may be done by then that it was not told of.
        self.turn_at = math.inf

    def stop(self) -> None:
        """Rest no more: what is done from now on is told to the loop at once."""
        self._until, self.turn_at = -math.inf, math.inf

    def begin(self, now: float, read_s: float, make_s: float, held: int, due: float = math.inf) -> float:
        """Return until when to rest (monotonic s), as the last task took so long to read and to make.

        `held`: how many tasks are here, with the one that is made or sent now. Never beyond `due`, when the loop must
        turn anyway, as for its next heartbeat. Call it while a task waits to be made and none is done: after `stop`,
        since one may be done at any moment.
        """
        if make_s <= _TIMES_READING * read_s:
            return now
        self._left = tasks_left(held)
        self._until = min(now + _MOST_S, max(now, due))
        self.turn_at = self._until if make_s < _MOST_S else math.inf
        return self._until

    def ends(self, now: float, left: int) -> bool:
        """Return whether a task that is done is told to the loop now, while so many others are left to do."""
        return left <= self._left or now >= self._until - _SLACK_S
