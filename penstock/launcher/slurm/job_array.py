"""The job array of a running job, brought about by a thread of its own: Slurm may answer late, or refuse for a while.

The trainer starts meanwhile. Without workers in the job itself it waits for them, but not for ever.
"""

import threading
import time
from collections.abc import Callable

from penstock.launcher.slurm.array import set_array
from penstock.launcher.slurm.plan import JobPlan, Placed, RunFolder
from penstock.protocol.errors import DeadlineError, PenstockError, StackError
from penstock.protocol.runtime.printable import try_to_say

#: First and longest pause (s) before Slurm is asked again.
_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
#: Seconds for which a job without any other worker asks for them before it ends.
_PATIENCE_S = 600.0


class JobArray:
    """Elements of an earlier start of the job go, then those of this one are asked for; at the end, all go."""

    def __init__(
        self, folder: RunFolder, plan: JobPlan, placed: Placed, ready: Callable[[], None], fail: Callable[[str], None]
    ) -> None:
        """Start nothing. `ready` is called once the array is asked for, `fail(why)` if Slurm will not have it.

        If `ready` raises OSError, it is called again after a pause.
        """
        self._folder, self._plan, self._placed = folder, plan, placed
        self._ready, self._fail = ready, fail
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._begin, name="penstock job array", daemon=True)

    def start(self) -> None:
        """Ask for the elements, in the thread."""
        if self._plan.array:
            self._thread.start()

    def end(self, seconds: float) -> None:
        """Let all elements go; those that Slurm is not told about in time leave when the job is gone."""
        self._over.set()
        if not self._plan.array:
            return
        if self._thread.is_alive():
            self._thread.join(seconds)
        try:
            set_array(self._folder, self._plan, self._placed, 0, seconds)
        except (StackError, DeadlineError) as error:
            try_to_say(f"penstock slurm: {error}; further workers leave by themselves when the job is gone")

    def _begin(self) -> None:
        # Those of an earlier start would look for services that are gone.
        steps, pause_s, until = [0, self._plan.array_first], _PAUSE_S, time.monotonic() + _PATIENCE_S
        while steps and not self._over.is_set():
            try:
                set_array(self._folder, self._plan, self._placed, steps[0])
                del steps[0]
            except (StackError, DeadlineError) as error:
                if not self._plan.fixed_workers and time.monotonic() > until:
                    self._fail(f"Slurm has refused the job array of workers for {_PATIENCE_S:.0f} s: {error}")
                    return
                try_to_say(f"penstock slurm: {error}; the job array is asked for again in {pause_s:.0f} s")
                self._over.wait(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            except PenstockError as error:
                self._fail(str(error))
                return
        self._say_ready()

    def _say_ready(self) -> None:
        pause_s = _PAUSE_S
        while not self._over.is_set():
            try:
                self._ready()
            except StackError:  # the job ends at this very moment
                return
            except OSError as error:  # the file server restarts, or a quota is reached
                try_to_say(
                    f"penstock slurm: what follows the need cannot be started: {error}; again in {pause_s:.0f} s"
                )
                self._over.wait(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            else:
                return
