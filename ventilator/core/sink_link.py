"""The ventilator's link to one sink: greeting, heartbeats, progress reports in order, and the sink's statistics.

Part of the leases core: no socket, no clock. `leases.py` decides what a report means for the streams' work.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import (
    Drain,
    Heartbeat,
    Intervals,
    LeaseKey,
    ListPaths,
    Paths,
    Progress,
    SinkHello,
    SinkWelcome,
    StreamNeed,
)
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.observation import SinkObservation
from penstock.ventilator.core.sink_report import SinkReport

#: Tasks of one stream that are taken from a report, the lowest: far more than workers hold at once, and few enough that
#: other peers hear from the ventilator in between. The next report brings the others.
MOST_MISSING = 2**15

#: (stream, first item) to a page of item paths; for a sink that writes a file.
PathLister = Callable[[str, int], Paths]


@dataclass(slots=True)
class _Connection:
    peer: bytes
    hello: SinkHello
    live: Liveness
    #: Number of the newest progress report.
    sequence: int = -1


class SinkLink:
    """One sink, connected or not; what it reported outlives its connection."""

    def __init__(  # noqa: PLR0913 - what a sink's welcome is made of
        self,
        plans: Sequence[StreamPlan],
        intervals: Intervals,
        version: str,
        leases: LeaseKey,
        list_paths: PathLister,
        name: str = "",
        *,
        term: int = 0,
    ) -> None:
        """Wait for the sink of this name; it checks results by the key `leases`."""
        self.name = name
        self.report = SinkReport()
        self._plans, self._intervals, self._version, self._list_paths = plans, intervals, version, list_paths
        self._leases, self._term = leases, term
        self._connection: _Connection | None = None

    @property
    def peer(self) -> bytes | None:
        """The sink's routing identity; None while it is not connected."""
        return self._connection.peer if self._connection else None

    @property
    def hello(self) -> SinkHello | None:
        """The hello of the connected sink; None while it is not connected."""
        return self._connection.hello if self._connection else None

    @property
    def live(self) -> Liveness | None:
        """Signs of life of the connected sink."""
        return self._connection.live if self._connection else None

    def join(self, peer: bytes, hello: SinkHello, now: float) -> list[Instruction]:
        """Connect a sink that said hello."""
        self._connection = _Connection(peer, hello, Liveness(self._intervals, now, now))
        self.report.meet(hello.incarnation)
        named = {"sink": hello.name} if hello.name else {}
        return [Note("sink joined", {"results": hello.results} | named)]

    def refuse(self, peer: bytes, hello: SinkHello) -> list[Instruction]:
        """Return the refusal of a sink of another version; nothing if its version is right."""
        if hello.version == self._version:
            return []
        reason = f"this sink runs Penstock {hello.version}, the ventilator {self._version}: install the same"
        return [Send(peer, Drain(reason=reason)), Note("sink refused", {"reason": reason}, "error")]

    def welcome(self) -> SinkWelcome:
        """Return the answer to a sink's hello."""
        return SinkWelcome(streams=tuple(self._plans), intervals=self._intervals, leases=self._leases, term=self._term)

    def lose(self) -> None:
        """Forget the connection."""
        self._connection = None

    def is_lost(self, now: float) -> bool:
        """Return whether a connected sink has been silent for too long."""
        return self._connection is not None and self._connection.live.lost(now)

    def heartbeat(self, now: float) -> list[Instruction]:
        """Return the heartbeat that is due, if one is; it says how many lines of the ledger have arrived."""
        connection = self._connection
        if connection is None or not connection.live.due(now):
            return []
        connection.live.spoke_at = now
        return [Send(connection.peer, Heartbeat(ledger=self.report.lines))]

    def needs(self, progress: Progress) -> Mapping[str, StreamNeed] | None:
        """Return a report's part for each stream, with its lowest tasks, or None if a newer report was read before.

        Raises RemoteProtocolError if it lists no tasks that make sense.
        """
        assert self._connection is not None  # noqa: S101 - only the connected sink's reports are read
        if progress.sequence <= self._connection.sequence:
            return None
        for need in progress.needs:
            if not (ranges.is_normal(need.missing) and ranges.is_normal(need.came)):
                raise RemoteProtocolError("progress", f"{need.stream}: no list of tasks")
        self._connection.sequence = progress.sequence
        return {
            need.stream: need
            if ranges.size(need.missing) <= MOST_MISSING
            else need.replaced(missing=ranges.lowest(need.missing, MOST_MISSING))
            for need in progress.needs
        }

    def paths(self, peer: bytes, message: ListPaths) -> list[Instruction]:
        """Return the page of item paths that was asked for."""
        return [Send(peer, self._list_paths(message.stream, message.start))]

    def observe(self) -> SinkObservation | None:
        """Return the state of the connected sink; None while there is none."""
        if self._connection is None:
            return None
        hello, report = self._connection.hello, self.report
        return SinkObservation(hello.results, hello.trainers, report.stats, report.at, self.name)
