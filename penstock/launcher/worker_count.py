"""How many workers a local stack runs: a number, or bounds between which it follows what the ventilator asks for."""

import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Self

from penstock.launcher.running import Running
from penstock.protocol.errors import SpecError, StackError
from penstock.protocol.runtime.cores import usable_cores

#: What `workers` of `penstock.local` may be.
Workers = int | str | tuple[int, int]

_HINT = (
    'give a whole number, 0 or more, "auto" for as many as are needed, or bounds such as (1, 8); default: one per core'
)
#: How often the ventilator is asked for the number (s): it makes a new one each second.
_ASK_S = 1.0


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """The number that a stack starts with, and the bounds of one that scales by itself."""

    first: int
    bounds: tuple[int, int] | None = None

    @property
    def settings(self) -> dict[str, int]:
        """The ventilator's settings for the bounds."""
        return {"workers_least": self.bounds[0], "workers_most": self.bounds[1]} if self.bounds else {}

    @classmethod
    def of(cls, given: object) -> Self:
        """Read `workers`: None, a number, "auto" (1 to one per core), (least, most) or "least-most". Raises SpecError.

        A stack that scales by itself starts with one worker per core, or its most if that is less.
        """
        cores = len(usable_cores())
        if given is None:
            return cls(cores)
        if given == "auto":
            return cls(cores, (1, cores))
        if isinstance(given, str) and (found := re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", given)):
            given = (int(found[1]), int(found[2])) if found[2] else int(found[1])
        if (number := _number(given)) is not None:
            return cls(number)
        pair = [_number(each) for each in given] if isinstance(given, tuple | list) else []
        match pair:
            case [int(least), int(most)] if most >= max(1, least):
                return cls(max(least, min(most, cores)), (least, most))
            case [int(), int()]:
                raise SpecError(f"workers = {given!r}: the second number is the most: 1 or more, not below the first")
            case _:
                raise SpecError(f"workers = {given!r}: {_HINT}")


def _number(value: object) -> int | None:
    """Return a whole number, 0 or more; None if the value is none. NumPy's numbers are numbers, too."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return None
    return int(value) if int(value) >= 0 else None


def follow_ventilator(run: Running, scale: "weakref.WeakMethod[Callable[[int], None]]") -> None:
    """Call `scale` with the number that the ventilator asks for, each time it changes, until `run` stops.

    The thread holds no reference to the stack, so that a forgotten one is collected.
    """

    def follow() -> None:
        while not run.stopped:
            time.sleep(_ASK_S)
            try:
                wanted = run.snapshot().scaling.wanted
                if (method := scale()) is None:
                    return
                if wanted is not None:
                    method(wanted)
            except StackError:  # the ventilator is being restarted, or the stack stops
                continue
            finally:
                method = None

    threading.Thread(target=follow, name="penstock worker count", daemon=True).start()
