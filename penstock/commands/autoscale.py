"""`penstock autoscale`: runs a command of yours whenever another number of workers is needed.

The ventilator computes the number, damped; the command belongs to whatever starts the workers: Docker Compose, Docker
Swarm, a script. Workers are stopped by that engine's own signal, on which they drain.
"""

import errno
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO

from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.commands.status import AddressSettings, ask, open_onlooker
from penstock.protocol.errors import DeadlineError, SpecError, StackError
from penstock.protocol.runtime.printable import printable, say
from penstock.protocol.runtime.service import run
from penstock.protocol.snapshot import Scaling, Snapshot
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, Addresses
from penstock.terminal.words import several

#: What stands for the number in the command.
_NUMBER = "{workers}"
#: Seconds between two questions, and until a command is run again where the workers did not come or go.
_EVERY_S, _AGAIN_S = 1.0, 120.0
#: First and longest pause (s) before a command that failed is run again.
_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
#: How much of the end of what the command printed (bytes) is read for its last line.
_LAST_BYTES = 8192
#: What a busy machine says that has no room for one more process at the moment.
_BUSY = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class AutoscaleSettings(AddressSettings):
    """Runs a command whenever another number of workers is needed, until Ctrl-C."""

    address: CliPositionalArg[Addresses] = OWN_VENTILATOR
    """Address of the ventilator, such as tcp://host:5555, or of its dashboard, http://127.0.0.1:5550; default: the
    ventilator that this user runs here."""
    apply: str
    """Command that brings about a number of workers, with {workers} in place of the number, such as
    "docker service scale --detach penstock_worker={workers}". It runs without a shell."""
    least: int = Field(default=0, ge=0)
    """Fewest workers; the ventilator's `workers_least` holds too."""
    most: int = Field(default=0, ge=0)
    """Most workers; 0: no bound but the ventilator's `workers_most`."""
    command_s: float = Field(default=60.0, gt=0, le=3600)
    """Seconds that the command may take."""
    once: bool = False
    """Run the command once, if the number is known and differs from that of the workers that are here, and exit."""


@dataclass(slots=True)
class Follower:
    """Decides when the command is run; no process and no clock."""

    least: int
    most: int
    #: What the command was run for last, and when; None: it was not, or it failed.
    applied: int | None = None
    applied_at: float = float("-inf")
    #: Whether the last run failed: what it has brought about is not known.
    failed: bool = False
    #: When a command that failed may be run again, and the pause after that.
    retry_at: float = float("-inf")
    pause_s: float = field(default=_PAUSE_S)

    def due(self, scaling: Scaling, here: int, now: float) -> int | None:
        """Return the number that the command is to be run for now; None: it need not run."""
        if scaling.wanted is None or now < self.retry_at:
            return None
        wanted = max(self.least, min(scaling.wanted, self.most or scaling.wanted))
        if wanted == self.applied:
            return None if wanted == here or now < self.applied_at + _AGAIN_S else wanted
        # As many may be here, and more on their way, which the engine was asked for before: they are taken back.
        unasked = self.applied is None and not self.failed
        return None if wanted == here and unasked else wanted

    def done(self, workers: int, now: float, *, failed: bool) -> None:
        """Remember that the command was run."""
        self.failed = failed
        if failed:
            self.applied, self.retry_at = None, now + self.pause_s
            self.pause_s = min(_LONGEST_PAUSE_S, 2 * self.pause_s)
        else:
            self.applied, self.applied_at, self.pause_s = workers, now, _PAUSE_S


def serve(settings: AutoscaleSettings) -> int:
    """Follow the ventilator's number until interrupted; return the exit status."""
    words = _command(settings)
    follower = Follower(settings.least, settings.most)
    silent = False
    with open_onlooker(settings.address, settings) as onlooker:
        snapshot = ask(onlooker, 0)
        while True:
            failure = _follow(follower, words, snapshot, settings.command_s)
            if settings.once:
                if failure:
                    raise StackError(failure)
                return 0
            time.sleep(_EVERY_S)
            try:
                snapshot = onlooker.look(0)
                if silent:
                    say("penstock autoscale: the ventilator answers again")
                silent = False
            except DeadlineError as error:  # the workers stay as they are
                if not silent:
                    say(f"penstock autoscale: {error}; the workers stay as they are meanwhile")
                silent = True


def _command(settings: AutoscaleSettings) -> list[str]:
    """Return the command's words. Raises SpecError."""
    try:
        words = shlex.split(settings.apply)
    except ValueError as error:
        raise SpecError(f"--apply {settings.apply!r}: {error}") from error
    if not any(_NUMBER in word for word in words):
        hint = f'write {_NUMBER} where the number of workers belongs, as in "docker service scale app_worker={_NUMBER}"'
        raise SpecError(f"--apply {settings.apply!r}: {hint}")
    if settings.most and settings.most < settings.least:
        raise SpecError(f"--most {settings.most} is below --least {settings.least}: give the larger number as --most")
    return words


def _follow(follower: Follower, words: Sequence[str], snapshot: Snapshot, seconds: float) -> str:
    """Run the command if it is due; return why it failed, or nothing."""
    here = len(snapshot.workers)
    workers = follower.due(snapshot.scaling, here, time.monotonic())
    if workers is None:
        return ""
    say(f"penstock autoscale: {several(workers, 'worker')}, {here} here: {printable(snapshot.scaling.sentence)}")
    failure = _run([word.replace(_NUMBER, str(workers)) for word in words], seconds)
    if failure:
        say(f"penstock autoscale: {failure}; trying again in {follower.pause_s:.0f} s")
    follower.done(workers, time.monotonic(), failed=bool(failure))
    return failure


def _run(words: Sequence[str], seconds: float) -> str:
    """Run a command; return why it failed, or nothing. Raises SpecError if there is no such program.

    It prints to files: workers that it leaves in the background keep a pipe open, and no one would see that it ended.
    """
    with ExitStack() as files:
        try:
            out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        except OSError as error:  # the disk is full, for a while perhaps
            return f"what {words[0]!r} prints needs temporary files: {error.strerror}; make room for them (TMPDIR)"
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return f"{shlex.join(words)} took longer than {seconds:.0f} s and was ended"
        except OSError as error:
            why = f"{words[0]!r} cannot be run: {error.strerror}"
            if error.errno in _BUSY:
                return why
            raise SpecError(f"--apply: {why}") from error
        if done.returncode == 0:
            return ""
        said = _last_line(err) or _last_line(out) or "it said nothing"
    return f"{shlex.join(words)} ended with status {done.returncode}: {printable(said)}"


def _last_line(file: IO[bytes]) -> str:
    end = os.fstat(file.fileno()).st_size
    lines = os.pread(file.fileno(), _LAST_BYTES, max(0, end - _LAST_BYTES)).decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock autoscale`."""
    return run(AutoscaleSettings, serve, "autoscale", arguments)


if __name__ == "__main__":
    sys.exit(main())
