"""The sink's reports: its statistics, and the quarantine ledger as far as it has arrived.

Part of the leases core: no socket, no clock. Lines of the ledger are numbered by the sink, so each is kept once.
"""

from collections import deque
from itertools import islice

from penstock.protocol.messages import SinkStats
from penstock.protocol.stats import LEDGER_KEPT, QuarantinedItem


class SinkReport:
    """The latest reports of the sink; they outlive its connection."""

    def __init__(self) -> None:
        """Start without a report."""
        self.stats: SinkStats | None = None
        #: When the statistics arrived (monotonic s).
        self.at = 0.0
        self._incarnation = ""
        self._ledger: deque[QuarantinedItem] = deque(maxlen=LEDGER_KEPT)
        #: Lines of this sink's ledger that have arrived, or that the sink itself has forgotten; heartbeats to it carry
        #: this number.
        self.lines = 0

    def meet(self, incarnation: str) -> None:
        """Start anew if this is another start of the sink, which numbers its lines from 0 again."""
        if incarnation != self._incarnation:
            self._incarnation, self.stats, self.lines = incarnation, None, 0
            self._ledger.clear()

    def take(self, stats: SinkStats, now: float) -> None:
        """Adopt a heartbeat's statistics."""
        self.stats, self.at = stats.model_copy(update={"ledger": ()}), now
        for line in stats.ledger:
            if line.number >= self.lines:
                self._ledger.append(line)
                self.lines = line.number + 1

    def newest(self, most: int) -> tuple[QuarantinedItem, ...]:
        """Return the newest lines of the ledger, newest first."""
        return tuple(islice(reversed(self._ledger), most))
