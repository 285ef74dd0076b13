"""The state of the sink's core as a frozen record, for the status and the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.protocol.messages import SinkStats


@dataclass(frozen=True, slots=True)
class SinkCoreObservation:
    """The sink's core at one moment."""

    #: When it was observed (monotonic s).
    now: float
    #: Whether the ventilator has answered.
    welcomed: bool
    #: Trainers that are subscribed.
    trainers: int
    #: Results that arrived, by outcome: accepted, duplicate, unwanted, stale, withheld.
    results: Mapping[str, int]
    #: Why streams stopped, by name; streams that run are left out.
    stopped: Mapping[str, str]
    #: How far the recording has come; None if nothing is written.
    recording: Mapping[str, Any] | None
    #: The statistics of the last heartbeat.
    stats: SinkStats
