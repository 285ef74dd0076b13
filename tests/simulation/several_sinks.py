"""Schedules with several sinks for one stream: the families of one sink, in which the ranks read from different sinks.

`test_several_sinks.py` runs them.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from simulation.dice import Dice, draw, most_ranks
from simulation.families import FAMILIES, Family
from simulation.scenario import Fault, Scenario, TrainerPart
from simulation.world import World
from support.plans import ExpectedBatch, expected, whole_source

from penstock.protocol.plan import StreamPlan

#: Families in which nothing depends on where the ranks read; a file is written by one of the sinks.
SHARED = tuple(family for family in FAMILIES if family.name != "cut runners")
_SINKS = (1, 2, 2, 3, 4)
_RANKS = (1, 2, 2, 3, 4, 8)
#: Every so many schedules one is as large as with one sink; the others are small, so that there can be many.
_LARGE = 25

#: Two to four ranks read a few epochs of few items; nothing goes wrong but what `make_adopting` adds.
_ADOPTING = Dice(
    streams=(1,),
    items=((12, 24),),
    batch=(1, 2, 3),
    mix=(1, 2, 4),
    task_items=(1, 2, 4),
    window_samples=(20, 60),
    drop_remainder=0.0,
    budget=(1.0,),
    failing=(0,),
    poison=(0,),
    workers=(2, 4),
    slowness=(1.0,),
    jobs=(1,),
    ranks=(1,),
    think_s=(0.02,),
    tasks=(40,),
    epochs=3.0,
    delay_s=(0.0005, 0.005),
    calm=1.0,
    faults=(0,),
    heal_s=(14.0, 16.0),
    crash_after_push=(0.0,),
    task_s=(0.1,),
    silence_s=(4.0,),
    task_timeout_s=(15.0,),
)
#: A rank on each of four nodes reads as fast as two workers a node can make.
_NODES = replace(
    _ADOPTING,
    items=((400, 400),),
    patches=(1,),
    batch=(4,),
    mix=(1,),
    task_items=(4,),
    window_samples=(200,),
    workers=(8, 8),
    slots=(3,),
    task_s=(0.4,),
    think_s=(0.001,),
    tasks=(100,),
    epochs=1.0,
    heal_s=(1.5, 2.0),
)
#: Seconds between two deaths; for which a sink was deaf by then; until the next start; and for which, after that start,
#: the sinks that have heard cannot be heard: less than a ventilator waits for them (2.5 heartbeats of 1 s), with one
#: heartbeat until they notice that it is another one.
_EVERY_S, _DEAF_S, _DOWN_S, _MUTE_S = 3.5, (0.3, 0.8), (0.01, 0.1), (0.2, 1.2)


def family_of(seed: int) -> Family:
    """Return the family of the schedule with this number: "anything" every third time."""
    return SHARED[0] if seed % 3 == 0 else SHARED[seed % len(SHARED)]


def make_scenario(seed: int) -> Scenario:
    """Return the schedule with this number: one of the family's, with several sinks and more ranks."""
    family = family_of(seed)
    scenario = draw(seed, family.dice if seed % _LARGE == 0 else small(family.dice))
    family.shape(scenario, random.Random(seed + 2))
    return spread(scenario, seed)


def small(dice: Dice) -> Dice:
    """Return dice for the same trouble in a small world: what has to go wrong does, and there is little else."""
    return replace(
        dice,
        streams=(1,),
        jobs=(1,),
        tasks=(4, 6),
        items=((1, 6), (4, 16)),
        epochs=min(dice.epochs, 2.0),
        workers=(1, 3),
        heal_s=(min(dice.heal_s[0], 3.0), min(dice.heal_s[1], 6.0)),
        think_s=(0.001, 0.02),
        faults=dice.faults[:4],
    )


def _spread(scenario: Scenario, ranks: Sequence[int], rng: random.Random) -> list[TrainerPart]:
    """Give each job another number of ranks, each of which reads from one of the sinks."""
    parts: list[TrainerPart] = []
    for part in scenario.trainers:
        if part.rank:
            continue
        world_size = min(rng.choice(ranks), most_ranks(scenario.plan(part.stream)))
        sinks = [rng.randrange(len(scenario.sinks)) for _ in range(world_size)]
        parts += [replace(part, rank=rank, world_size=world_size, sink=sink) for rank, sink in enumerate(sinks)]
    return parts


def _aim(fault: Fault, scenario: Scenario, rng: random.Random) -> Fault:
    """Let what happens to the sink happen to one of them."""
    names = scenario.sink_names
    target = rng.choice(names) if fault.target == "sink" else fault.target
    other = rng.choice(names) if fault.other == "sink" else fault.other
    if target.startswith("trainer"):
        target = f"trainer {int(target.split()[1]) % len(scenario.trainers)}"
    if fault.kind == "disk":
        target = names[0]
    return replace(fault, target=target, other=other)


def spread(scenario: Scenario, seed: int, *, sinks: Sequence[int] = _SINKS, ranks: Sequence[int] = _RANKS) -> Scenario:
    """Give a schedule one of these numbers of sinks and of ranks."""
    rng = random.Random(seed + 3)
    scenario.sinks = tuple("abcd"[: rng.choice(sinks)])
    scenario.trainers = tuple(_spread(scenario, ranks, rng))
    scenario.faults = tuple(sorted((_aim(fault, scenario, rng) for fault in scenario.faults), key=lambda f: f.when))
    settle_down(scenario, random.Random(seed + 6))
    return scenario


