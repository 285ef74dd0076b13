"""Which side waits at one trainer: the trainer for the pipeline, or the pipeline for the trainer's credit.

Two sums of seconds, on which the verdict rests. No clock: `now` comes in.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Waits:
    """The waiting of one subscription; every `now` is monotonic seconds."""

    since: float
    #: It has credit, and no batch of it is complete.
    starved: bool = True
    _starved_s: float = 0.0
    _blocked_s: float = 0.0

    def become(self, now: float, *, starved: bool) -> None:
        """Begin a new state unless it is the current one."""
        if starved != self.starved:
            self._starved_s, self._blocked_s = self.sums(now)
            self.since, self.starved = now, starved

    def sums(self, now: float) -> tuple[float, float]:
        """Return the seconds that it was starved, and that it had no credit, up to now."""
        lately = max(0.0, now - self.since)
        if self.starved:
            return self._starved_s + lately, self._blocked_s
        return self._starved_s, self._blocked_s + lately
