"""`penstock slurm`: writes and submits a Slurm job that trains from a stack of its own.

`penstock/launcher/slurm` has what the job runs; docs/slurm.md tells the whole story.
"""

import functools
import re
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.commands.keys import InitSettings
from penstock.commands.keys import init as make_keys
from penstock.launcher.arguments import cache_options
from penstock.launcher.slurm import commands
from penstock.launcher.slurm.plan import JobPlan, RunFolder
from penstock.launcher.slurm.script import job_script
from penstock.protocol.errors import DeadlineError, OutputError, PenstockError, SpecError, StackError
from penstock.protocol.runtime.printable import say
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.spec.roots import absolute_root
from penstock.protocol.spec.spec import Spec, as_spec
from penstock.protocol.transport.own_files import make_own_folder, open_own

#: Most workers that a job array may have.
_MOST_WORKERS = 100_000
#: What `sbatch` says of a controller that did not answer in time, which may take the job all the same.
_TIMED_OUT = "timed out"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


class SlurmSettings(Settings):
    """Submits a Slurm job that runs a stack and, after `--`, the trainer's command, once for each rank."""

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    nodes: int = Field(default=1, ge=1, le=10_000)
    """Number of nodes that train."""
    ranks_per_node: int = Field(default=0, ge=0, le=1000)
    """Processes of the trainer on each node; 0: one for each of its GPUs, or one."""
    cpus_per_rank: int = Field(default=1, ge=1, le=1000)
    """Processors of each of these."""
    gpus_per_node: int = Field(default=0, ge=0, le=100)
    """GPUs of each node that trains."""
    workers_per_node: int = Field(default=0, ge=0, le=1000)
    """Workers on each node that trains, a processor each."""
    array_workers: str = ""
    """Workers in a job array next to the job: as many as are needed between bounds, such as 0-64, or a number that
    stays until `penstock slurm-workers` changes it; empty: none. They may run on any node of --worker-partition."""
    workers_per_element: int = Field(default=1, ge=1, le=1000)
    """Workers of each element of that array, on one node."""
    sinks: Literal["per-node", "1"] = "per-node"
    """A sink on each node that trains, for its ranks; or one on the first node for all ranks."""
    partition: str = ""
    """Partition of the nodes that train."""
    worker_partition: str = ""
    """Partition of the job array of workers; default: that of the nodes that train."""
    account: str = ""
    """Account that pays for both."""
    time: str = ""
    """Time limit in Slurm's notation, such as 04:00:00 or 2-00:00:00; default: the partition's."""
    worker_time: str = ""
    """Time limit of each element of the job array, such as 00:30:00, where its partition allows less than --time;
    default: --time. A minute before it, an element drains and goes back into the queue."""
    signal_s: int = Field(default=120, ge=40, le=65_535)
    """Seconds before the time limit at which the trainer gets SIGUSR1: it has all but 35 of them to save and to end.
    The job then goes back into the queue."""
    requeue: bool = True
    """Put the job back into the queue before its time limit and when it loses a node that trains."""
    prologue: str = ""
    """Shell file for the beginning of the job's script: further #SBATCH lines, and then commands such as `module load`.
    """
    worker_prologue: str = ""
    """The same for the scripts of job arrays."""
    name: str = "penstock"
    """Name of the job."""
    run_dir: str = ""
    """New folder for script, keys, logs and the quarantine ledger, on a file system that all nodes share; default: one
    in the current folder, named after the job and the time."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=FOLDER: the folder of one of the spec's roots on the nodes. May be given several times."""
    cache: str = ""
    """Folder of each node for decoded images of streams with `cache`."""
    ports: str = "20000-31999"
    """Ports of which the job takes three on its first node, and two on each other one."""
    print_: bool = Field(default=False, alias="print")
    """Print the job's script; write and submit nothing."""


