"""The shapes of trouble: each changes a schedule after it was drawn; its docstring says what must hold under it.

`families.py` names them and loads the dice.
"""

import random
from dataclasses import replace

from simulation.scenario import Fault, Scenario
from support.plans import epoch_samples, whole_source

from penstock.protocol.spec.spec import Cache

#: Share of messages that is lost for good.
_LOSS = 0.3
#: How many partitions there are, and how long each lasts: longer than silence, confirmation and a task's time allow.
_PARTITIONS = (1, 1, 2)
_OUTLASTING_S = (7.0, 20.0)
_BRIEF_S = (0.5, 6.0)
#: How long the workers that run an item are cut off: longer than silence, shorter than twice; and when to hedge.
_CUT_S = (6.0, 7.5)
_SOON_S = 0.5
#: Seconds between the deaths of one service.
_EVERY_S = (1.5, 6.0)


def anything(scenario: Scenario, rng: random.Random) -> None:
    """A bit of everything: kills, pauses, cuts, losses, seeks, broken and poisonous items, in any mixture."""
    del scenario, rng


def cut_runners(scenario: Scenario, rng: random.Random) -> None:
    """Every worker that runs one item is cut off, hedging hands it on, and nobody dies: the item is not quarantined."""
    scenario.policy = replace(scenario.policy, hedge_s=_SOON_S)
    _add(scenario, Fault(0.0, "cut runners", "", seconds=rng.uniform(*_CUT_S), holds=rng.random() < 0.5))


def sustained_loss(scenario: Scenario, rng: random.Random) -> None:
    """30 % of all messages are lost from the beginning to the end, and that never heals: each trainer gets there.

    With the default of five heartbeats, that is: if two that are lost in a row meant a peer's loss, each link would
    break every ten seconds.
    """
    del rng
    scenario.weather.loss = _LOSS


def partitions(scenario: Scenario, rng: random.Random) -> None:
    """Processes are cut off for longer than every timeout: after that all goes on, and what was held comes late."""
    for _ in range(rng.choice(_PARTITIONS)):
        when = rng.uniform(0.0, scenario.heal_at / 2)
        seconds = rng.uniform(*_OUTLASTING_S)
        apart = rng.sample(scenario.names, rng.randint(1, len(scenario.names) - 1))
        holds = rng.random() < 0.5
        _cut(scenario, apart, when, seconds, holds=holds)


def restarting_services(scenario: Scenario, rng: random.Random) -> None:
    """Ventilator, sink or a worker dies every 1.5 to 6 s: work goes on in between, and is done in the end."""
    for name in rng.sample(scenario.names, rng.randint(1, 2)):
        when = rng.uniform(*_EVERY_S)
        while when < scenario.heal_at:
            _add(scenario, Fault(when, "kill", name, seconds=rng.uniform(0.01, 1.0)))
            when += rng.uniform(*_EVERY_S)


def wrong_clocks(scenario: Scenario, rng: random.Random) -> None:
    """Clocks differ, run too fast or too slowly, and jump forward: peers look silent, but nobody is dead."""
    del scenario, rng


def other_world_sizes(scenario: Scenario, rng: random.Random) -> None:
    """Jobs are stopped and resumed from an earlier checkpoint with another number of ranks: each round is whole."""
    del scenario, rng


def failures_at_edges(scenario: Scenario, rng: random.Random) -> None:
    """The first and last samples of batches and epochs fail: batches are cut right, and epochs end once."""
    for plan in scenario.plans:
        batch, patches = plan.settings.batch_size, plan.settings.patches
        samples = epoch_samples(plan.geometry, plan.settings.shard_of, 0)
        edges = {0, len(samples) - 1}
        for stop in range(batch, len(samples), batch):
            edges |= {stop - 1, stop}
        chosen = rng.sample(sorted(edges), min(len(edges), rng.randint(1, 2 + 4 * patches)))
        items = {samples[place].item for place in chosen}
        few = min(len(items), plan.items - 1)
        scenario.failing = {**scenario.failing, plan.name: frozenset(sorted(items)[:few])}
        scenario.poison = {**scenario.poison, plan.name: scenario.poison[plan.name] - items}


def windows_of_one_batch(scenario: Scenario, rng: random.Random) -> None:
    """A trainer has one batch ahead and the window is the least: nothing waits for what does not fit.

    Some batches are larger than the epoch, which they end with.
    """
    del scenario, rng


def mix_beyond_the_epoch(scenario: Scenario, rng: random.Random) -> None:
    """Mix windows, tasks and some batches exceed the epoch: one block an epoch, and more epochs than blocks."""
    del scenario, rng


def different_paces(scenario: Scenario, rng: random.Random) -> None:
    """Several streams, each with jobs that are up to 500 times slower than another: none holds up the others."""
    del scenario, rng


def dying_disk(scenario: Scenario, rng: random.Random) -> None:
    """A writer's disk is full or breaks, beside trainers: these get all theirs, the file each sample once."""
    name, items = scenario.plans[0].name, scenario.plans[0].items
    if len(scenario.dead(name)) == items:  # the failure budget would stop it
        scenario.failing = {**scenario.failing, name: frozenset()}
    scenario.lingers = False  # a trainer that stands still holds the file up, too: they keep step
    for _ in range(rng.randint(1, 4)):
        when, seconds = rng.uniform(0.0, scenario.heal_at), rng.uniform(0.2, 6.0)
        _add(scenario, Fault(when, "disk", "sink", seconds=seconds, holds=rng.random() < 0.5))


def failing_lines(scenario: Scenario, rng: random.Random) -> None:
    """Lines fail, again and again, while nobody dies: nothing is quarantined."""
    workers = [name for name in scenario.names if name.startswith("worker")]
    when = rng.uniform(0.0, 2.0)
    while when < scenario.heal_at:
        seconds = rng.uniform(*rng.choice((_BRIEF_S, _OUTLASTING_S)))
        apart = rng.choice((workers, rng.sample(workers, rng.randint(1, len(workers))), ["ventilator"], ["sink"]))
        _cut(scenario, apart, when, seconds, holds=rng.random() < 0.5)
        when += seconds + rng.uniform(0.1, 3.0)


def empty_epochs(scenario: Scenario, rng: random.Random) -> None:
    """Too few items survive for a batch, and messages are lost: epochs end without one, each of them once."""
    for plan in scenario.plans:
        settings = plan.settings
        kept = rng.randint(1, min(plan.items, max(1, (settings.batch_size - 1) // settings.patches)))
        items = [whole_source(plan, place) for place in range(plan.items)]
        scenario.failing = {**scenario.failing, plan.name: frozenset(rng.sample(items, plan.items - kept))}


def _add(scenario: Scenario, *faults: Fault) -> None:
    scenario.faults = (*scenario.faults, *faults)


def _cut(scenario: Scenario, apart: list[str], when: float, seconds: float, *, holds: bool) -> None:
    """Cut all lines between those that are `apart` and the others."""
    others = [name for name in scenario.names if name not in apart]
    for one, other in ((one, other) for one in apart for other in others):
        _add(scenario, Fault(when, "cut", one, other, seconds, holds), Fault(when, "cut", other, one, seconds, holds))


def caching_hosts(scenario: Scenario, rng: random.Random) -> None:
    """Each worker is a host that keeps decoded images: tasks are cut by them, and come together again."""
    del rng
    scenario.plans = tuple(
        plan.model_copy(update={"settings": plan.settings.model_copy(update={"cache": Cache(gb=1.0)})})
        for plan in scenario.plans
    )
