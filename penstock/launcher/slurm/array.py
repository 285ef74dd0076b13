"""Grows and shrinks the number of workers that run next to a job, as elements of a job array.

An element is told to drain by SIGTERM. Until it has left, Slurm lists it as running: the run folder remembers who was
told, so that it is not counted.
"""

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from penstock.launcher.slurm import commands
from penstock.launcher.slurm.plan import JobPlan, Placed, RunFolder
from penstock.launcher.slurm.script import array_name, array_script
from penstock.protocol.errors import SpecError
from penstock.protocol.transport.own_files import open_own


class Change(NamedTuple):
    """What is to be done about the elements that are there."""

    #: How many are to be submitted.
    more: int
    #: Waiting ones that are taken out of the queue, and running ones that drain.
    cancelled: Sequence[str]
    drained: Sequence[str]


def change(there: Sequence[tuple[str, bool]], leaving: Sequence[str], wanted: int) -> Change:
    """Return what makes `wanted` elements of those that are `there`, oldest first (number, does it run).

    Those that wait go before those that run, and the youngest first.
    """
    staying = [each for each in there if each[0] not in leaving]
    surplus = len(staying) - wanted
    if surplus <= 0:
        return Change(-surplus, (), ())
    youngest = list(reversed(staying))
    going = sorted(youngest, key=lambda each: each[1])[:surplus]
    return Change(0, [number for number, runs in going if not runs], [number for number, runs in going if runs])


def set_workers(folder: RunFolder, plan: JobPlan, placed: Placed, workers: int) -> int:
    """Bring the number of all workers of a job to `workers`, within its bounds; return how many the array has then.

    An element has as many workers as the plan says, so there may be some more. Raises SpecError for a job without an
    array, and StackError if Slurm refuses.
    """
    if plan.array is None:
        raise SpecError(f"the job of {folder.path} has no job array of workers: submit one with --array-workers")
    least, most = plan.array
    return set_array(folder, plan, placed, min(most, max(least, workers - plan.fixed_workers)))


def set_array(folder: RunFolder, plan: JobPlan, placed: Placed, workers: int) -> int:
    """Bring the number of the array's workers to `workers`; return it, or what whole elements make of it."""
    count = math.ceil(workers / plan.workers_per_element)
    _set_elements(folder, plan, placed, count)
    return count * plan.workers_per_element


def _set_elements(folder: RunFolder, plan: JobPlan, placed: Placed, count: int) -> None:
    there = commands.elements(array_name(plan, placed.job))
    numbers = {number for number, _ in there}
    leaving = [number for number in _leaving(folder) if number in numbers]
    todo = change(there, leaving, count)
    if todo.more:
        folder.array_script.write_text(array_script(plan, folder, placed, todo.more), encoding="utf-8")
        commands.submit(str(folder.array_script))
    commands.cancel(todo.cancelled)
    with open_own(folder.leaving, "w", encoding="utf-8") as file:
        json.dump([*leaving, *todo.drained], file)
    commands.drain(todo.drained)


def _leaving(folder: RunFolder) -> list[str]:
    if not folder.leaving.exists():
        return []
    return [str(each) for each in json.loads(folder.leaving.read_text(encoding="utf-8"))]