def serve(command: Sequence[str], settings: SlurmSettings) -> int:
    """Write everything, submit it, say where to look; return the exit status."""
    spec = as_spec(settings.spec)
    roots = {name: absolute_root(root, Path.cwd()) for name, root in settings.root.items()}
    spec.map_roots(roots)
    plan = _plan(settings, command, roots)
    folder = RunFolder(settings.run_dir or f"{plan.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    script = job_script(plan, folder)
    if settings.print_:
        print(script, end="")
        return 0
    existed = _is_there(folder.path)
    try:
        _write(folder, plan, spec, script)
        job = _submit(folder)
    except DeadlineError:
        raise
    except PenstockError:
        _remove(folder.path, existed=existed)
        raise
    say(f"penstock slurm: submitted as job {job}; script, keys and logs are in {folder.path}")
    say(f"penstock slurm: once it runs: tail -f {folder.logs}/job.log; penstock status --config {folder.status}")
    return 0


def _plan(settings: SlurmSettings, command: Sequence[str], roots: dict[str, str]) -> JobPlan:
    """Return what is asked for. Raises SpecError."""
    if not command:
        raise SpecError("penstock slurm: no command of a trainer: give it after --, as in `-- python train.py`")
    if not _NAME.fullmatch(settings.name):
        raise SpecError(f"--name {settings.name!r}: give letters, digits, dots, dashes and underscores")
    array, first, follows = _array(settings.array_workers)
    if not (settings.workers_per_node or array):
        raise SpecError("no workers: give --workers-per-node 8, or --array-workers 1-64, or both")
    common = [f"--account={settings.account}"] if settings.account else []
    time_limit, worker_limit = settings.time, settings.worker_time or settings.time
    partition, others = settings.partition, settings.worker_partition or settings.partition
    return JobPlan(
        python=sys.executable,
        name=settings.name,
        command=tuple(command),
        folder=str(Path.cwd()),
        nodes=settings.nodes,
        ranks_per_node=settings.ranks_per_node or settings.gpus_per_node or 1,
        cpus_per_rank=settings.cpus_per_rank,
        gpus_per_node=settings.gpus_per_node,
        workers_per_node=settings.workers_per_node,
        sink_per_node=settings.nodes > 1 and settings.sinks == "per-node",
        array=array,
        workers_per_element=settings.workers_per_element,
        array_first=first,
        array_follows=follows,
        options=(*common, *_options(time_limit, partition)),
        worker_options=(*common, *_options(worker_limit, others)),
        prologue=_text("--prologue", settings.prologue),
        worker_prologue=_text("--worker-prologue", settings.worker_prologue),
        signal_s=settings.signal_s,
        requeue=settings.requeue,
        ports=_ports(settings.ports),
        roots=roots,
        worker=cache_options(settings.cache or None),
    )


def _options(time_limit: str, partition: str) -> list[str]:
    given = {"time": time_limit, "partition": partition}
    return [f"--{name}={value}" for name, value in given.items() if value]


def _array(text: str) -> tuple[tuple[int, int] | None, int, bool]:
    """Return the bounds of a job array of workers, how many it has at first, and whether it follows the need."""
    if not text:
        return None, 0, False
    if text.isascii() and text.isdecimal() and int(text) <= _MOST_WORKERS:
        return (0, _MOST_WORKERS), int(text), False
    least, most = _bounds("--array-workers", text)
    return (least, most), least, True


def _bounds(flag: str, text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})-(\d{1,6})", text, re.ASCII)
    least, most = (int(found[1]), int(found[2])) if found else (1, 0)
    if most < max(1, least):
        raise SpecError(f"{flag} {text!r}: give the fewest and the most, such as 0-64")
    return least, most


def _ports(text: str) -> tuple[int, int]:
    first, last = _bounds("--ports", text)
    if not 1024 <= first <= last - 2 or last >= 1 << 16:  # noqa: PLR2004 - below, ports are the administrator's
        raise SpecError(f"--ports {text!r}: give at least three ports from 1024 to 65535, such as 20000-31999")
    return first, last


def _text(flag: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{flag} {path!r}: {error}; give a shell file") from error


def _is_there(path: Path) -> bool:
    """Return whether there is a run folder already, an empty one. Raises SpecError and OutputError."""
    try:
        if path.exists() and list(path.iterdir()):
            raise SpecError(f"--run-dir {str(path)!r}: there is something in it already: give a new folder")
        return path.exists()
    except OSError as error:
        raise OutputError(f"cannot use {path}: {error.strerror}; give another folder as --run-dir") from error


def _write(folder: RunFolder, plan: JobPlan, spec: Spec, script: str) -> None:
    """Make the run folder with all that the job needs. Raises OutputError."""
    try:
        make_own_folder(folder.path)
        make_own_folder(folder.logs)
        with open_own(folder.spec, "w", encoding="utf-8") as file:
            file.write(spec.model_dump_json())
        with open_own(folder.script, "w", encoding="utf-8") as file:
            file.write(script)
    except OSError as error:
        raise OutputError(f"cannot write {folder.path}: {error.strerror}; give another folder as --run-dir") from error
    plan.write(folder.plan)
    make_keys(InitSettings(folder=str(folder.keys)))


def _submit(folder: RunFolder) -> str:
    """Return the number of the job. Raises StackError if Slurm refuses it, DeadlineError if it may have accepted it."""
    try:
        return commands.submit(str(folder.script))
    except (DeadlineError, StackError) as error:
        if isinstance(error, StackError) and _TIMED_OUT not in str(error).lower():
            raise
        again = f"sbatch {shlex.quote(str(folder.script))}"
        raise DeadlineError(
            f"{error}. The job may have been accepted all the same: `squeue --me` says whether it was. Its run folder "
            f"{folder.path} stays; if there is no such job, `{again}` submits it"
        ) from error


def _remove(path: Path, *, existed: bool) -> None:
    """Remove a run folder of which Slurm knows nothing, with its keys; one that `existed` is empty again."""
    try:
        for entry in list(path.iterdir()) if existed else [path] if path.exists() else []:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    except OSError as error:
        say(f"penstock slurm: cannot remove {error.filename}: {error.strerror}; remove it before the next try")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock slurm`; what follows `--` is the trainer's command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    at = given.index("--") if "--" in given else len(given)
    return run(SlurmSettings, functools.partial(serve, given[at + 1 :]), "slurm", given[:at])


if __name__ == "__main__":
    sys.exit(main())
