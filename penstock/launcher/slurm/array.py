"""Grows and shrinks the number of workers that run next to a job, as elements of a job array.

An element is told to drain by SIGTERM. Until it has left, Slurm lists it as running: the run folder remembers who was
told, so that it is not counted. It is told first, and remembered then: if this process is killed in between, it counts
until it is gone, and may be told again, which changes nothing. Who changes the number holds a lock in the run folder: a
person and `penstock autoscale` may do so at the same time.
"""

import errno
import fcntl
import json
import math
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from penstock.launcher.slurm import commands
from penstock.launcher.slurm.plan import JobPlan, Placed, RunFolder
from penstock.launcher.slurm.script import array_name, array_script
from penstock.protocol.errors import DeadlineError, PenstockError, SpecError, StackError
from penstock.protocol.transport.own_files import write_whole

#: Seconds that another one may take to change the number (some commands of Slurm, of 60 s at most each), and how often
#: to look whether it is done.
_LOCK_S, _LOOK_S = 240.0, 0.1
#: What file systems say that know no such locks: there, only one may change the number at a time.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


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


def set_array(folder: RunFolder, plan: JobPlan, placed: Placed, workers: int, seconds: float = _LOCK_S) -> int:
    """Bring the number of the array's workers to `workers`; return it, or what whole elements make of it.

    Raises StackError if Slurm refuses or the run folder cannot be written, and DeadlineError if Slurm does not answer,
    or if someone else who changes the number takes longer than `seconds`.
    """
    count = math.ceil(workers / plan.workers_per_element)
    try:
        with _alone(folder, seconds):
            _set_elements(folder, plan, placed, count)
    except PenstockError:  # a deadline is an error of the operating system, too
        raise
    except OSError as error:
        raise StackError(
            f"cannot use {folder.path}: {error.strerror or error}; check the folder, and try again"
        ) from error
    return count * plan.workers_per_element


def was_told_to_leave(folder: RunFolder, element: str) -> bool:
    """Return whether an element was told to drain, as far as can be read. If it starts again, it is not counted."""
    try:
        return element in _leaving(folder)
    except (OSError, StackError):
        return False


def parts(elements: int, most: int) -> list[int]:
    """Return the sizes of the arrays that so many elements take, if one may have `most`."""
    return [min(most, elements - start) for start in range(0, elements, most)]


def _set_elements(folder: RunFolder, plan: JobPlan, placed: Placed, count: int) -> None:
    there = commands.elements(array_name(plan, placed.job))
    numbers = {number for number, _ in there}
    leaving = [number for number in _leaving(folder) if number in numbers]
    todo = change(there, leaving, count)
    for part in parts(todo.more, commands.most_elements()) if todo.more else ():
        folder.array_script.write_text(array_script(plan, folder, placed, part), encoding="utf-8")
        commands.submit(str(folder.array_script))
    commands.cancel(todo.cancelled)
    commands.drain(todo.drained)
    write_whole(folder.leaving, json.dumps([*leaving, *todo.drained]))


@contextmanager
def _alone(folder: RunFolder, seconds: float) -> Generator[None]:
    """Keep others from changing the number meanwhile. Raises DeadlineError."""
    descriptor = os.open(folder.array_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while not _lock(descriptor):
            if time.monotonic() > deadline:
                raise DeadlineError(
                    f"waited {seconds:.0f} s for another program that changes the number of workers of {folder.path}: "
                    "is a `penstock slurm-workers` hung?"
                )
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _leaving(folder: RunFolder) -> list[str]:
    try:
        numbers = json.loads(folder.leaving.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise StackError(f"{folder.leaving} is damaged: {error}; remove it") from error
    if not isinstance(numbers, list):
        raise StackError(f"{folder.leaving} is damaged: it is no list; remove it")
    return [str(each) for each in numbers]
