"""Notices that no worker and no sink reaches the acting ventilator, though it renews its record: another may do better.

No I/O. The shared folder may lie in another network than the workers and sinks. One that has lost them all hands its
turn to one that waits. One that never had any in its turn keeps it: without workers and sinks, two would pass it to
and fro for ever.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Company:
    """Workers and sinks of one turn."""

    #: When any of them was last there; None: none has been.
    seen_at: float | None = None

    def is_lost(self, now: float, patience_s: float, *, here: bool) -> bool:
        """Return whether all that were here have been gone for `patience_s`; `here`: whether any is."""
        if here:
            self.seen_at = now
        return self.seen_at is not None and now >= self.seen_at + patience_s
