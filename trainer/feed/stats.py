"""Measures how long a program waits for batches and how long it works on them."""

import time
from dataclasses import dataclass, field

from penstock.protocol.stats import FeedWaits


@dataclass(slots=True)
class FeedStats:
    """Counts since the feed was made; times in seconds."""

    #: Batches and samples handed out.
    batches: int = 0
    samples: int = 0
    #: Time that the program waited for batches.
    wait_s: float = 0.0
    #: Time that the program spent with batches in hand, everything between them included.
    busy_s: float = 0.0
    #: Time that copies of batches to a device took, in addition: they run while the program computes or waits.
    copy_s: float = 0.0
    _since: float | None = field(default=None, repr=False)
    _asking: bool = field(default=False, repr=False)

    @property
    def wait_fraction(self) -> float:
        """Waiting as a fraction of all time; 0 to 1."""
        return self.wait_s / max(self.wait_s + self.busy_s, 1e-9)

    def waits(self) -> FeedWaits:
        """Return the sums up to now, including what is not over; callable from any thread."""
        since, asking, wait_s, busy_s = self._since, self._asking, self.wait_s, self.busy_s
        lately = 0.0 if since is None else max(0.0, time.perf_counter() - since)
        return FeedWaits(
            batches=self.batches,
            wait_s=wait_s + (lately if asking else 0.0),
            busy_s=busy_s + (0.0 if asking else lately),
            copy_s=self.copy_s,
        )

    def copied(self, seconds: float) -> None:
        """Note how long the copy of a batch to the device took; called on one thread."""
        self.copy_s += seconds

    def ask(self) -> None:
        """Note that the program asks for a batch; asking again before `receive` changes nothing."""
        if not self._asking:
            self._asking, now = True, time.perf_counter()
            if self._since is not None:
                self.busy_s += now - self._since
            self._since = now

    def receive(self) -> None:
        """Note that the program has got what it asked for: a batch, or the end of the epoch."""
        if self._asking and self._since is not None:
            self._asking, now = False, time.perf_counter()
            self.wait_s += now - self._since
            self._since = now
