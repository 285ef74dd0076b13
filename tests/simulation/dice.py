"""The dice that schedules are drawn from: streams, workers, trainers, weather and faults.

`families.py` loads them; `scenario.py` says what the fields of a schedule mean.
"""

import random
from dataclasses import dataclass, replace

from simulation.network import Weather
from simulation.scenario import ClockPart, Fault, FaultKind, Scenario, TrainerPart, WorkerPart
from support.plans import make_plan, whole_source

from penstock.protocol.messages import Intervals
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.leases import LeasePolicy

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Dice:
    """What a schedule is drawn from: of several values each is as likely, of a `Range` every number in between."""

    streams: tuple[int, ...] = (1, 1, 2)
    items: tuple[tuple[int, int], ...] = ((1, 6), (5, 40), (20, 60))
    patches: tuple[int, ...] = (1, 1, 2, 3)
    batch: tuple[int, ...] = (1, 2, 3, 4, 5, 8, 13)
    mix: tuple[int, ...] = (1, 1, 2, 3, 4, 6, 8)
    #: Sizes of tasks and mix windows: one must divide the other.
    task_items: tuple[int, ...] = (1, 2, 3, 4, 8)
    shuffle: float = 0.8
    drop_remainder: float = 0.3
    window_samples: tuple[int, ...] = (1, 1, 20, 60, 200)
    budget: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 0.1)
    #: Items that fail, and that kill their worker; -1: a quarter of them.
    failing: tuple[int, ...] = (0, 0, 1, 2, -1)
    poison: tuple[int, ...] = (0, 0, 0, 1, 1, 2)
    workers: Range = (1, 5)
    slots: tuple[int, ...] = (1, 2, 3, 3, 8)
    slowness: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 10.0)
    jobs: tuple[int, ...] = (1, 1, 1, 2)
    ranks: tuple[int, ...] = (1, 1, 1, 2, 3)
    ahead: tuple[int, ...] = (1, 2, 3, 6)
    think_s: tuple[float, ...] = (0.001, 0.02, 0.1)
    #: How far a trainer goes: in tasks, and never more than in epochs. A few schedules are large.
    tasks: tuple[int, ...] = (8, 8, 16, 16, 16, 40)
    epochs: float = 2.5
    #: Epochs of the first stream that are written to a file.
    epochs_written: tuple[int, ...] = (0,)
    delay_s: tuple[float, ...] = (0.0005, 0.005, 0.05)
    calm: float = 0.4
    loss: tuple[float, ...] = (0.0, 0.01, 0.05, 0.2)
    duplication: tuple[float, ...] = (0.0, 0.01, 0.1)
    reordering: tuple[float, ...] = (0.0, 0.01, 0.1)
    forever: bool = False
    #: When nothing is broken on purpose any more.
    heal_s: Range = (1.5, 8.0)
    faults: tuple[int, ...] = (0, 1, 2, 4, 8, 14)
    kinds: tuple[FaultKind, ...] = ("kill", "kill", "kill", "pause", "seek", "hang", "cut", "cut", "join", "drain")
    short_s: Range = (0.01, 0.5)
    long_s: Range = (0.5, 6.0)
    crash_after_push: tuple[float, ...] = (0.0, 0.0, 0.02)
    deadly: bool = True
    #: How far clocks differ, and how much faster or slower they go.
    offset_s: float = 0.0
    drift: float = 0.0
    jump_s: Range = (0.5, 30.0)
    task_s: tuple[float, ...] = (0.02, 0.1, 0.1, 0.4)
    silence_s: tuple[float, ...] = (2.0, 4.0)
    task_timeout_s: tuple[float, ...] = (6.0, 15.0)


def draw(seed: int, dice: Dice) -> Scenario:
    """Return a schedule: the same for the same arguments."""
    rng = random.Random(seed)
    plans = tuple(_plan(rng, dice, name) for name in ("train", "validation")[: rng.choice(dice.streams)])
    failing, poison = {}, {}
    for plan in plans:
        items = [whole_source(plan, place) for place in range(plan.items)]
        rng.shuffle(items)
        few = rng.choice(dice.failing)
        few = plan.items // 4 if few < 0 else few
        failing[plan.name] = frozenset(items[:few])
        poison[plan.name] = frozenset(items[few : few + rng.choice(dice.poison)])
    workers = tuple(_worker(rng, dice) for _ in range(rng.randint(int(dice.workers[0]), int(dice.workers[1]))))
    trainers = tuple(part for plan in plans for part in _trainers(rng, dice, plan))
    heal_at = rng.uniform(*dice.heal_s)
    scenario = Scenario(
        seed=seed,
        plans=plans,
        failing=failing,
        poison=poison,
        workers=workers,
        trainers=trainers,
        weather=_weather(rng, dice),
        faults=(),
        heal_at=heal_at,
        forever=dice.forever,
        deadly=dice.deadly,
        peace=rng.random() < 0.25,
        epochs_written=rng.choice(dice.epochs_written),
        clocks={},
        task_s=rng.choice(dice.task_s),
        crash_after_push=rng.choice(dice.crash_after_push),
        encoded=rng.random() < 0.1,
        intervals=Intervals(
            heartbeat_s=1.0, silence_s=rng.choice(dice.silence_s), task_timeout_s=rng.choice(dice.task_timeout_s)
        ),
        policy=LeasePolicy(confirm_s=rng.choice((2.0, 5.0)), hedge_s=rng.choice((0.5, 2.0))),
        lingers=rng.random() < 0.3,
    )
    faults = [fault for _ in range(rng.choice(dice.faults)) for fault in _fault(rng, dice, scenario)]
    scenario.faults = tuple(sorted(faults, key=lambda fault: fault.when))
    if dice.drift or dice.offset_s:
        scenario.clocks = {name: _clock(rng, dice) for name in scenario.names}
    return scenario


