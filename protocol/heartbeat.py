"""One end of one link: when to speak, and when the peer's silence means that it is lost. No clock of its own."""

from dataclasses import dataclass

from penstock.protocol.messages import Intervals


@dataclass(slots=True)
class Liveness:
    """Heartbeat state of a peer; every `now` is monotonic seconds."""

    intervals: Intervals
    heard_at: float
    spoke_at: float

    def due(self, now: float) -> bool:
        """Return whether it is time to send a heartbeat."""
        return now >= self.spoke_at + self.intervals.heartbeat_s

    def lost(self, now: float) -> bool:
        """Return whether the peer has been silent for too long."""
        return now >= self.heard_at + self.intervals.silence_s

    def timer(self) -> float:
        """Return when to look at this link next."""
        return min(self.spoke_at + self.intervals.heartbeat_s, self.heard_at + self.intervals.silence_s)
