"""A worker's counters of its own work, updated once a task, for heartbeats and metrics.

The thread that makes samples writes the numbers; the service's loop reads them.
"""

from collections.abc import Sequence

from penstock.protocol.messages import Timings
from penstock.protocol.records import STAGES
from penstock.protocol.runtime.histogram import Histogram
from penstock.protocol.wire import Array


class Counters:
    """Sums since the worker started."""

    def __init__(self) -> None:
        """Start at zero."""
        self.tasks = self.samples = self.bytes = self.items = self.failures = 0
        #: Bytes of the samples that went to a sink on this host, each sample once; never more than `bytes`.
        self.near_bytes = 0
        #: See `Timings`.
        self.parts_s = 0.0
        self.stages = {stage: Histogram() for stage in STAGES}

    def add(self, timings: Timings, arrays: Sequence[Array], items: int, failures: int, near_bytes: int = 0) -> None:
        """Count one task: where its time went, its fields (samples first), its items and how many of them failed.

        `near_bytes` of its samples went to sinks on this host.
        """
        self.tasks += 1
        self.samples += len(arrays[0]) if arrays else 0
        self.bytes += sum(array.nbytes for array in arrays)
        self.near_bytes += near_bytes
        self.items += items
        self.failures += failures
        self.stages["read"].add(timings.read_s)
        self.stages["decode"].add(timings.decode_s)
        self.stages["transform"].add(timings.transform_s)
        self.stages["send"].add(timings.send_s)
        self.parts_s += timings.parts_s

    @property
    def spent(self) -> Timings:
        """Seconds by stage so far."""
        stages = self.stages
        return Timings(
            read_s=stages["read"].total_s,
            decode_s=stages["decode"].total_s,
            transform_s=stages["transform"].total_s,
            send_s=stages["send"].total_s,
            parts_s=self.parts_s,
        )
