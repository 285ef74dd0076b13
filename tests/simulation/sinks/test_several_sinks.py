"""Seeded schedules with several sinks: every rank gets what it would get of one sink, wherever it reads.

`SHARED_SEED=1234 pytest tests/simulation -k one_shared_seed -s` runs one alone and prints all that happened.
"""

import os
from collections import Counter

import pytest
from simulation.runner import run_schedule
from simulation.sinks.misplaced import misplaced
from simulation.sinks.scenarios import family_of, make_adopting, make_flaky, make_nodes, make_placed, make_scenario
from simulation.sinks.trouble import what_happened
from simulation.world import World

from penstock.protocol.outcomes import failing_text
from penstock.ventilator.core import dispatch

pytestmark = pytest.mark.simulation


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Homes are found as soon as workers or sinks come or go: schedules are short."""
    monkeypatch.setattr(dispatch, "_HOMES_S", 0.02)


#: Schedules that belong to every run, those of one test, and those of one with flaky items.
_ALWAYS, _CHUNK, _FLAKY = 200, 100, 40
#: Schedules in which ventilators adopt what an earlier one has published.
_ADOPTING = 12
#: Schedules in which it is counted exactly which samples came where, and the share that may go to the wrong sink.
_PLACED, _WRONG = 12, 0.03
#: Schedules of nodes that nothing disturbs.
_NODES = 4
#: All of them: the rest belongs to the long tier.
_SCHEDULES = 1_000 + int(os.environ.get("SCHEDULES", "20000")) // 8
#: How many of 100 schedules must at least see what several sinks are for.
_LEAST = {
    "a job at several sinks": 85,
    "three sinks or more are read": 15,
    "more than four ranks": 5,
    "a sink is killed": 40,
    "two sinks are killed": 5,
    "no sink lives": 2,
    "a sink is killed, and items fail": 25,
    "the ventilator is killed, and items fail": 6,
    "ventilator and sink are killed": 3,
    "resumed with another number of ranks": 4,
    "resumed, and a sink is killed": 1,
    "resumed, and items fail": 1,
    "a sink joins the running stream": 1,
    "several jobs of a stream": 5,
    "several streams": 3,
}


def run(seed: int, *, trace: bool = False) -> World:
    """Run the schedule of a seed; raise AssertionError, with the seed in its notes, if anything is wrong."""
    again = f"SHARED_SEED={seed} pytest tests/simulation -k one_shared_seed -s"
    name = f"shared seed {seed} ({family_of(seed).name})"
    return run_schedule(World(make_scenario(seed)), name, again, trace=trace, then=count_misplaced)


def count_misplaced(world: World) -> None:
    """Note how many samples came to a sink whose readers do not train on them."""
    wrong, total = misplaced(world)
    world.notes |= Counter({"misplaced samples": wrong, "samples": total})


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=[pytest.mark.long] * (first >= _ALWAYS)) for first in range(0, _SCHEDULES, _CHUNK)],
    ids=lambda first: f"seeds-{first}-to-{first + _CHUNK - 1}",
)
def test_every_rank_gets_the_same_at_any_number_of_sinks(first: int) -> None:
    """Whatever dies or is lost: the samples, order and number of batches of one sink, in bounded memory, and an end."""
    notes: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for seed in range(first, first + _CHUNK):
        world = run(seed)
        notes += world.notes
        seen += what_happened(world)
    assert notes["innocent quarantined"] <= 4, "the schedules kill so well that they test little else"
    tame = {what: seen[what] for what, least in _LEAST.items() if seen[what] < least}
    assert not tame, f"of {_CHUNK} schedules, too few saw {tame}: they are too tame"


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=[pytest.mark.long] * (first > 0)) for first in range(0, _SCHEDULES // 3, _FLAKY)],
    ids=lambda first: f"seeds-{first}-to-{first + _FLAKY - 1}",
)
def test_all_sinks_agree_on_items_that_fail_at_one_worker_and_not_at_another(first: int) -> None:
    """What was published first holds for all ranks and all times, and what they get follows from it."""
    stopped = 0
    for seed in range(first, first + _FLAKY):
        name = f"flaky seed {seed} ({family_of(seed).name})"
        world = run_schedule(World(make_flaky(seed)), name, then=lambda world: world.sharing.check(world.trainers))
        assert 0 == world.notes["sinks disagree"], name
        stopped += bool(world.notes["cannot be made again"])
    assert stopped <= _FLAKY // 4, "an item that was made for one sink is tried at several workers for another"


def test_a_ventilator_adopts_what_any_sink_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was published by an earlier one, of which another sink has not heard it: nothing is decided a second time.

    That holds where a message has no room for the reasons of all failures, as in every second schedule.
    """
    stopped = 0
    for seed in range(_ADOPTING):
        monkeypatch.setattr(failing_text, "_MOST_TEXT", (1_000_000, 500)[seed % 2])
        scenario = make_adopting(seed)
        world = run_schedule(
            World(scenario), f"adopting seed {seed}", then=lambda each: each.sharing.check(each.trainers)
        )
        assert 0 == world.notes["sinks disagree"], f"adopting seed {seed}"
        stopped += bool(world.notes["cannot be made again"])
    assert stopped <= _ADOPTING // 2, "an item that was made for one sink is tried at several workers for another"


def test_samples_stay_on_the_node_that_trains_on_them() -> None:
    """Its own workers make them, whoever is free first, but for those that begin before all are there.

    Without hosts, it would be a quarter.
    """
    notes: Counter[str] = Counter()
    for seed in range(_NODES):
        notes += run_schedule(World(make_nodes(seed)), f"nodes seed {seed}", then=count_misplaced).notes
    assert 0 == notes["misplaced samples"]
    assert notes["samples that stayed"] > 0.7 * notes["samples sent"], notes


def test_nearly_all_samples_go_only_to_the_sink_whose_ranks_train_on_them() -> None:
    """In batches of 8 to 32: what a failure moves is one sample at each boundary of the batches that are under way."""
    wrong = total = 0
    for seed in range(_PLACED):
        world = run_schedule(World(make_placed(seed)), f"placed seed {seed}")
        strangers, came = misplaced(world, tight=True)
        wrong, total = wrong + strangers, total + came
    assert 0 < wrong <= _WRONG * total


@pytest.mark.skipif("SHARED_SEED" not in os.environ, reason="runs one schedule alone: SHARED_SEED=1234")
def test_one_shared_seed() -> None:
    """The schedule of the environment's SHARED_SEED runs, and tells what happens."""
    run(int(os.environ["SHARED_SEED"]), trace=True)
