"""Notices that no worker and no sink reaches the acting ventilator, but another one, though it renews its record.

No I/O. The shared folder may lie in another network than the workers and sinks. One that they do not reach hands its
turn to one that waits and that they have greeted: that stands in its record. One that they do not reach gets no turn,
or gives it back. While they reach none of all, or all, the turn stays where it is.
"""

from dataclasses import dataclass, field

#: Heartbeats for which a greeting counts, and after the beginning of a turn until one of them has to have come.
GREETED_BEATS, _FIRST_BEATS = 3.0, 3.0


@dataclass(slots=True)
class Company:
    """Whether this one is reached in its turn, which began at `began`; a heartbeat is `beat_s` long."""

    began: float
    beat_s: float
    #: Since when another one is reached and this one is not; later than now: a turn has just begun.
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        """Give all of them time to come."""
        self._since = self.began + (_FIRST_BEATS - 1) * self.beat_s

    def greeted(self, now: float) -> None:
        """Note that a worker or sink said hello: it reaches this one, even if it is refused."""
        self._since = max(self._since, now)

    def is_lost(self, now: float, *, here: bool, elsewhere: bool) -> bool:
        """Return whether another one was reached for a heartbeat (`elsewhere`), while none was `here`."""
        if here or not elsewhere:
            self.greeted(now)
        return now >= self._since + self.beat_s
