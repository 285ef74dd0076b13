"""What several sinks are told and get: checks that no outcome is ever told otherwise, and notes which samples came."""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from support.plans import ExpectedBatch, expected

from penstock.protocol import ranges
from penstock.protocol.messages import Outcomes, Part, Quarantined, Result, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array

if TYPE_CHECKING:
    from simulation.processes import Process, SinkProcess
    from simulation.scenario import TrainerPart
    from simulation.trainer_process import TrainerProcess
    from simulation.worker_process import WorkerProcess
    from simulation.world import World


@dataclass(slots=True)
class Received:
    """What a trainer got since a start: batches and epochs' ends, in order."""

    plan: StreamPlan
    part: "TrainerPart"
    position: int
    #: Of a batch: start, stop, items and patches of its samples; of an epoch's end: its stop.
    parts: list[tuple[object, ...]] = field(default_factory=list)

    def add(self, batch: Part, fields: Sequence[Array]) -> None:
        """Note a batch with its fields `item` and `patch`."""
        self.parts.append((batch.start, batch.stop, *(tuple(each.tolist()) for each in fields)))

    def check(self, dead: Callable[[int], AbstractSet[int]]) -> None:
        """Check it against the reference, given what failed in each epoch."""
        wanted = expected(self.plan, dead, self.position, self.part.rank, self.part.world_size)
        for got, want in zip(self.parts, wanted, strict=False):
            if isinstance(want, ExpectedBatch):
                items, patches = ([getattr(each, name) for each in want.samples] for name in ("item", "patch"))
                assert (want.start, want.stop, tuple(items), tuple(patches)) == got
            else:
                assert (want.stop,) == got


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
        """Check what the ventilator says has killed workers."""
        for each in outcomes.failed:
            if each.failure.kind == "killed":
                key = TaskKey(stream=outcomes.stream, ordinal=each.ordinal, item_offset=each.failure.offset)
                self._world.gave_up(Quarantined(key=key, failure=each.failure))

    def heard(self, outcomes: Outcomes) -> None:
        """Check what a sink is told for good: no sink ever hears otherwise. What none has heard may be decided anew."""
        stream = outcomes.stream
        failed: dict[int, set[int]] = {}
        for each in outcomes.failed:
            failed.setdefault(each.ordinal, set()).add(each.failure.offset)
        for ordinal in ranges.members(outcomes.settled):
            known = self.outcomes.setdefault((stream, ordinal), failed.get(ordinal, set()))
            assert known == failed.get(ordinal, set()), f"{stream}/{ordinal}: {failed} failed, and before {known}"

    def failed(self, plan: StreamPlan, epoch: int) -> set[int]:
        """Return the items that were told to have failed in an epoch."""
        tasks = plan.geometry.tasks_per_epoch
        return {
            plan.indices(ordinal).tolist()[offset]
            for ordinal in range(epoch * tasks, (epoch + 1) * tasks)
            for offset in self.outcomes.get((plan.name, ordinal), ())
        }

    def check(self, trainers: "Iterable[TrainerProcess]") -> None:
        """Check what the trainers of a schedule with flaky items got: the same failed for all of them."""
        for got in (got for trainer in trainers for got in trainer.got):
            got.check(lru_cache(maxsize=None)(lambda epoch, plan=got.plan: self.failed(plan, epoch)))

    def sent(self, worker: "WorkerProcess", sink: str, result: Result) -> None:
        """Count the samples that a worker sends, and those of them that stay on its host."""
        scenario = self._world.scenario
        samples = ranges.size(result.shares or ())
        self._world.notes["samples sent"] += samples
        if sink and scenario.hosts.get(worker.name) == scenario.hosts.get(f"sink {sink}", ""):
            self._world.notes["samples that stayed"] += samples

    def arrived(self, sink: "SinkProcess", result: Result) -> None:
        """Note which samples came to which of several sinks."""
        if result.shares is not None:
            self.came_to.setdefault((sink.name, result.key.stream), set()).update(ranges.members(result.shares))

    def killed(self, process: "Process") -> None:
        """Note what died while trainers wanted something of it."""
        world = self._world
        if process in world.ventilators:
            world.notes["ventilator killed"] += 1
        elif process in world.sinks:
            reading = (each for each in world.trainers if each.generation and not each.done)
            world.notes["sink killed"] += any(world.sinks[each.part.sink] is process for each in reading)
            world.notes["no sink lives"] += not any(sink.alive for sink in world.sinks)
