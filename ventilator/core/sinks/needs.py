"""What each of several sinks needs of one stream: the newest reports, and which samples of a task go to whom.

Part of the leases core: no socket, no clock. `shared_stream.py` merges the needs; what is asked here is who lacks what.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock.protocol import ranges
from penstock.protocol.messages import StreamNeed, TaskKey
from penstock.protocol.order import Int64s
from penstock.protocol.outcomes.shares import positions_of
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.records import MOST_SPANS
from penstock.ventilator.core.sinks.claims import Claims, tasks_at
from penstock.ventilator.core.sinks.patience import NOWHERE, Reach
from penstock.ventilator.core.sinks.settling import Settling

#: Tasks of one sink that are looked at, the lowest.
MOST_TASKS = 2**15


@dataclass(slots=True)
class Need:
    """The newest report of one sink on the stream."""

    need: StreamNeed
    #: Tasks of which samples are lacking.
    lacking: Ranges
    #: Number of the report.
    report: int
    #: Tasks whose outcomes it was told since its last heartbeat.
    told: Ranges = ()
    #: Whether it is to be decided by what it says.
    fresh: bool = True
    #: Whether it waits for an answer, whatever is settled; the reason for a stop that it was told.
    unanswered: bool = False
    told_stop: str = ""
    #: The tasks that its window spans.
    reach: Reach = NOWHERE
    #: Of how many tasks it has lacked samples at most: as many as its window holds.
    most: int = 0
    #: Positions that it lacks, those around the last ones that were asked for.
    near: tuple[int, int] = (0, 0)

    @property
    def presses(self) -> bool:
        """Whether it lacks more than half of its window."""
        return 2 * ranges.size(self.lacking) > self.most

    def lacked(self, low: int, high: int) -> Ranges:
        """Return which of the positions from `low` to before `high` it lacks."""
        start, stop = self.near
        if start <= low and high <= stop:  # nearly always: tasks are asked for by position
            return ((low, high),)
        self.near = ranges.around(self.need.lacks, low)
        return ranges.clipped(self.need.lacks, low, high)


class Needs(dict[bytes, Need]):
    """The needs of all sinks that read the stream, by their identity."""

    def __init__(self, plan: StreamPlan, settling: Settling) -> None:
        """Start without any; what failed of the stream, `settling` knows."""
        super().__init__()
        self._plan, self._settling = plan, settling
        #: The names of the connected sinks, and the hosts of those with workers; replaced, never changed.
        self.names: Mapping[bytes, str] = {}
        self.hosts: Mapping[bytes, str] = {}
        #: Who lacks samples of which tasks; None: not found since the needs were merged.
        self._claims: Claims | None = None

    def merged(self) -> None:
        """From now on, go by the reports as they are."""
        self._claims = None

    def lacks(self, peer: bytes, key: TaskKey) -> Int64s:
        """Return the positions of a unit of work that a sink lacks, without those that failed."""
        known = self[peer]
        if not ranges.holds(known.lacking, key.ordinal):
            return np.empty(0, np.int64)
        places = positions_of(self._plan, key, self._settling.failed(key.ordinal))
        lacks = ranges.clipped(known.need.lacks, int(places.min()), int(places.max()) + 1) if len(places) else ()
        return places[ranges.contained(lacks, places)]

    def lacked(self, peer: bytes, key: TaskKey) -> Ranges:
        """Return the same, ascending, as ranges."""
        span = self._span(key)
        if span is None:
            return ranges.from_sorted(np.unique(self.lacks(peer, key)).tolist())
        return self[peer].lacked(*span)

    def destined(self, key: TaskKey) -> dict[bytes, Ranges]:
        """Return which positions of a unit of work each connected sink lacks, of those that lack any; by name."""
        found: dict[bytes, Ranges] = {}
        peers = self.claimants(key.ordinal)
        span = self._span(key) if peers else None
        for peer in peers:
            known = self.get(peer)
            if known is None:
                continue
            places = self.lacked(peer, key) if span is None else known.lacked(*span)
            if places:
                found[peer] = places[:MOST_SPANS]
        return found

    def _span(self, key: TaskKey) -> tuple[int, int] | None:
        """Return the positions of a unit of work from the first to the last, if none failed and no other lies there."""
        if key.item_offset is not None or key.offsets:
            return None
        if self._settling.any_failed and self._settling.failed(key.ordinal):
            return None
        return self._plan.geometry.span(key.ordinal)

    def lacking(self, lacks: Ranges) -> Ranges:
        """Return the tasks that hold samples at these positions, the lowest."""
        geometry = self._plan.geometry
        if geometry.mix <= geometry.task_items:  # a task is a block
            return ranges.lowest(ranges.normalise(tasks_at(geometry, lacks)), MOST_TASKS)
        tasks = ranges.normalise(geometry.tasks_between(*span) for span in lacks)
        tasks = ranges.lowest(tasks, MOST_TASKS)
        members = ranges.members(tasks)
        return ranges.from_sorted(n for n in members if ranges.contained(lacks, geometry.positions(n)).any())

    def claimants(self, ordinal: int) -> tuple[bytes, ...]:
        """Return the connected sinks that lack samples of a task, by name."""
        if self._claims is None or self._claims.names is not self.names:
            self._claims = Claims(self.names, {peer: known.lacking for peer, known in self.items()})
        return self._claims.of(ordinal)

    def presses(self, key: TaskKey) -> bool:
        """Return whether a sink lacks so much that what is for it must not wait for a worker on its host."""
        return any(known.presses for peer in self.claimants(key.ordinal) if (known := self.get(peer)))

    def wanted_at(self, key: TaskKey) -> str:
        """Return the host that most samples of a unit of work go to, if workers run there; empty: it does not matter.

        Of a task that is smaller than its mix window, the samples are not counted: its sinks may all be on one host.
        """
        hosts = self.hosts
        if not hosts:
            return ""
        peers = self.claimants(key.ordinal)
        if len(peers) == 1:  # nearly always
            return hosts.get(peers[0], "")
        found = {hosts.get(peer, "") for peer in peers}
        if len(found) <= 1 or self._plan.geometry.span(key.ordinal) is None:
            return found.pop() if len(found) == 1 else ""
        sizes = Counter[str]()
        for peer in peers:
            if peer in self:
                sizes[hosts.get(peer, "")] += ranges.size(self.lacked(peer, key))
        return max(sizes, key=lambda host: (sizes[host], host), default="")
