"""Schedules in which a worker lies: every trainer gets every sample all the same."""

from collections import Counter
from dataclasses import replace

import pytest
from simulation.dice import Dice, draw
from simulation.lying_worker import LyingWorkerProcess
from simulation.scenario import WorkerPart
from simulation.worker_process import WorkerProcess
from simulation.world import InnocentQuarantined, World

pytestmark = pytest.mark.simulation

#: Schedules: all of them, of which so many belong to every run and the rest to the long tier; and those of one test.
_SCHEDULES, _ALWAYS, _CHUNK = 400, 40, 40


def lying_world(seed: int) -> World:
    """Return a world with a liar, and an honest worker that stays.

    The ventilator does not restart, or the liar could be the first to come back.
    """
    scenario = draw(seed, Dice())
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
        world = lying_world(seed)
        try:
            world.run()
        except InnocentQuarantined:
            pass
        except BaseException as error:
            error.add_note(f"lying seed {seed} at {world.clock.now:.4f} s")
            raise
        notes += world.notes
        rejects += world.rejects
    assert notes["failure contradicted"] > 0
    assert rejects["sink lease"] > 0
