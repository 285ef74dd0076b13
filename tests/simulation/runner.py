"""Runs one schedule, and names it in whatever is found wrong."""

from collections.abc import Callable

from simulation.world import InnocentQuarantined, World


def run_schedule(
    world: World,
    name: str,
    again: str = "",
    *,
    trace: bool = False,
    then: Callable[[World], object] = lambda _: None,
) -> World:
    """Run a world's schedule, and `then` what else is to be checked. Raises AssertionError if anything is wrong.

    Its note has the schedule's `name` and the command by which it runs `again` alone. With `trace`, print all events.
    """
    if trace:
        world.network.trace = lambda line: print(f"{world.clock.now:9.4f} {line}")  # noqa: T201 - asked for
    try:
        world.run()
        then(world)
    except InnocentQuarantined:
        world.notes["innocent quarantined"] += 1
    except BaseException as error:
        error.add_note(f"{name} at {world.clock.now:.4f} s" + (f"; alone: {again}" if again else ""))
        raise
    return world