def settle_down(scenario: Scenario, rng: random.Random) -> None:
    """Put sinks and workers on hosts: some sinks share one or have workers beside them, some workers are elsewhere."""
    sinks, workers = scenario.sink_names, [f"worker {n}" for n in range(len(scenario.workers))]
    nodes = [f"node {n}" for n in range(len(sinks))]
    scenario.hosts = {name: rng.choice(nodes) for name in sinks} | {
        name: rng.choice([*nodes, "elsewhere"]) for name in workers
    }


def make_nodes(seed: int) -> Scenario:
    """Return a schedule on four nodes, each with a rank, a sink and two workers, in which nothing goes wrong."""
    scenario = spread(draw(seed, _NODES), seed, sinks=(4,), ranks=(4,))
    scenario.trainers = tuple(replace(part, sink=part.rank) for part in scenario.trainers)
    sinks, workers = enumerate(scenario.sink_names), range(len(scenario.workers))
    scenario.hosts = {name: f"node {n}" for n, name in sinks} | {f"worker {n}": f"node {n % 4}" for n in workers}
    return scenario


def make_flaky(seed: int) -> Scenario:
    """Return the same with items that fail at one worker and not at another, in any mixture with what always fails."""
    scenario = make_scenario(seed)
    scenario.epochs_written = 0  # what a file must hold is not known before the end
    rng = random.Random(seed + 4)
    for plan in scenario.plans:
        sound = [whole_source(plan, n) for n in range(plan.items)]
        sound = [item for item in sound if item not in scenario.dead(plan.name)]
        scenario.flaky = {**scenario.flaky, plan.name: frozenset(rng.sample(sound, min(len(sound), rng.randint(1, 3))))}
    return scenario


def make_adopting(seed: int) -> Scenario:
    """Return a schedule in which a ventilator dies, again and again, while a sink has not heard what it published.

    The next one must take over what the other sinks know before it decides anything: half of the items fail at every
    second worker that runs them, so whatever is decided anew comes out differently sooner or later.
    """
    rng = random.Random(seed + 5)
    scenario = spread(draw(seed, _ADOPTING), seed, sinks=(2, 3), ranks=(2, 3, 4))
    [plan] = scenario.plans
    items = [whole_source(plan, n) for n in range(plan.items)]
    scenario.flaky = {plan.name: frozenset(rng.sample(items, len(items) // 2))}
    faults: list[Fault] = []
    when = rng.uniform(1.0, 2.0)
    while when < scenario.heal_at - _EVERY_S:
        deaf = rng.choice(scenario.sink_names)
        before, down, mute = (rng.uniform(*each) for each in (_DEAF_S, _DOWN_S, _MUTE_S))
        faults.append(Fault(when - before, "cut", "ventilator", deaf, before + down))
        faults.append(Fault(when, "kill", "ventilator", seconds=down))
        faults += [Fault(when, "cut", name, "ventilator", down + mute) for name in scenario.sink_names if name != deaf]
        when += _EVERY_S
    scenario.faults = tuple(sorted(faults, key=lambda fault: fault.when))
    return scenario


def misplaced(world: World) -> tuple[int, int]:
    """Return how many of the samples that came to sinks are of no rank that reads there, and how many came.

    Raises AssertionError if there are more than failures explain: one that becomes known moves what a rank trains on.
    """
    wrong = total = 0
    for plan in world.scenario.plans:
        dead = world.scenario.dead(plan.name)
        for sink in world.sinks:
            came = world.sharing.came_to.get((sink.name, plan.name), set())
            if not came or (world.disk and sink is world.sink and plan is world.disk.plan):
                continue
            parts = [each.part for each in world.trainers if each.part.stream == plan.name]
            parts = [part for part in parts if world.sinks[part.sink] is sink]
            strangers = came - set().union(*(_trained_on(plan, dead, part, max(came)) for part in parts))
            assert dead or not strangers, f"{sink.name} got samples {sorted(strangers)} of {plan.name}"
            most = _most_misplaced(world, plan, max(came))
            assert len(strangers) <= most, f"{sink.name} got {len(strangers)} samples of {plan.name}, at most {most}"
            wrong, total = wrong + len(strangers), total + len(came)
    return wrong, total


def _most_misplaced(world: World, plan: StreamPlan, last: int) -> int:
    """Return how many samples failures up to a position may bring to a sink whose readers do not train on them.

    A failed sample moves each boundary between two batches behind it by one position, as far as a window reaches, and
    may divide an epoch's last round anew; for each job, and for each world size that it is resumed with.
    """
    parts = [each.part for each in world.trainers if each.part.stream == plan.name]
    size, block = plan.geometry.samples_per_epoch, plan.geometry.block_samples
    epochs = last // size - min(part.position for part in parts) // size + 1
    failed = len(world.scenario.dead(plan.name)) * plan.geometry.patches * epochs
    batch = plan.settings.batch_size
    jobs = {(part.job, part.world_size, part.position) for part in parts}
    return sum(failed * ((plan.window(ranks) + 2 * block) // batch + 2 + batch * ranks) for _, ranks, _ in jobs)


def _trained_on(plan: StreamPlan, dead: frozenset[int], part: TrainerPart, last: int) -> set[int]:
    """Return the positions of the samples that a rank trains on, up to the last one that matters."""
    size, found = plan.geometry.samples_per_epoch, set[int]()
    for each in expected(plan, dead, part.position, part.rank, part.world_size):
        if isinstance(each, ExpectedBatch):
            if each.start > last:
                break
            found.update(each.epoch * size + sample.place for sample in each.samples)
        elif each.stop > last:
            break
    return found
