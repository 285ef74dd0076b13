"""Schedules in which a worker lies: every trainer gets every sample all the same."""

from collections import Counter
from dataclasses import replace

import pytest
from simulation.dice import Dice, draw
from simulation.lying_worker import ClaimingWorkerProcess, LyingWorkerProcess
from simulation.runner import run_schedule
from simulation.scenario import WorkerPart
from simulation.several_sinks import spread
from simulation.worker_process import WorkerProcess
from simulation.world import World

from penstock.protocol.messages import TaskKey
from penstock.ventilator.core.item_deaths import ItemDeaths

pytestmark = pytest.mark.simulation

#: Schedules: all of them, of which so many belong to every run and the rest to the long tier; and those of one test.
_SCHEDULES, _ALWAYS, _CHUNK = 400, 40, 40


#: A stream of few items, one of which kills the workers that run it, while its trainer seeks to and fro.
_SEEKING = Dice(
    streams=(1,),
    items=((2, 6),),
    patches=(1,),
    batch=(1, 2),
    mix=(1,),
    task_items=(1, 2),
    window_samples=(1, 4, 20),
    budget=(1.0,),
    failing=(0,),
    poison=(1,),
    workers=(1, 3),
    slots=(1, 2),
    slowness=(1.0,),
    jobs=(1,),
    ranks=(1,),
    tasks=(40,),
    epochs=10.0,
    calm=1.0,
    heal_s=(15.0, 20.0),
    faults=(25,),
    kinds=("seek",),
    crash_after_push=(0.0,),
    silence_s=(4.0,),
)


def lying_world(seed: int) -> World:
    """Return a world with a liar, and an honest worker that stays; every fourth has several sinks.

    The ventilator does not restart, or the liar could be the first to come back.
    """
    scenario = draw(seed, Dice())
    if seed % 4 == 3:
        scenario = spread(scenario, seed)
    faults = tuple(fault for fault in scenario.faults if "ventilator" not in (fault.target, fault.other))
    policy = replace(scenario.policy, second_word_s=40.0)
    world = World(replace(scenario, faults=faults, policy=policy))
    world.tolerated = frozenset({"sink lease"})
    world.workers.append(WorkerProcess("steady", world, WorkerPart(slots=2, slowness=1.0)))
    world.workers.append(LyingWorkerProcess("liar", world, WorkerPart(slots=1 + seed % 4, slowness=0.5)))
    return world


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=[pytest.mark.long] * (first >= _ALWAYS)) for first in range(0, _SCHEDULES, _CHUNK)],
    ids=lambda first: f"seeds-{first}-to-{first + _CHUNK - 1}",
)
def test_a_liar_ends_no_stream_and_costs_no_sample(first: int) -> None:
    """Fatal failures, older results and forged leases without end: what trainers get is what honest workers make."""
    notes: Counter[str] = Counter()
    rejects: Counter[str] = Counter()
    for seed in range(first, first + _CHUNK):
        world = run_schedule(lying_world(seed), f"lying seed {seed}")
        notes += world.notes
        rejects += world.rejects
    assert notes["failure contradicted"] > 0
    assert rejects["sink lease"] > 0


def claiming_world(seed: int) -> World:
    """Return a world with an item that kills, and a worker that says it has finished it; deaths are noticed at once."""
    scenario = draw(seed, _SEEKING)
    scenario.weather.noticed = 1.0
    world = World(scenario)
    world.workers.append(ClaimingWorkerProcess("liar", world, WorkerPart(slots=1 + seed % 2, slowness=0.5)))
    return world


def test_what_a_liar_claims_to_have_finished_acquits_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only results that came to the sink do, also where the trainer that wanted the item has sought elsewhere."""
    acquitted: set[int] = set()
    clear = ItemDeaths.clear

    def noted(deaths: ItemDeaths, key: TaskKey) -> None:
        acquitted.update(item for item in deaths.items(key) if deaths.is_suspected(item))
        clear(deaths, key)

    monkeypatch.setattr(ItemDeaths, "clear", noted)
    given_up = innocent = 0
    for seed in range(24):
        world = claiming_world(seed)
        acquitted.clear()
        world.run()
        given_up += world.notes["item quarantined"]
        assert set() == acquitted & world.scenario.poison["train"], f"seed {seed}"
        innocent += len(acquitted)
    assert given_up > 12
    assert innocent > 5, "what can be made is acquitted"
