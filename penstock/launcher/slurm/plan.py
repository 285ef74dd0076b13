"""What a Slurm job is to run, and where it runs now: two files of its run folder, which all of its nodes see."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penstock.launcher.addresses import HeldPorts
from penstock.protocol.errors import OutputError, SpecError
from penstock.protocol.transport.own_files import write_whole

#: Seconds for which the parts of a job try to read what they need: a file server that restarts refuses for a minute and
#: a half. And how often they try.
PATIENCE_S, _AGAIN_S = 120.0, 0.5


class Stored(BaseModel):
    """A record that a file of the run folder holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def write(self, path: Path) -> None:
        """Write the file; it is complete when it appears. Raises OutputError."""
        try:
            write_whole(path, self.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}; make room there, and again") from error

    @classmethod
    def read(cls, path: Path, patience_s: float = 0.0) -> Self:
        """Read the file; one that cannot be read is tried for so long. Raises SpecError."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return cls.model_validate_json(path.read_text(encoding="utf-8"))
            except OSError as error:
                if time.monotonic() >= deadline:
                    hint = "give the run folder that `penstock slurm` named when it submitted the job"
                    raise SpecError(f"{path}: {error.strerror}; {hint}") from error
            except ValidationError as error:
                raise SpecError(f"{path} was not written by this version of Penstock: {error}") from error
            time.sleep(_AGAIN_S)


class JobPlan(Stored):
    """What `penstock slurm` was asked for."""

    #: The interpreter that runs everything.
    python: str
    #: Name of the job; the jobs of further workers are named after it.
    name: str
    #: The trainer's command, and the folder where it runs.
    command: tuple[str, ...]
    folder: str
    #: Nodes that train, and ranks on each.
    nodes: int
    ranks_per_node: int
    cpus_per_rank: int
    gpus_per_node: int
    workers_per_node: int
    #: Whether each node has a sink of its own; else one next to the ventilator serves all ranks.
    sink_per_node: bool
    #: Bounds of the number of further workers, in a job array; None: there are none. And workers of an element of it.
    array: tuple[int, int] | None
    workers_per_element: int
    #: How many there are at first, and whether their number follows the need.
    array_first: int
    array_follows: bool
    #: Options of `sbatch` for the job, and for arrays of workers.
    options: tuple[str, ...]
    worker_options: tuple[str, ...]
    #: Lines of the user's file for the scripts, which come before Penstock's own.
    prologue: str
    worker_prologue: str
    #: Seconds before the time limit at which the trainer is asked to save.
    signal_s: int
    requeue: bool
    ports: tuple[int, int]
    roots: Mapping[str, str] = Field(default_factory=dict)
    #: Settings of the workers.
    worker: Mapping[str, Any] = Field(default_factory=dict)

    def hold_ports(self, count: int) -> HeldPorts:
        """Return so many of the ports, which are free on this host. Raises StackError."""
        first, last = self.ports
        return HeldPorts(count, range(first, last + 1), ": give other ones as --ports")

    @property
    def fixed_workers(self) -> int:
        """Workers that the job itself runs."""
        return self.nodes * self.workers_per_node


class Placed(Stored):
    """Where the stack of a job runs now; written each time that the job starts."""

    #: The job's number.
    job: str
    #: Addresses as other nodes reach them; those of the sink are empty where each node has one.
    ventilator: str
    results: str = ""
    trainers: str = ""


class NodeSink(Stored):
    """Where the sink of a node is, for its ranks; written before it starts."""

    #: The ventilator's address: the file of an earlier start of the job names another one.
    ventilator: str
    results: str
    trainers: str


class RunFolder:
    """The paths in a job's run folder."""

    def __init__(self, path: str | Path) -> None:
        """Make nothing."""
        self.path = Path(path).absolute()
        self.plan, self.placed = self.path / "job.json", self.path / "placed.json"
        self.spec, self.keys = self.path / "spec.json", self.path / "keys"
        #: Settings for `penstock status --config`.
        self.status = self.path / "status.toml"
        self.logs, self.quarantine = self.path / "logs", self.path / "quarantine.jsonl"
        self.script, self.array_script = self.path / "job.sh", self.path / "workers.sh"
        #: Where the sinks of nodes are.
        self.sinks = self.path / "sinks"
        #: Elements of the job array that were told to drain.
        self.leaving = self.path / "leaving.json"
        #: Locked by the process that changes the number of its elements.
        self.array_lock = self.path / "array.lock"

    def sink(self, node: str) -> Path:
        """Return the file that says where the sink of a node is."""
        return self.sinks / f"{node}.json"
