"""The state of the leases core as frozen records, for the status, the metrics and the dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.protocol.messages import SinkStats, Timings, WorkerStats
from penstock.protocol.plan import StreamPlan
from penstock.protocol.stats import QuarantinedItem


@dataclass(frozen=True, slots=True)
class WorkerObservation:
    """One worker."""

    peer: bytes
    name: str
    host: str
    slots: int
    #: Tasks that it holds.
    leases: int
    #: When it began what it runs, and when it was heard last (monotonic s).
    busy_since: float
    heard_at: float
    #: Whether it holds up the stream, so that other workers got its tasks too.
    stalled: bool
    #: Why its results do not reach the sink; empty while they do.
    blocked: str
    #: What its last heartbeat said, and when (monotonic s); None before the first.
    stats: WorkerStats | None
    stats_at: float


@dataclass(frozen=True, slots=True)
class StreamObservation:
    """The work of one stream."""

    plan: StreamPlan
    #: Units of work that the sink misses; of them those that are ready, leased, and made but not arrived.
    wanted: int
    ready: int
    leased: int
    under_way: int
    #: Since when the lowest missing task has been the lowest (monotonic s); None while none is missing.
    head_since: float | None
    #: Smoothed seconds that a task takes on a worker; None until one was finished.
    typical_s: float | None
    #: Tasks finished, given to a second worker, and leased again after a loss.
    finished: int
    hedged: int
    repeated: int
    #: Items given up because they killed their workers.
    given_up: int
    #: Seconds that workers spent on the stream, by stage.
    spent: Timings
    #: Why the stream stopped; empty while it runs.
    stopped: str


@dataclass(frozen=True, slots=True)
class SinkObservation:
    """The connected sink."""

    #: Addresses for workers' results and for trainers.
    results: str
    trainers: str
    #: What its last heartbeat said, and when (monotonic s); None before the first.
    stats: SinkStats | None
    stats_at: float
    #: Its name; empty: it is the only sink.
    name: str = ""


@dataclass(frozen=True, slots=True)
class LeasesObservation:
    """The leases core at one moment."""

    #: When it was observed (monotonic s).
    now: float
    workers: tuple[WorkerObservation, ...]
    streams: tuple[StreamObservation, ...]
    #: The connected sinks, by name.
    sinks: tuple[SinkObservation, ...]
    #: Workers that left or were lost, by event.
    lost: Mapping[str, int]
    #: The quarantine ledger as far as it has come from the sink, newest line first.
    ledger: tuple[QuarantinedItem, ...]
