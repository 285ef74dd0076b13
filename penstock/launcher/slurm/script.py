"""The batch scripts: what `sbatch` gets for the job, and for a job array of further workers."""

import shlex
from collections.abc import Iterable, Sequence

from penstock.launcher.slurm.plan import JobPlan, Placed, RunFolder

#: Processors of a node that are left to the ventilator and the sink; any node may be the one that runs them.
_SERVICE_CPUS = 2
#: Seconds before the time limit at which an element of a job array is told to drain and to wait in the queue again.
ARRAY_SIGNAL_S = 60


def job_script(plan: JobPlan, folder: RunFolder) -> str:
    """Return the script of the job."""
    cpus = plan.workers_per_node + plan.ranks_per_node * plan.cpus_per_rank + _SERVICE_CPUS
    own = [f"--nodes={plan.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}"]
    if plan.gpus_per_node:
        own.append(f"--gres=gpu:{plan.gpus_per_node}")
    whole = [
        f"--job-name={plan.name}",
        f"--output={folder.logs / 'job.log'}",
        "--open-mode=append",
        f"--signal=B:USR1@{plan.signal_s}",
        "--requeue" if plan.requeue else "--no-requeue",
    ]
    lines = _directives([*whole, *own, *plan.options])
    return _script(lines, plan.prologue, [plan.python, "-P", "-m", "penstock.launcher.slurm.job", str(folder.path)])


def array_script(plan: JobPlan, folder: RunFolder, placed: Placed, count: int) -> str:
    """Return the script of a job array of so many elements, for the job at the place where it runs now."""
    options = [
        f"--job-name={array_name(plan, placed.job)}",
        f"--array=0-{count - 1}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={plan.workers_per_element}",
        f"--output={folder.logs / 'array-%A_%a.log'}",
        "--open-mode=append",
        f"--signal=B:USR1@{ARRAY_SIGNAL_S}",
        "--requeue",
        *plan.worker_options,
    ]
    command = [*node_command(plan, folder, plan.workers_per_element, placed), placed.job]
    return _script(_directives(options), plan.worker_prologue, command)


def node_command(plan: JobPlan, folder: RunFolder, workers: int, placed: Placed) -> list[str]:
    """Return the command that runs the workers of one node, and its sink if it has one."""
    module = [plan.python, "-P", "-m", "penstock.launcher.slurm.node"]
    return [*module, str(folder.path), str(workers), placed.ventilator]


def array_name(plan: JobPlan, job: str) -> str:
    """Return the name of the job arrays that belong to a job."""
    return f"{plan.name}-workers-of-{job}"


def _script(directives: Iterable[str], prologue: str, command: Sequence[str]) -> str:
    added = [prologue.rstrip("\n")] if prologue.strip() else []
    head = ["#!/bin/bash", "# Written by `penstock slurm`; docs/slurm.md says what runs here.", *directives]
    return "\n".join([*head, *added, f"exec {shlex.join(command)}"]) + "\n"


def _directives(options: Iterable[str]) -> list[str]:
    return [f"#SBATCH {shlex.quote(option)}" for option in options]
