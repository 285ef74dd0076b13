"""The families of schedules: each is a kind of trouble (`shapes.py`) with its dice.

Of every family the same holds: each trainer gets each sample exactly once, in order, with the right bytes; the sink's
memory is bounded; once the trouble has ended, batches come again within `bounds.patience_s`; and no item is given up
for which workers did not die. The families take turns by the schedule's number, so that each gets its share.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from simulation import shapes
from simulation.dice import Dice, draw
from simulation.scenario import Scenario

#: Changes a schedule after it was drawn.
Shape = Callable[[Scenario, random.Random], None]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of trouble."""

    name: str
    dice: Dice
    shape: Shape
    #: Its turns in a round of all families.
    turns: int = 1


#: Small worlds in which nothing goes wrong but what a family does.
_QUIET = Dice(calm=1.0, faults=(0,), poison=(0,), crash_after_push=(0.0,), tasks=(8, 8, 16), workers=(1, 4))
#: The same, in which nobody dies: no worker is so slow that it takes itself for stuck.
_ALIVE = replace(_QUIET, deadly=False, slowness=(1.0, 1.0, 1.5), task_s=(0.02, 0.1, 0.3), workers=(2, 5))

FAMILIES = (
    Family("anything", Dice(), shapes.anything, turns=7),
    Family(
        "cut runners",
        replace(
            _ALIVE,
            streams=(1,),
            items=((1, 1), (2, 6)),
            patches=(1,),
            batch=(1,),
            mix=(1,),
            task_items=(1,),
            window_samples=(1,),
            failing=(0,),
            workers=(1, 7),
            slots=(1,),
            slowness=(1.0,),
            jobs=(1,),
            ranks=(1,),
            ahead=(1,),
            tasks=(4,),
            task_s=(2.0,),
            silence_s=(4.0,),
            heal_s=(25.0, 35.0),
        ),
        shapes.cut_runners,
    ),
    Family(
        "sustained loss",
        replace(
            _QUIET,
            forever=True,
            silence_s=(4.0, 5.0),
            jobs=(1,),
            tasks=(4, 4, 8),
            poison=(0, 0, 0, 1),
            calm=0.5,
            faults=(0, 0, 2),
        ),
        shapes.sustained_loss,
    ),
    Family("partitions", replace(_QUIET, heal_s=(10.0, 30.0), poison=(0, 0, 0, 1)), shapes.partitions),
    Family(
        "restarting services",
        replace(_QUIET, heal_s=(8.0, 20.0), calm=0.5, task_s=(0.1, 0.4), poison=(0, 0, 1), tasks=(16, 24)),
        shapes.restarting_services,
    ),
    Family(
        "wrong clocks",
        replace(_ALIVE, heal_s=(4.0, 12.0), offset_s=1e6, drift=0.1, kinds=("jump",), faults=(1, 2, 4, 8)),
        shapes.wrong_clocks,
    ),
    Family(
        "other world sizes",
        replace(
            _QUIET,
            items=((2, 12), (8, 30)),
            ranks=(1, 2, 3),
            kinds=("reshape", "reshape", "reshape", "seek", "kill"),
            faults=(1, 2, 4),
            calm=0.5,
        ),
        shapes.other_world_sizes,
    ),
    Family(
        "failures at edges",
        replace(_QUIET, items=((2, 12), (8, 30)), mix=(1, 1, 2), shuffle=0.5, faults=(0, 1, 2), ranks=(1, 2, 3)),
        shapes.failures_at_edges,
    ),
    Family(
        "windows of one batch",
        replace(
            _QUIET,
            window_samples=(1,),
            batch=(1, 2, 3, 4, 5, 8, 13, 60, 5000),
            ahead=(1,),
            poison=(0, 0, 1),
            faults=(0, 1, 4),
            calm=0.5,
        ),
        shapes.windows_of_one_batch,
    ),
    Family(
        "mix beyond the epoch",
        replace(
            _QUIET,
            items=((1, 3), (2, 7)),
            batch=(1, 2, 3, 5, 13, 5000),
            mix=(8, 16, 64),
            epochs=6.0,
            tasks=(16, 32),
            poison=(0, 0, 1),
            faults=(0, 1, 4),
            calm=0.5,
        ),
        shapes.mix_beyond_the_epoch,
    ),
    Family(
        "different paces",
        replace(_QUIET, streams=(2,), jobs=(1, 2, 2), think_s=(0.001, 0.02, 0.5), tasks=(4, 8), faults=(0, 1, 2)),
        shapes.different_paces,
    ),
    Family(
        "dying disk",
        replace(_QUIET, epochs_written=(1, 1, 2), items=((1, 6), (5, 20)), budget=(1.0,), faults=(0, 1, 2)),
        shapes.dying_disk,
    ),
    Family("failing lines", replace(_ALIVE, heal_s=(6.0, 25.0), calm=0.8), shapes.failing_lines),
    Family(
        "empty epochs",
        replace(
            _QUIET,
            items=((3, 6), (5, 12)),
            batch=(3, 4, 5),
            patches=(1, 1, 2),
            drop_remainder=1.0,
            budget=(1.0,),
            epochs=8.0,
            tasks=(8, 16),
            calm=0.1,
            heal_s=(8.0, 20.0),
        ),
        shapes.empty_epochs,
    ),
    Family(
        "caching hosts",
        Dice(items=((8, 30), (20, 70)), task_items=(8, 16, 24), mix=(1, 1, 2, 4, 8), workers=(2, 6)),
        shapes.caching_hosts,
        turns=2,
    ),
)
#: A round, in which the turns of a family that has several are spread evenly.
_TURNS = tuple(
    family
    for _, family in sorted(
        (((turn + 0.5) / family.turns, family) for family in FAMILIES for turn in range(family.turns)),
        key=lambda each: each[0],
    )
)


def family_of(seed: int) -> Family:
    """Return the family of the schedule with this number."""
    return _TURNS[seed % len(_TURNS)]


def make_scenario(seed: int) -> Scenario:
    """Return the schedule with this number."""
    family = family_of(seed)
    scenario = draw(seed, family.dice)
    family.shape(scenario, random.Random(seed + 2))
    scenario.faults = tuple(sorted(scenario.faults, key=lambda fault: fault.when))
    return scenario
