"""How many of the samples that came to a sink are of no rank that reads there: pixels at the wrong node."""

from simulation.scenario import TrainerPart
from simulation.world import World
from support.plans import ExpectedBatch, expected

from penstock.protocol.plan import StreamPlan


def misplaced(world: World, *, tight: bool = False) -> tuple[int, int]:
    """Return how many of the samples that came to sinks are of no rank that reads there, and how many came.

    Raises AssertionError if there are more than failures explain: one that becomes known moves what a rank trains on.
    `tight`: there is one job, which nothing disturbs, in large batches; the bound is then far below what came.
    """
    wrong = total = most = 0
    for plan in world.scenario.plans:
        dead = world.scenario.dead(plan.name)
        for sink in world.sinks:
            came = world.sharing.came_to.get((sink.name, plan.name), set())
            if not came or (world.disk and sink is world.sink and plan is world.disk.plan):
                continue
            parts = [each.part for each in world.trainers if each.part.stream == plan.name]
            parts = [part for part in parts if world.sinks[part.sink] is sink]
            strangers = came - set().union(*(_trained_on(plan, dead, part, max(came)) for part in parts))
            assert dead or not strangers, f"{sink.name} got samples {sorted(strangers)} of {plan.name}"
            most = _most_misplaced(world, plan, max(came), tight=tight)
            assert len(strangers) <= most, f"{sink.name} got {len(strangers)} samples of {plan.name}, at most {most}"
            wrong, total = wrong + len(strangers), total + len(came)
    assert not tight or most < total / 4, f"{most} of {total}: this bound can hardly fail"
    return wrong, total


def _most_misplaced(world: World, plan: StreamPlan, last: int, *, tight: bool) -> int:
    """Return how many samples failures up to a position may bring to a sink whose readers do not train on them.

    A failed sample moves each boundary between two batches behind it by one position, as far as a window reaches, and
    may divide an epoch's last round anew; for each job, and for each world size that it is resumed with.
    """
    parts = [each.part for each in world.trainers if each.part.stream == plan.name]
    size, block = plan.geometry.samples_per_epoch, plan.geometry.block_samples
    epochs = last // size - min(part.position for part in parts) // size + 1
    failed = len(world.scenario.dead(plan.name)) * plan.geometry.patches * epochs
    batch = plan.settings.batch_size
    jobs = {(part.job, part.world_size, part.position) for part in parts}
    return sum(
        failed * ((plan.window(ranks) + 2 * block) // batch + 2 + (0 if tight else batch * ranks))
        for _, ranks, _ in jobs
    )


def _trained_on(plan: StreamPlan, dead: frozenset[int], part: TrainerPart, last: int) -> set[int]:
    """Return the positions of the samples that a rank trains on, up to the last one that matters."""
    size, found = plan.geometry.samples_per_epoch, set[int]()
    for each in expected(plan, dead, part.position, part.rank, part.world_size):
        if isinstance(each, ExpectedBatch):
            if each.start > last:
                break
            found.update(each.epoch * size + sample.place for sample in each.samples)
        elif each.stop > last:
            break
    return found
