"""One end of one link: when to speak, and when the peer's silence means that it is lost. No clock of its own."""

from dataclasses import dataclass

from penstock.protocol.messages import Intervals


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
