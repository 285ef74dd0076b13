"""What a schedule is made of: streams, workers, trainers, weather and faults. Pure data; `dice.py` draws it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from simulation.network import Weather
from support.plans import epoch_samples

from penstock.protocol.messages import Intervals
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.leases import LeasePolicy

FaultKind = Literal[
    "kill",
    "pause",
    "seek",
    "hang",
    "cut",
    "join",
    "drain",
    "jump",
    "reshape",
    "disk",
    "cut runners",
    "folder",
    "start",
    "twin",
    "isolate",
]


@dataclass(frozen=True, slots=True)
class WorkerPart:
    """A worker."""

    slots: int
    #: How many times longer its tasks take.
    slowness: float


@dataclass(frozen=True, slots=True)
class TrainerPart:
    """A trainer: where it starts, and the position at which it has had enough."""

    stream: str
    rank: int
    world_size: int
    ahead: int
    think_s: float
    position: int
    target: int
    #: Batches between two checkpoints.
    save_every: int
    #: Which job of the stream it belongs to: its ranks are resumed together with another world size.
    job: int = 0
    #: The sink that it is told to read from, if there are several.
    sink: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, or is asked for, at a time or once trainers have come so far."""

    when: float
    kind: FaultKind
    #: What it happens to; of a cut, the direction.
    target: str
    other: str = ""
    #: How long it lasts; of a kill, until the restart; of a jump, how far the clock jumps.
    seconds: float = 0.0
    #: A cut: whether messages are held back rather than lost. A disk: whether it is full rather than broken.
    holds: bool = False
    #: A seek, or a job that is resumed: which of the saved positions.
    choice: float = 0.0
    #: A job that is resumed: its new world size.
    world_size: int = 1
    #: Batches that trainers have consumed in all by then; 0: it happens at its time.
    after: int = 0


@dataclass(frozen=True, slots=True)
class ClockPart:
    """A process's own clock: what it shows at the beginning (s), and its seconds in one true second."""

    offset: float = 0.0
    rate: float = 1.0


@dataclass(slots=True)
class Scenario:
    """All that a schedule is made of."""

    seed: int
    plans: tuple[StreamPlan, ...]
    #: Items (indices in the whole source) that are reported as failures, and that kill their worker, by stream.
    failing: Mapping[str, frozenset[int]]
    poison: Mapping[str, frozenset[int]]
    workers: tuple[WorkerPart, ...]
    trainers: tuple[TrainerPart, ...]
    weather: Weather
    faults: tuple[Fault, ...]
    heal_at: float
    #: Whether the weather stays as it is for good: losses never end.
    forever: bool
    #: Whether a worker may die, and an item therefore be given up that is fine; without deaths none may be.
    deadly: bool
    #: Whether to go on until nothing is held for those who left.
    peace: bool
    #: Epochs of the first stream that are written to a file; 0: nothing is.
    epochs_written: int
    #: Clocks that are not right, by process.
    clocks: Mapping[str, ClockPart]
    #: Seconds that one task takes on a normal worker.
    task_s: float
    #: Chance that a worker dies between a result and the report that it was sent.
    crash_after_push: float
    encoded: bool
    #: Whether trainers that have had enough stay subscribed, without consuming, until all have.
    lingers: bool
    intervals: Intervals
    policy: LeasePolicy
    #: Items that fail at random, at one worker or another, by stream. What the trainers get is checked at the end then.
    flaky: Mapping[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    #: Whether a worker says that it has made what it never made. What trainers get is checked at the end then, too.
    boasts: bool = False
    #: The names of the sinks; an empty one: there is one, which is alone.
    sinks: tuple[str, ...] = ("",)
    #: The hosts of processes, where several share one; others are on hosts of their own.
    hosts: Mapping[str, str] = field(default_factory=dict[str, str])
    #: Ventilators that share a folder of records, one of which acts; of a single one, there is no folder.
    ventilators: tuple[str, ...] = ("ventilator",)
    #: Processes that none ever reaches, though they live.
    unreached: frozenset[str] = frozenset()
    #: What processes go by until the ventilator's intervals arrive.
    first_intervals: Intervals = field(default_factory=lambda: Intervals(heartbeat_s=1.0, silence_s=4.0))

    @property
    def as_told(self) -> bool:
        """Whether what failed is known only by what the sinks were told, at the end."""
        return self.boasts or bool(self.flaky)

    @property
    def names(self) -> list[str]:
        """The processes."""
        workers, trainers = range(len(self.workers)), range(len(self.trainers))
        return [
            *self.ventilators,
            *self.sink_names,
            *(f"worker {n}" for n in workers),
            *(f"trainer {n}" for n in trainers),
        ]

    @property
    def sink_names(self) -> list[str]:
        """The processes of the sinks."""
        return [f"sink {name}" if name else "sink" for name in self.sinks]

    def plan(self, stream: str) -> StreamPlan:
        """Return the plan of a stream."""
        return next(plan for plan in self.plans if plan.name == stream)

    def dead(self, stream: str) -> frozenset[int]:
        """Return the items that can never yield samples."""
        return self.failing[stream] | self.poison[stream]

    def alive(self, stream: str, epoch: int, begin: int) -> int:
        """Return how many samples of an epoch survive from place `begin` on."""
        plan, dead = self.plan(stream), self.dead(stream)
        samples = epoch_samples(plan.geometry, plan.settings.shard_of, epoch)[begin:]
        return sum(sample.item not in dead for sample in samples)
