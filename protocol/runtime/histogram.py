"""A histogram of durations, cheap enough for every task. `metrics.py` exposes it."""

from bisect import bisect_left

#: Upper bounds (s) of the buckets; what took longer is in one more.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """Counts by bucket and the sum; written by one thread, read by any."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        """Start at zero."""
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Return for each bound how many durations were not longer; the last bound is infinite."""
        out: list[tuple[str, float]] = []
        passed = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), list(self.counts), strict=True):
            passed += count
            out.append((bound, passed))
        return out
