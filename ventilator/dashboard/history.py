"""The numbers of the last minutes, so that the charts of a reloaded page begin with them."""

from collections import deque
from typing import Any

from penstock.protocol.snapshot import Snapshot

#: Snapshots that are remembered: at one a second, five minutes.
KEPT = 300


class History:
    """A ring of a few numbers of each snapshot."""

    def __init__(self) -> None:
        """Start empty."""
        self._moments: deque[tuple[float, float, float, float | None, str]] = deque(maxlen=KEPT)

    def add(self, snapshot: Snapshot) -> None:
        """Remember a snapshot's numbers; the oldest ones are forgotten."""
        flow, verdict = snapshot.flow, snapshot.verdict
        self._moments.append((snapshot.at, flow.made, flow.delivered, verdict.wait_fraction, verdict.word))

    def columns(self) -> dict[str, list[Any]]:
        """Return the numbers by name, oldest first: seconds since 1970, samples per second, fraction of time, word."""
        names = ("at", "made", "delivered", "wait", "word")
        return {name: [moment[index] for moment in self._moments] for index, name in enumerate(names)}
