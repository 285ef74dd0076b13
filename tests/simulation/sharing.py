"""What several sinks are told and get: checks that no outcome is ever told otherwise, and notes which samples came."""

from typing import TYPE_CHECKING

from penstock.protocol import ranges
from penstock.protocol.messages import Outcomes, Quarantined, Result, TaskKey

if TYPE_CHECKING:
    from simulation.processes import SinkProcess
    from simulation.world import World


class Sharing:
    """Outcomes that were published, and samples that came to each of several sinks."""

    def __init__(self, world: "World") -> None:
        """Start with none."""
        self._world = world
        #: By stream and task, the offsets of the items that failed.
        self.outcomes: dict[tuple[str, int], set[int]] = {}
        #: By sink and stream, the positions of the samples that came.
        self.came_to: dict[tuple[str, str], set[int]] = {}

    def published(self, outcomes: Outcomes) -> None:
        """Check what the ventilator says has failed, for good: nothing is ever said otherwise."""
        stream = outcomes.stream
        failed: dict[int, set[int]] = {}
        for each in outcomes.failed:
            failed.setdefault(each.ordinal, set()).add(each.failure.offset)
            if each.failure.kind == "killed":
                key = TaskKey(stream=stream, ordinal=each.ordinal, item_offset=each.failure.offset)
                self._world.gave_up(Quarantined(key=key, failure=each.failure))
        for ordinal in ranges.members(outcomes.settled):
            known = self.outcomes.setdefault((stream, ordinal), failed.get(ordinal, set()))
            assert known == failed.get(ordinal, set()), f"{stream}/{ordinal}: {failed} failed, and before {known}"

    def arrived(self, sink: "SinkProcess", result: Result) -> None:
        """Note which samples came to which of several sinks."""
        if result.shares is not None:
            self.came_to.setdefault((sink.name, result.key.stream), set()).update(ranges.members(result.shares))
