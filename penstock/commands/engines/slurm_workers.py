"""`penstock slurm-workers`: grows or shrinks the job array of workers of a job that `penstock slurm` submitted."""

import sys
from collections.abc import Sequence

from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.launcher.slurm.array import set_workers
from penstock.launcher.slurm.plan import JobPlan, Placed, RunFolder
from penstock.protocol.runtime.printable import say
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.terminal.words import several


class SlurmWorkersSettings(Settings):
    """Sets the number of workers of a Slurm job; those that go are drained."""

    run_dir: CliPositionalArg[str]
    """Run folder of the job."""
    workers: CliPositionalArg[int] = Field(ge=0)
    """Number of all workers of the job, those on its own nodes included. The bounds of --array-workers hold."""


def serve(settings: SlurmWorkersSettings) -> int:
    """Submit or drain elements of the array; return the exit status."""
    folder = RunFolder(settings.run_dir)
    plan, placed = JobPlan.read(folder.plan), Placed.read(folder.placed)
    count = set_workers(folder, plan, placed, settings.workers)
    say(f"penstock slurm-workers: {several(count, 'worker')} in the job array, {plan.fixed_workers} in the job itself")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock slurm-workers`."""
    return run(SlurmWorkersSettings, serve, "slurm-workers", arguments)


if __name__ == "__main__":
    sys.exit(main())
