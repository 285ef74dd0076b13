"""Seeded schedules with a ventilator on standby: it takes over by itself, and changes no byte and no order.

`STANDBY_SEED=1234 pytest tests/simulation -k one_standby_seed -s` runs one alone and prints all that happened.
"""

import os
import random
from collections import Counter
from dataclasses import replace

import pytest
from simulation.dice import draw
from simulation.families import FAMILIES
from simulation.runner import run_schedule
from simulation.scenario import Fault, Scenario
from simulation.sinks.scenarios import make_scenario as make_shared
from simulation.sinks.scenarios import small
from simulation.standby.process import TAKEOVER_S
from simulation.world import World

pytestmark = pytest.mark.simulation

#: Schedules that belong to every run, and those of one test.
_ALWAYS, _CHUNK = 100, 50
_SCHEDULES = max(_ALWAYS, int(os.environ.get("SCHEDULES", "20000")) // 10)
#: Families in which the ventilators' clocks may be trusted: they do not jump while nothing happens elsewhere.
_FAMILIES = tuple(each for each in FAMILIES if each.name not in ("wrong clocks", "cut runners"))


def make_scenario(seed: int) -> Scenario:
    """Return the schedule with this number: one with one sink or several, in which those that act do not last."""
    rng = random.Random(seed + 5)
    if seed % 2:
        scenario = make_shared(seed)
    else:
        family = _FAMILIES[seed // 2 % len(_FAMILIES)]
        scenario = draw(seed, small(family.dice))
        family.shape(scenario, random.Random(seed + 2))
    scenario.ventilators = ("ventilator", "ventilator b")
    scenario.heal_at = max(scenario.heal_at, 8.0) + rng.uniform(0, 20)
    clocks = {name: clock for name, clock in scenario.clocks.items() if name not in scenario.ventilators}
    scenario.clocks = clocks
    faults = [each for each in scenario.faults if not (each.kind == "jump" and each.target in scenario.ventilators)]
    faults = [_aim(fault, rng) for fault in faults]
    faults += [_ends(rng, scenario.heal_at) for _ in range(rng.randint(1, 4))]
    scenario.faults = tuple(sorted(faults, key=lambda fault: fault.when))
    return scenario


def _aim(fault: Fault, rng: random.Random) -> Fault:
    """Let what happens to the ventilator happen to either of them."""
    other = rng.choice(("ventilator", "ventilator b"))
    if fault.target == "ventilator":
        return replace(fault, target=other)
    return replace(fault, other=other) if fault.other == "ventilator" else fault


def _ends(rng: random.Random, heal_at: float) -> Fault:
    """Return an end of the one that acts: killed for long, stopped until after its end, cut off from its records."""
    when, seconds = rng.uniform(0.5, heal_at), rng.uniform(0.5, 5 * TAKEOVER_S)
    match rng.choice(("kill", "pause", "pause", "folder", "cut")):
        case "kill":
            return Fault(when, "kill", "acting", seconds=rng.choice((seconds, 1000.0)))
        case "pause":
            return Fault(when, "pause", "acting", seconds=seconds)
        case "cut":  # from all workers and sinks, and not from its records
            return Fault(when, "isolate", "acting", seconds=6.0 + seconds)
        case _:
            return Fault(when, "folder", "acting", seconds=seconds)


def run(seed: int, *, trace: bool = False) -> World:
    """Run the schedule of a seed; raise AssertionError, with the seed in its notes, if anything is wrong."""
    again = f"STANDBY_SEED={seed} pytest tests/simulation -k one_standby_seed -s"
    return run_schedule(World(make_scenario(seed)), f"standby seed {seed}", again, trace=trace)


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=[pytest.mark.long] * (first >= _ALWAYS)) for first in range(0, _SCHEDULES, _CHUNK)],
    ids=lambda first: f"seeds-{first}-to-{first + _CHUNK - 1}",
)
def test_a_standby_takes_over_and_changes_nothing(first: int) -> None:
    """Whatever ends, stops and goes on, or is cut off: never two act, nothing old is taken in, and it goes on."""
    notes: Counter[str] = Counter()
    for seed in range(first, first + _CHUNK):
        notes += run(seed).notes
    assert notes["innocent quarantined"] <= 4, "the schedules kill so well that they test little else"
    always = ("handed over",) if first < _ALWAYS else ()  # a few in fifty
    for event in ("took over", "ceased to act", "sent by one that acts no more", *always):
        assert notes[event] > (_CHUNK if event == "took over" else 0), f"the schedules are too tame: {notes}"


def make_lonely(seed: int) -> Scenario:
    """Return a schedule in which nobody ever reaches one of the two, and all workers and sinks are gone for a while."""
    scenario, rng = make_scenario(seed), random.Random(seed + 7)
    scenario.unreached, scenario.deadly = frozenset({rng.choice(scenario.ventilators)}), True
    others = [*scenario.sink_names, *(f"worker {n}" for n in range(len(scenario.workers)))]
    when, seconds = rng.uniform(1, scenario.heal_at), scenario.intervals.silence_s + rng.uniform(2, 10)
    gone = [Fault(when, "kill", name, seconds=seconds) for name in others]
    scenario.faults = tuple(sorted([*scenario.faults, *gone], key=lambda fault: fault.when))
    return scenario


def test_a_turn_does_not_stay_with_one_that_nobody_reaches() -> None:
    """It is not handed to such a one when all workers and sinks are lost, and such a one that has it gives it up."""
    notes: Counter[str] = Counter()
    for seed in range(20):
        notes += run_schedule(World(make_lonely(seed)), f"lonely standby seed {seed}").notes
    assert notes["handed over"] > 0, f"the one that is not reached never acted: {notes}"


@pytest.mark.skipif("STANDBY_SEED" not in os.environ, reason="runs one schedule alone: STANDBY_SEED=1234")
def test_one_standby_seed() -> None:
    """The schedule of the environment's STANDBY_SEED runs, and tells what happens."""
    run(int(os.environ["STANDBY_SEED"]), trace=True)
