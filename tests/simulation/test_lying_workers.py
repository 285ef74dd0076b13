"""Schedules in which a worker lies: every trainer gets every sample all the same."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from simulation.dice import Dice, draw
from simulation.lying_worker import BoastingWorkerProcess, ClaimingWorkerProcess, LyingWorkerProcess
from simulation.runner import run_schedule
from simulation.scenario import Scenario, WorkerPart
from simulation.sinks.scenarios import small, spread
from simulation.worker_process import WorkerProcess
from simulation.world import World

from penstock.protocol.messages import TaskKey
from penstock.ventilator.core.item_deaths import ItemDeaths

pytestmark = pytest.mark.simulation

#: Schedules: all of them, of which so many belong to every run and the rest to the long tier; and those of one test.
_SCHEDULES, _ALWAYS, _CHUNK = 400, 40, 40
#: Schedules with a worker that claims to have made what it has no samples of.
_BOASTS = 32


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
    """Return a world with a liar; every fourth has several sinks."""
    scenario = draw(seed, Dice())
    return _world(spread(scenario, seed) if seed % 4 == 3 else scenario, LyingWorkerProcess)


def boasting_world(seed: int, ranks: Sequence[int] = (1, 2, 3, 4)) -> World:
    """Return a world with several sinks, in which a worker says that it made what it was leased, and sends nothing.

    A job of one rank drops nothing, so that this one wants every sample.
    """
    dice = small(Dice() if len(ranks) > 1 else Dice(drop_remainder=0.0))
    return _world(spread(draw(seed, dice), seed, sinks=(2, 3), ranks=ranks), BoastingWorkerProcess)


def _world(scenario: Scenario, liar: type[LyingWorkerProcess]) -> World:
    """Return a world with a liar, and an honest worker that stays.

    The ventilator does not restart, or the liar could be the first to come back.
    """
    seed = scenario.seed
    faults = tuple(fault for fault in scenario.faults if "ventilator" not in (fault.target, fault.other))
    policy = replace(scenario.policy, second_word_s=40.0)
    world = World(replace(scenario, faults=faults, policy=policy))
    world.tolerated = frozenset({"sink lease"})
    world.workers.append(WorkerProcess("steady", world, WorkerPart(slots=2, slowness=1.0)))
    world.workers.append(liar("liar", world, WorkerPart(slots=1 + seed % 4, slowness=0.5)))
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


def test_a_boaster_changes_nothing_where_every_sample_has_a_reader() -> None:
    """Its word does not count while a sink lacks samples of the item: some worker has them to show, or a failure."""
    boasts = 0
    for seed in range(_BOASTS):
        world = run_schedule(boasting_world(seed, ranks=(1,)), f"boasting seed {seed}, one rank")
        assert 0 == boasted(world)
        boasts += sum(
            count for (name, kind, _), count in world.network.sent.items() if (name, kind) == ("liar", "Result")
        )
    assert boasts > _BOASTS


def test_a_boaster_is_believed_only_of_what_no_rank_wants() -> None:
    """All ranks are told the same of it, and nothing false comes; where a rank wants it later, the stream stops.

    The rank is absent when the liar is asked, or there is none: the rest of an epoch is dropped. See docs/security.md.
    """
    stopped = believed = 0
    for seed in range(_BOASTS):
        world = boasting_world(seed)
        world.scenario.boasts = True
        run_schedule(world, f"boasting seed {seed}", then=lambda each: each.sharing.check(each.trainers))
        stopped += bool(world.notes["cannot be made again"])
        believed += boasted(world)
        assert 0 == world.notes["sinks disagree"], f"boasting seed {seed}"
    assert believed > 0
    assert stopped <= _BOASTS // 8


def boasted(world: World) -> int:
    """Return how many items count as made that no worker can make, of those that jobs come to; no other lie is told."""
    found = 0
    for (stream, ordinal), failed in world.sharing.outcomes.items():
        plan, dead = world.scenario.plan(stream), world.scenario.dead(stream)
        truth = {offset for offset, item in enumerate(plan.indices(ordinal).tolist()) if item in dead}
        assert failed <= truth, f"{stream}/{ordinal}: items {sorted(failed - truth)} count as failed"
        start = min(each.part.position for each in world.trainers if each.part.stream == stream)
        found += sum(plan.geometry.positions(ordinal)[offset].max() >= start for offset in truth - failed)
    return found


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
