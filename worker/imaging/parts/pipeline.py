"""Makes the samples of a mixture whose parts differ in how they are read or transformed.

A task holds items of several parts. Each part's items go through a pipeline of their own, and the samples then stand in
one task's arrays, in the task's order: the bytes are those that a stream of that part's transform makes of these items.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.protocol import messages
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.sources.base import Loaded
from penstock.sources.choice.mixed_reader import TaskPart, divided
from penstock.sources.choice.mixture import Way, open_way, way_of_part, ways_of
from penstock.worker.imaging.cache.images import Cache
from penstock.worker.imaging.decode import Pixels
from penstock.worker.imaging.makers import Fields
from penstock.worker.imaging.pipeline import Outcome, Pipeline


@dataclass(frozen=True, slots=True)
class MixedLoaded(Loaded):
    """A task's items, read; their contents stand in `parts` only."""

    parts: tuple[tuple[TaskPart, Loaded], ...] = ()

    @property
    def waited_s(self) -> float:
        """Seconds spent so far on waiting for contents."""
        return sum(loaded.waited_s for _, loaded in self.parts)


class MixedPipeline:
    """Makes the samples of one stream. `read` may run on one thread while `make` runs on another."""

    def __init__(
        self,
        plan: StreamPlan,
        ways: Sequence[Way],
        roots: Mapping[str, str | Path],
        datasets: Collection[str] = (),
        cache: Cache | None = None,
    ) -> None:
        """Open a pipeline for each way that items go; for the rest see `Pipeline`. Raises SpecError and SourceError."""
        #: The plan that the samples are made by.
        self.plan = plan
        self._roots, self._patches = dict(roots), plan.settings.patches
        plans = [plan.with_transform(way.transform) for way in ways]
        self._pipelines = [
            Pipeline(mine, roots, datasets, cache, open_way(mine, way, roots))
            for mine, way in zip(plans, ways, strict=True)
        ]
        #: All that reads items.
        self.readers = tuple(pipeline.reader for pipeline in self._pipelines)
        self._way_of_part = way_of_part(ways)

    def serves(self, plan: StreamPlan, roots: Mapping[str, str | Path]) -> bool:
        """Return whether a pipeline of this plan, with these roots, would be equal to this one."""
        return self.plan == plan and self._roots == dict(roots)

    def room_bytes(self, items: int) -> int:
        """Return how much room (bytes) `make` needs for the samples of that many items."""
        return Fields.layout(self.plan.schema, items * self._patches)[1]

    def run(self, task: messages.Task) -> Outcome:
        """Read the task's items and make its samples."""
        parts = [(part, self._pipelines[part.way].run(part.task)) for part in self._divided(task)]
        return self._joined(len(task.items), parts, None)

    def read(self, task: messages.Task) -> Loaded:
        """Return what each item contains, or why it cannot be had."""
        parts = tuple((part, self._pipelines[part.way].read(part.task)) for part in self._divided(task))
        labels = np.array([item.label for item in task.items], np.int32)
        return MixedLoaded(_items(task), labels, [item.name for item in task.items], (), parts=parts)

    def make(self, task: messages.Task, loaded: Loaded, room: Pixels | None = None) -> Outcome:
        """Make the samples of what `read` returned, in `room` if it is given; see `Pipeline.make`."""
        assert isinstance(loaded, MixedLoaded)  # noqa: S101 - it came from `read`
        if len(loaded.parts) == 1:
            [(part, mine)] = loaded.parts
            return self._pipelines[part.way].make(part.task, mine, room)
        made = [(part, self._pipelines[part.way].make(part.task, mine)) for part, mine in loaded.parts]
        return self._joined(len(task.items), made, room)

    def _divided(self, task: messages.Task) -> list[TaskPart]:
        parts = self.plan.parts_of(_items(task))
        assert parts is not None  # noqa: S101 - it is a mixture
        return divided(task, self._way_of_part[parts])

    def _joined(self, items: int, parts: Sequence[tuple[TaskPart, Outcome]], room: Pixels | None) -> Outcome:
        """Return one task's samples, in its order, from those of its parts."""
        if len(parts) == 1:
            return parts[0][1]
        places = [_survivors(part, outcome) for part, outcome in parts]
        ranks = np.empty(items, np.int64)
        alive = np.sort(np.concatenate(places))
        ranks[alive] = np.arange(len(alive))
        room = np.empty(self.room_bytes(items), np.uint8) if room is None else room
        arrays = Fields(self.plan.schema, items, self._patches, room).first(len(alive) * self._patches)
        for mine, (_, outcome) in zip(places, parts, strict=True):
            rows = (ranks[mine][:, np.newaxis] * self._patches + np.arange(self._patches)).ravel()
            for out, array in zip(arrays, outcome.arrays, strict=True):
                out[rows] = array
        failures = [failure for _, outcome in parts for failure in outcome.failures]
        times = [outcome.timings for _, outcome in parts]
        timings = messages.Timings(
            read_s=sum(each.read_s for each in times),
            decode_s=sum(each.decode_s for each in times),
            transform_s=sum(each.transform_s for each in times),
            parts_s=sum(each.parts_s for each in times),
        )
        return Outcome(arrays, tuple(sorted(failures, key=lambda failure: failure.offset)), timings)


#: What makes a stream's samples.
AnyPipeline = Pipeline | MixedPipeline


def open_pipeline(
    plan: StreamPlan,
    roots: Mapping[str, str | Path],
    datasets: Collection[str] = (),
    cache: Cache | None = None,
) -> AnyPipeline:
    """Return what makes a stream's samples. Raises SpecError and SourceError."""
    ways = ways_of(plan)
    if not ways or plan.groups is None or (len(ways) == 1 and ways[0].transform == plan.settings.transform):
        return Pipeline(plan, roots, datasets, cache)
    return MixedPipeline(plan, ways, roots, datasets, cache)


def _items(task: messages.Task) -> Int64s:
    return np.array([item.item for item in task.items], np.int64)


def _survivors(part: TaskPart, outcome: Outcome) -> Int64s:
    """Return the places, in the whole task, of the items whose samples were made."""
    failed = {failure.offset for failure in outcome.failures}
    key = part.task.key
    return np.array(
        [place for within, place in enumerate(part.places) if key.offset_of(within) not in failed], np.int64
    )
