"""Seeded schedules of the whole topology: the real cores, a simulated clock and a hostile simulated network."""

import os

import pytest
from simulation.scenario import make_scenario
from simulation.world import InnocentQuarantined, World

pytestmark = pytest.mark.simulation


def run(seed: int, *, trace: bool = False) -> World:
    """Run the schedule of a seed."""
    world = World(make_scenario(seed))
    lines: list[str] = []
    if trace:
        world.network.trace = lambda line: lines.append(f"{world.clock.now:9.4f} {line}")
    try:
        world.run()
    except InnocentQuarantined:
        pass
    except BaseException as error:
        error.add_note(f"seed {seed}, at {world.clock.now:.4f} s")
        raise
    finally:
        if trace:
            print("\n".join(lines))
    return world
