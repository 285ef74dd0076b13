"""How long the sink may leave messages unread: a small part of the time that its trainers' batches in hand last.

Each wake-up of this process takes a core from the workers, and finds its code and data pushed out of the caches by
them. So results and grants of credit that come one after the other are handled together. Trainers are sent batches
ahead of their need, so a rest delays none that has some in hand; and where workers are what all wait for, a batch comes
a little later, but as many come a second. No socket and no clock.
"""

from collections.abc import Mapping

from penstock.sink.core.reader import Reader

#: Longest rest (s), and the shortest that is worth it.
_MOST_S, _LEAST_S = 0.2, 0.002
#: A rest is at most the time that a trainer's credit lasts, over the first; its window, over the second; and that
#: between two heartbeats, over the third.
_OF_CREDIT, _OF_WINDOW, _OF_HEARTBEAT = 3, 12, 4
#: Seconds over which a trainer's rate is taken. A trainer that has subscribed just now is never kept waiting.
_RATE_S = 0.5


class Resting:
    """Remembers how fast batches go out."""

    def __init__(self) -> None:
        """Know no trainer."""
        #: Of each trainer: when its batches were counted last (monotonic s), how many, and how many a second.
        self._seen: dict[bytes, tuple[float, int, float]] = {}

    def rest_s(self, readers: Mapping[bytes, Reader], now: float, heartbeat_s: float) -> float:
        """Return for how many seconds messages may wait; 0: not at all. It is a part of the time between heartbeats."""
        self._seen = {peer: self._count(peer, reader, now) for peer, reader in readers.items()}
        rest = min((_lasts_s(reader, self._seen[peer][2]) for peer, reader in readers.items()), default=0.0)
        rest, rate = (
            min(_MOST_S, heartbeat_s / _OF_HEARTBEAT, rest),
            max((rate for _, _, rate in self._seen.values()), default=0.0),
        )
        return rest if rest >= _LEAST_S and rest * rate >= 1.0 else 0.0  # else hardly two messages would meet

    def _count(self, peer: bytes, reader: Reader, now: float) -> tuple[float, int, float]:
        sent = reader.credit.sent
        at, before, rate = self._seen.get(peer, (now, sent, 0.0))
        if now - at < _RATE_S:
            return at, before, rate
        return now, sent, (sent - before) / (now - at)


def _lasts_s(reader: Reader, rate: float) -> float:
    """Return how long a rest such a trainer does not notice (s)."""
    if not rate:
        return 0.0
    credit = reader.credit.limit - reader.credit.consumed
    rounds = reader.window / reader.plan.round_samples(reader.world_size)
    return min(credit / _OF_CREDIT, rounds / _OF_WINDOW) / rate
