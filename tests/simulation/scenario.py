"""What one seed stands for: streams, workers, trainers, weather and faults. Pure data and the dice that make it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from simulation.network import Weather
from support.plans import epoch_samples, make_plan, whole_source

from penstock.protocol.messages import Intervals
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.leases import LeasePolicy

#: Simulated seconds after which nothing is broken on purpose any more.
_HEAL_S = (1.5, 8.0)

FaultKind = Literal["kill", "pause", "seek", "hang", "cut", "join", "drain"]


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


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, or is asked for, at a time."""

    when: float
    kind: FaultKind
    #: What it happens to; of a cut, the direction.
    target: str
    other: str = ""
    #: How long it lasts; of a kill, until the restart.
    seconds: float = 0.0
    #: A cut: whether messages are held back rather than lost. A seek: which of the saved positions.
    holds: bool = False
    choice: float = 0.0


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
    #: Seconds that one task takes on a normal worker.
    task_s: float
    #: Chance that a worker dies between a result and the report that it was sent.
    crash_after_push: float
    encoded: bool
    #: Whether trainers that have had enough stay subscribed, without consuming, until all have.
    lingers: bool
    intervals: Intervals
    policy: LeasePolicy
    #: What processes go by until the ventilator's intervals arrive.
    first_intervals: Intervals = field(default_factory=lambda: Intervals(heartbeat_s=1.0, silence_s=4.0))

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


def make_scenario(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    rng = random.Random(seed)
    plans = tuple(_plan(rng, name) for name in ("train", "validation")[: rng.choice((1, 1, 2))])
    failing, poison = {}, {}
    for plan in plans:
        items = [whole_source(plan, place) for place in range(plan.items)]
        rng.shuffle(items)
        few = rng.choice((0, 0, 1, 2, plan.items // 4))
        poisonous = rng.choice((0, 0, 0, 1, 1, 2))
        failing[plan.name] = frozenset(items[:few])
        poison[plan.name] = frozenset(items[few : few + poisonous])
    workers = tuple(_worker(rng) for _ in range(rng.randint(1, 5)))
    trainers = tuple(part for plan in plans for part in _trainers(rng, plan))
    heal_at = rng.uniform(*_HEAL_S)
    return Scenario(
        seed=seed,
        plans=plans,
        failing=failing,
        poison=poison,
        workers=workers,
        trainers=trainers,
        weather=_weather(rng),
        faults=tuple(sorted(_faults(rng, len(workers), len(trainers), heal_at), key=lambda fault: fault.when)),
        heal_at=heal_at,
        task_s=rng.choice((0.02, 0.1, 0.1, 0.4)),
        crash_after_push=rng.choice((0.0, 0.0, 0.02)),
        encoded=rng.random() < 0.25,
        intervals=Intervals(heartbeat_s=1.0, silence_s=rng.choice((2.0, 4.0)), task_timeout_s=rng.choice((6.0, 15.0))),
        policy=LeasePolicy(confirm_s=rng.choice((2.0, 5.0)), hedge_s=rng.choice((0.5, 2.0))),
        lingers=rng.random() < 0.3,
    )


def _plan(rng: random.Random, name: str) -> StreamPlan:
    patches = rng.choice((1, 1, 2, 3))
    items = rng.choice((rng.randint(1, 6), rng.randint(5, 40), rng.randint(20, 60)))
    batch = rng.choice((1, 2, 3, 4, 5, 8, 13))
    return make_plan(
        name,
        seed=rng.randrange(2**63),
        items=items,
        patches=patches,
        mix=rng.choice((1, 1, 2, 3, 4, 6, 8)),
        task_items=rng.choice((1, 2, 3, 4, 8)),
        batch_size=batch,
        drop_remainder=rng.random() < 0.3 and items * patches >= batch,
        shuffle=rng.random() < 0.8,
        shard=rng.choice(("1/1", "1/1", "2/3")),
        window_samples=rng.choice((1, 1, 20, 60, 200)),
        failure_budget=rng.choice((1.0, 1.0, 1.0, 1.0, 0.1)),
        fingerprint=f"{name} {rng.randrange(1000)}",
    )


def _worker(rng: random.Random) -> WorkerPart:
    return WorkerPart(slots=rng.choice((1, 2, 3, 3, 8)), slowness=rng.choice((1.0, 1.0, 1.0, 1.0, 10.0)))


def _trainers(rng: random.Random, plan: StreamPlan) -> list[TrainerPart]:
    size = plan.geometry.samples_per_epoch
    parts = []
    for _ in range(rng.choice((1, 1, 1, 2))):  # independent readers of one stream
        world_size = rng.choice((1, 1, 1, 2, 3))
        if world_size > _most_ranks(plan):
            world_size = 1
        position = rng.choice((0, 0, rng.randrange(3 * size)))
        # Positions that a trainer saves stand between rounds, and its ranks start at the same one.
        span = min(2.5 * size, 40 * plan.geometry.task_items * plan.settings.patches)
        part = TrainerPart(
            stream=plan.name,
            rank=0,
            world_size=world_size,
            ahead=rng.choice((1, 2, 3, 6)),
            think_s=rng.choice((0.001, 0.02, 0.1)),
            position=position,
            target=position + max(1, int(span * rng.uniform(0.3, 1.0))),
            save_every=rng.choice((1, 1, 3, 10)),
        )
        parts += [
            replace(part, rank=rank, ahead=rng.choice((1, 2, 4)), think_s=part.think_s * rng.choice((1, 1, 3)))
            for rank in range(world_size)
        ]
    return parts


def _most_ranks(plan: StreamPlan) -> int:
    """Return how many ranks certainly get a batch in every epoch."""
    samples = plan.geometry.samples_per_epoch // 2
    return samples // plan.settings.batch_size if plan.settings.drop_remainder else samples


def _weather(rng: random.Random) -> Weather:
    weather = Weather(delay_s=rng.choice((0.0005, 0.005, 0.05)), noticed=rng.random(), dies=rng.random())
    if rng.random() < 0.6:
        weather.loss = rng.choice((0.0, 0.01, 0.05, 0.2))
        weather.duplication = rng.choice((0.0, 0.01, 0.1))
        weather.reordering = rng.choice((0.0, 0.01, 0.1))
    return weather


def _faults(rng: random.Random, workers: int, trainers: int, heal_at: float) -> list[Fault]:
    faults = []
    names = ["ventilator", "sink", *(f"worker {n}" for n in range(workers)), *(f"trainer {n}" for n in range(trainers))]
    for _ in range(rng.choice((0, 1, 2, 4, 8, 14))):
        when = rng.uniform(0.0, heal_at)
        kind: FaultKind = rng.choice(("kill", "kill", "kill", "pause", "seek", "hang", "cut", "cut", "join", "drain"))
        seconds = rng.choice((rng.uniform(0.01, 0.5), rng.uniform(0.5, 6.0)))
        target, other = rng.choice(names), ""
        match kind:
            case "seek":
                target = f"trainer {rng.randrange(trainers)}"
            case "hang" | "join" | "drain":
                target = f"worker {rng.randrange(workers)}"
                seconds = rng.choice((seconds, 1e9))
            case "cut":
                other = rng.choice(("ventilator", "sink"))
            case _:
                pass
        fault = Fault(when, kind, target, other, seconds, holds=rng.random() < 0.5, choice=rng.random())
        faults.append(fault)
        if kind == "cut" and rng.random() < 0.6:
            faults.append(replace(fault, target=other, other=target))
    return faults