def most_ranks(plan: StreamPlan) -> int:
    """Return how many ranks certainly get a batch in every epoch."""
    samples = plan.geometry.samples_per_epoch // 2
    return max(1, samples // plan.settings.batch_size if plan.settings.drop_remainder else samples)


def _plan(rng: random.Random, dice: Dice, name: str) -> StreamPlan:
    patches = rng.choice(dice.patches)
    items = rng.randint(*rng.choice(dice.items))
    batch = rng.choice(dice.batch)
    mix = rng.choice(dice.mix)
    return make_plan(
        name,
        seed=rng.randrange(2**63),
        items=items,
        patches=patches,
        mix=mix,
        task_items=rng.choice(dice.task_items),
        batch_size=batch,
        drop_remainder=rng.random() < dice.drop_remainder and items * patches >= batch,
        shuffle=rng.random() < dice.shuffle,
        shard=rng.choice(("1/1", "1/1", "2/3")),
        window_samples=rng.choice(dice.window_samples),
        failure_budget=rng.choice(dice.budget),
        fingerprint=f"{name} {rng.randrange(1000)}",
    )


def _worker(rng: random.Random, dice: Dice) -> WorkerPart:
    return WorkerPart(slots=rng.choice(dice.slots), slowness=rng.choice(dice.slowness))


def _trainers(rng: random.Random, dice: Dice, plan: StreamPlan) -> list[TrainerPart]:
    size = plan.geometry.samples_per_epoch
    parts = []
    for job in range(rng.choice(dice.jobs)):
        world_size = rng.choice(dice.ranks)
        if world_size > most_ranks(plan):
            world_size = 1
        position = rng.choice((0, 0, rng.randrange(3 * size)))
        # Positions that a trainer saves stand between rounds, and its ranks start at the same one.
        span = min(dice.epochs * size, rng.choice(dice.tasks) * plan.geometry.task_items * plan.settings.patches)
        part = TrainerPart(
            stream=plan.name,
            job=job,
            rank=0,
            world_size=world_size,
            ahead=rng.choice(dice.ahead),
            think_s=rng.choice(dice.think_s),
            position=position,
            target=position + max(1, int(span * rng.uniform(0.3, 1.0))),
            save_every=rng.choice((1, 1, 3, 10)),
        )
        parts += [
            replace(part, rank=rank, ahead=rng.choice(dice.ahead), think_s=part.think_s * rng.choice((1, 1, 3)))
            for rank in range(world_size)
        ]
    return parts


def _weather(rng: random.Random, dice: Dice) -> Weather:
    weather = Weather(delay_s=rng.choice(dice.delay_s), noticed=rng.random(), dies=rng.random())
    if rng.random() >= dice.calm:
        weather.loss = rng.choice(dice.loss)
        weather.duplication = rng.choice(dice.duplication)
        weather.reordering = rng.choice(dice.reordering)
    return weather


def _clock(rng: random.Random, dice: Dice) -> ClockPart:
    return ClockPart(rng.uniform(0.0, dice.offset_s), rng.uniform(1.0 - dice.drift, 1.0 + dice.drift))


def _fault(rng: random.Random, dice: Dice, scenario: Scenario) -> list[Fault]:
    workers, trainers = len(scenario.workers), len(scenario.trainers)
    when = rng.uniform(0.0, scenario.heal_at)
    kind = rng.choice(dice.kinds)
    seconds = rng.choice((rng.uniform(*dice.short_s), rng.uniform(*dice.long_s)))
    target, other, world_size = rng.choice(scenario.names), "", 1
    match kind:
        case "seek":
            target = f"trainer {rng.randrange(trainers)}"
        case "reshape":
            part = rng.choice(scenario.trainers)
            target, other = part.stream, str(part.job)
            world_size = rng.randint(1, min(3, most_ranks(scenario.plan(part.stream))))
        case "hang" | "join" | "drain":
            target = f"worker {rng.randrange(workers)}"
            seconds = rng.choice((seconds, 1e9))
        case "cut":
            other = rng.choice(("ventilator", "sink"))
        case "jump":
            seconds = rng.uniform(*dice.jump_s)
        case _:
            pass
    holds = rng.random() < 0.5
    fault = Fault(when, kind, target, other, seconds, holds=holds, choice=rng.random(), world_size=world_size)
    if kind == "cut" and rng.random() < 0.6:
        return [fault, replace(fault, target=other, other=target)]
    return [fault]
