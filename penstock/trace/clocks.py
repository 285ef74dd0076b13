"""Aligns the clocks of traced processes by the round trips between them. Pure functions.

As in NTP (RFC 5905, section 8): a ping leaves A at t1, comes to B at t2; B's next leaves at t3 and comes to A at t4.
Then B's clock is ahead of A's by ((t2 - t1) + (t3 - t4)) / 2, and that is wrong by at most half the round trip
(t4 - t1) - (t3 - t2). The shortest round trip of two clocks counts; from clock to clock, errors add up. Drift within a
trace is not corrected: clocks of today's machines part by some tens of microseconds a second at most.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One ping there and back."""

    #: Names of the clocks: the asking process's, and the answering one's.
    a: str
    b: str
    #: t1 to t4 (s).
    times: tuple[float, float, float, float]

    @property
    def offset_s(self) -> float:
        """How far clock `b` is ahead of clock `a`."""
        t1, t2, t3, t4 = self.times
        return ((t2 - t1) + (t3 - t4)) / 2.0

    @property
    def seconds(self) -> float:
        """The time that it was on its way."""
        t1, t2, t3, t4 = self.times
        return max(0.0, (t4 - t1) - (t3 - t2))


@dataclass(frozen=True, slots=True)
class Offset:
    """Offset to add to a clock's times to get the reference's."""

    seconds: float
    #: Largest error (s); None: unknown, since the offset comes from the hosts' wall clocks.
    error_s: float | None


def align(reference: str, walls: Mapping[str, float], trips: Iterable[RoundTrip]) -> dict[str, Offset]:
    """Return every clock's offset to clock `reference`.

    `walls` has every clock, with what it would have shown when the wall clock of its host showed 0: all that is known
    of clocks that no round trips lead to.
    """
    best: dict[tuple[str, str], RoundTrip] = {}
    for trip in trips:
        pair = (trip.a, trip.b)
        if pair not in best or trip.seconds < best[pair].seconds:
            best[pair] = trip
    links: dict[str, list[tuple[str, float, float]]] = {}
    for trip in best.values():
        error = trip.seconds / 2.0
        links.setdefault(trip.a, []).append((trip.b, trip.offset_s, error))
        links.setdefault(trip.b, []).append((trip.a, -trip.offset_s, error))
    found: dict[str, Offset] = {}
    reached: list[tuple[float, str, float]] = [(0.0, reference, 0.0)]
    while reached:  # Dijkstra's way: the smallest error first
        error, clock, ahead = heapq.heappop(reached)
        if clock in found:
            continue
        found[clock] = Offset(-ahead if ahead else 0.0, error)
        for other, offset, more in links.get(clock, ()):
            heapq.heappush(reached, (error + more, other, ahead + offset))
    for clock, wall in walls.items():
        found.setdefault(clock, Offset(walls[reference] - wall, None))
    return found
