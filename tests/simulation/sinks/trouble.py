"""What several sinks add to a schedule: sinks or the ventilator die in mid-stream; a job is resumed elsewhere.

A clock would say little about when that is: schedules are short and of all lengths. So it happens once trainers have
consumed so many batches.
"""

import random
from collections import Counter
from dataclasses import replace

from simulation.dice import most_ranks
from simulation.scenario import Fault, Scenario
from simulation.world import World

#: Shares of the schedules in which a sink dies, in which all sinks that are read do, in which the ventilator does, and
#: in which a job is resumed with another number of ranks.
_SINK, _ALL, _VENTILATOR, _RESUMED = 0.55, 0.1, 0.2, 0.2
#: Shares in which a sink joins the running stream, and in which another one claims a sink's name; for how long (s).
_LATE, _TWIN, _TWIN_S = 0.3, 0.1, (1.0, 5.0)
#: Seconds until the next start.
_DOWN_S = (0.01, 1.0)
_MOST_RANKS = 8


def strike(scenario: Scenario, rng: random.Random) -> Scenario:
    """Add to a schedule what happens in mid-stream."""
    names = scenario.sink_names
    read = sorted({names[part.sink] for part in scenario.trainers})
    batches = _batches(scenario)

    def kill(target: str, after: int) -> Fault:
        return Fault(0.0, "kill", target, seconds=rng.uniform(*_DOWN_S), after=after)

    faults: list[Fault] = []
    if rng.random() < _SINK:
        faults += [kill(rng.choice(read), rng.randint(1, batches)) for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < _ALL:
        after = rng.randint(1, batches)
        faults += [kill(name, after) for name in read]
    if rng.random() < _VENTILATOR:
        faults.append(kill("ventilator", rng.randint(1, batches)))
    if rng.random() < _RESUMED:
        part = rng.choice(scenario.trainers)
        world_size = rng.randint(1, min(_MOST_RANKS, most_ranks(scenario.plan(part.stream))))
        fault = Fault(0.0, "reshape", part.stream, str(part.job), choice=rng.random(), world_size=world_size)
        faults.append(replace(fault, after=rng.randint(1, batches)))
    if rng.random() < _LATE and len(read) > 1:
        faults.append(Fault(0.0, "start", rng.choice(read), after=rng.randint(1, max(1, batches // 4))))
    if rng.random() < _TWIN:
        faults.append(
            Fault(
                0.0, "twin", rng.choice(read), seconds=rng.uniform(*_TWIN_S), after=rng.randint(1, max(1, batches // 4))
            )
        )
    scenario.faults = (*scenario.faults, *faults)
    return scenario


def _batches(scenario: Scenario) -> int:
    """Return about how many batches come to all trainers of a schedule."""
    return sum(
        1 + (part.target - part.position) // (part.world_size * scenario.plan(part.stream).settings.batch_size)
        for part in scenario.trainers
    )


def what_happened(world: World) -> Counter[str]:
    """Return what a schedule has seen of what several sinks are for, each once."""
    jobs: dict[tuple[str, int, int, int], set[int]] = {}
    for trainer in world.trainers:
        part = trainer.part
        if trainer.generation:
            jobs.setdefault((part.stream, part.job, part.world_size, part.position), set()).add(part.sink)
    notes = world.notes
    failed = any(world.sharing.outcomes.values())
    killed, resumed = notes["sink killed"] > 0, notes["job resumed"] > 0
    seen = {
        "schedules": True,
        "a job at several sinks": any(len(sinks) > 1 for sinks in jobs.values()),
        "three sinks or more are read": len({sink for sinks in jobs.values() for sink in sinks}) > 2,
        "more than four ranks": any(world_size > 4 for _, _, world_size, _ in jobs),
        "a sink is killed": killed,
        "two sinks are killed": notes["sink killed"] > 1,
        "no sink lives": notes["no sink lives"] > 0,
        "a sink is killed, and items fail": killed and failed,
        "the ventilator is killed, and items fail": notes["ventilator killed"] > 0 and failed,
        "ventilator and sink are killed": notes["ventilator killed"] > 0 and killed,
        "resumed with another number of ranks": resumed,
        "resumed, and a sink is killed": resumed and killed,
        "resumed, and items fail": resumed and failed,
        "a sink joins the running stream": notes["sink started late"] > 0,
        "one of two that claim a sink's place is refused": notes["sink refused"] > 0,
        "several jobs of a stream": len({key[:2] for key in jobs}) > len({key[0] for key in jobs}),
        "several streams": len({key[0] for key in jobs}) > 1,
    }
    return Counter([name for name, so in seen.items() if so])
