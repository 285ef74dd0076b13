"""Schedules with several sinks for one stream: the families of one sink, in which the ranks read from different sinks.

`test_several_sinks.py` runs them.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from simulation.dice import Dice, draw, most_ranks
from simulation.families import FAMILIES, Family
from simulation.scenario import Fault, Scenario, TrainerPart
from simulation.sinks.trouble import strike
from support.plans import whole_source

from penstock.protocol.plan import StreamPlan

_SINKS = (2, 2, 3, 4)
_RANKS = (2, 2, 3, 4, 8)
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
#: Batches of a size as in trainings, and one or two items that fail: nearly all samples go where they are trained on.
_PLACED = replace(
    _ADOPTING,
    items=((320, 400),),
    patches=(1,),
    batch=(8, 16, 32),
    mix=(1, 2),
    task_items=(2, 4),
    failing=(1, 2),
    tasks=(400,),
    epochs=1.0,
    think_s=(0.001,),
    heal_s=(1.0, 2.0),
    workers=(2, 2),
)
#: Seconds between two deaths; for which a sink was deaf by then; until the next start; and for which, after that start,
#: the sinks that have heard cannot be heard: less than a ventilator waits for them (2.5 heartbeats of 1 s), with one
#: heartbeat until they notice that it is another one.
_EVERY_S, _DEAF_S, _DOWN_S, _MUTE_S = 3.5, (0.3, 0.8), (0.01, 0.1), (0.2, 1.2)


def family_of(seed: int) -> Family:
    """Return the family of the schedule with this number: "anything" every third time, and the others in turn."""
    nth, third = divmod(seed, 3)
    return FAMILIES[0] if third == 0 else FAMILIES[1 + (2 * nth + third - 1) % (len(FAMILIES) - 1)]


def make_scenario(seed: int) -> Scenario:
    """Return the schedule with this number: one of the family's, with several sinks, more ranks and more trouble."""
    family = family_of(seed)
    scenario = draw(seed, _dice(family, seed))
    family.shape(scenario, random.Random(seed + 2))
    return strike(spread(scenario, seed), random.Random(seed + 7))


def _dice(family: Family, seed: int) -> Dice:
    if family.name == "cut runners":  # it is small, and its cuts last as long as silence needs
        return replace(family.dice, items=((4, 6),))
    return family.dice if seed % _LARGE == 0 else small(family.dice)


def small(dice: Dice) -> Dice:
    """Return dice for the same trouble in a small world: what has to go wrong does, and there is little else."""
    return replace(
        dice,
        streams=(*[1] * 7, max(dice.streams)),
        jobs=(*[1] * 5, max(dice.jobs)),
        tasks=(4, 6),
        items=((4, 6), (4, 16)),
        epochs=min(dice.epochs, 2.0),
        workers=(1, 3),
        heal_s=(min(dice.heal_s[0], 3.0), min(dice.heal_s[1], 6.0)),
        think_s=(0.001, 0.02),
        faults=dice.faults[:4],
    )


def _spread(scenario: Scenario, ranks: Sequence[int], rng: random.Random) -> list[TrainerPart]:
    """Give each job another number of ranks, which read from two of the sinks at least if there are two."""
    parts: list[TrainerPart] = []
    for part in scenario.trainers:
        if part.rank:
            continue
        plan = scenario.plan(part.stream)
        world_size = min(rng.choice(ranks), max(most_ranks(plan), min(2, _most_at_all(plan))))
        every = range(len(scenario.sinks))
        sinks = rng.sample(every, min(2, world_size, len(every)))
        sinks += [rng.choice(every) for _ in range(world_size - len(sinks))]
        parts += [replace(part, rank=rank, world_size=world_size, sink=sink) for rank, sink in enumerate(sinks)]
    return parts


def _most_at_all(plan: StreamPlan) -> int:
    """Return how many ranks a stream can have: a round takes so many samples at least, if none fails."""
    return plan.geometry.samples_per_epoch // (plan.settings.batch_size if plan.settings.drop_remainder else 1)


def _aim(fault: Fault, scenario: Scenario, ranks: Sequence[int], rng: random.Random) -> Fault:
    """Let what happens to the sink happen to one of them."""
    names = scenario.sink_names
    target = rng.choice(names) if fault.target == "sink" else fault.target
    other = rng.choice(names) if fault.other == "sink" else fault.other
    if target.startswith("trainer"):
        target = f"trainer {int(target.split()[1]) % len(scenario.trainers)}"
    if fault.kind == "disk":
        target = names[0]
    world_size = fault.world_size
    if fault.kind == "reshape":
        world_size = rng.randint(1, min(max(ranks), most_ranks(scenario.plan(fault.target))))
    return replace(fault, target=target, other=other, world_size=world_size)


def spread(scenario: Scenario, seed: int, *, sinks: Sequence[int] = _SINKS, ranks: Sequence[int] = _RANKS) -> Scenario:
    """Give a schedule one of these numbers of sinks and of ranks."""
    rng = random.Random(seed + 3)
    scenario.sinks = tuple("abcd"[: rng.choice(sinks)])
    scenario.trainers = tuple(_spread(scenario, ranks, rng))
    scenario.faults = tuple(
        sorted((_aim(fault, scenario, ranks, rng) for fault in scenario.faults), key=lambda f: f.when)
    )
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
    """Return the same with items that fail at one worker and not at another, in any mixture with what always fails.

    Sinks and the ventilator are not struck down together: what only they knew would be decided anew, as documented.
    """
    scenario = make_scenario(seed)
    if any(fault.after and fault.target in scenario.sink_names for fault in scenario.faults):
        kept = [fault for fault in scenario.faults if not (fault.kind == "kill" and fault.target == "ventilator")]
        scenario.faults = tuple(kept)
    scenario.epochs_written = 0  # what a file must hold is not known before the end
    rng = random.Random(seed + 4)
    for plan in scenario.plans:
        sound = [whole_source(plan, n) for n in range(plan.items)]
        sound = [item for item in sound if item not in scenario.dead(plan.name)]
        scenario.flaky = {**scenario.flaky, plan.name: frozenset(rng.sample(sound, min(len(sound), rng.randint(1, 3))))}
    return scenario


def make_placed(seed: int) -> Scenario:
    """Return a schedule of several sinks in which one or two items fail in each epoch, and nothing else goes wrong."""
    return spread(draw(seed, _PLACED), seed, sinks=(2, 3), ranks=(2, 3, 4))


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
