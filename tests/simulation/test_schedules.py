"""Seeded schedules of the whole topology: the real cores, a simulated clock and a hostile simulated network.

`families.py` says what kinds of trouble there are. A failing seed is named in the failure;
`SEED=1234 pytest tests/simulation -k one_seed -s` runs it alone and prints all that happened. What a seed found is kept
as a unit test beside the core that was repaired.
"""

import os
from collections import Counter

import pytest
from simulation.families import family_of, make_scenario
from simulation.runner import run_schedule
from simulation.world import World

pytestmark = pytest.mark.simulation

#: Schedules: all of them (SCHEDULES in the environment asks for another number), of which so many belong to every run
#: and the rest to the long tier; and those of one test.
_SCHEDULES, _ALWAYS, _CHUNK = int(os.environ.get("SCHEDULES", "20000")), 500, 100


def run(seed: int, *, trace: bool = False) -> World:
    """Run the schedule of a seed; raise AssertionError, with the seed in its notes, if anything is wrong."""
    again = f"SEED={seed} pytest tests/simulation -k one_seed -s"
    return run_schedule(World(make_scenario(seed)), f"seed {seed} ({family_of(seed).name})", again, trace=trace)


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=[pytest.mark.long] * (first >= _ALWAYS)) for first in range(0, _SCHEDULES, _CHUNK)],
    ids=lambda first: f"seeds-{first}-to-{first + _CHUNK - 1}",
)
def test_every_trainer_gets_every_sample_exactly_once_and_in_order(first: int) -> None:
    """Whatever is delayed, doubled, lost, cut or killed: equal batches, bounded memory, and an end."""
    notes: Counter[str] = Counter()
    for seed in range(first, first + _CHUNK):
        notes += run(seed).notes
    assert notes["innocent quarantined"] <= 4, "the schedules kill so well that they test little else"
    for event in ("worker silent", "trainer silent", "sink joined", "hedged", "item quarantined", "subscribing again"):
        assert notes[event] > 0, f"no schedule saw {event!r}: they are too tame"


@pytest.mark.skipif("SEED" not in os.environ, reason="runs one schedule alone: SEED=1234")
def test_one_seed() -> None:
    """The schedule of the environment's SEED runs, and tells what happens."""
    run(int(os.environ["SEED"]), trace=True)
