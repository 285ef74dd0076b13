"""Settings, candidates, runs and results of a benchmark.

`command.py` fills these, `report.py` and `plots.py` read them.
"""

import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import AliasChoices, Field
from pydantic_settings import CliPositionalArg

from penstock.protocol.runtime.settings import Settings


class BenchSettings(Settings):
    """Times a stream, or Keras's ImageDataGenerator against ours, with several numbers of workers."""

    spec: CliPositionalArg[str]
    """Path of a spec (TOML), or of a folder with a subfolder of images a class (at 224×224); or `in-memory` or `jpegs`
    to compare Keras's ImageDataGenerator with ours."""
    workers: str = ""
    """Numbers of worker processes, such as 0,1,2,4; 0: the trainer's process alone. Default: 0 to one per core."""
    rounds: int = Field(default=3, ge=1, le=1000)
    """Times that each number of workers runs. Rounds alternate, so that other load on the machine affects all alike."""
    epochs: float | None = Field(default=None, gt=0, le=1000)
    """Epochs to time. Default: 1; `in-memory` and `jpegs` time a fixed number of batches instead."""
    batches: int | None = Field(default=None, ge=1, le=10_000_000)
    """Batches to time, instead of epochs."""
    warm_up: int = Field(default=20, ge=1, le=100_000)
    """Batches before the timed ones, while processes start and networks are compiled."""
    train: bool = False
    """Train a small Keras network; by default the batches are discarded."""
    against: str = ""
    """Other loaders to run in turns, with the same kernel and as many workers: `torch` (PyTorch's DataLoader), `tfdata`
    (tf.data, threads), or both with a comma between."""
    stream: str | None = None
    """Stream of the spec; default: its first."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=FOLDER: the folder of one of the spec's roots on this host. May be given several times."""
    data: str | None = None
    """Folder of JPEG files for `jpegs`, one subfolder per class; default: generated images."""
    interval_s: float = Field(default=0.2, ge=0.05, le=60)
    """Seconds between two measurements of processors, memory, network and GPUs."""
    output: str = Field(default="bench-report", validation_alias=AliasChoices("o", "output"))
    """Folder for the report: report.md, pictures, runs.csv, usage.csv."""


class Loader(NamedTuple):
    """A loader that a stream can be compared with."""

    #: For people, and what its workers are.
    title: str
    workers: str
    #: The module that it needs, and the extra that brings it.
    module: str
    extra: str


LOADERS = {
    "torch": Loader("DataLoader", "process", "torch", "torch"),
    "tfdata": Loader("tf.data", "thread", "tensorflow", "tf-cpu"),
}


def counted(number: int, what: str) -> str:
    """Return a number of workers in words."""
    plural = "es" if what.endswith("s") else "s"
    return "in process" if not number else f"{number} {what}{plural if number > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration, which is run in every round."""

    library: str
    workers: int

    def __str__(self) -> str:
        """Name it for people."""
        if self.library == "keras":
            return "Keras"
        if self.library in LOADERS:
            loader = LOADERS[self.library]
            return f"{loader.title}, {counted(self.workers, loader.workers)}"
        return counted(self.workers, "worker")


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run; `run.py` measures these numbers."""

    round: int
    candidate: Candidate
    samples: int
    batches: int
    duration_s: float
    first_batch_s: float
    began_s: float
    ended_s: float
    step_median_ms: float
    step_p95_ms: float
    usage: list[dict[str, float]] = field(repr=False)

    @property
    def samples_per_s(self) -> float:
        """The rate."""
        return self.samples / max(self.duration_s, 1e-9)


@dataclass(slots=True)
class Results:
    """Everything that a report shows."""

    settings: BenchSettings
    title: str
    text: str
    candidates: list[Candidate]
    runs: list[Run] = field(default_factory=list)
    #: Why some runs are missing; empty if all were finished.
    cut_short: str = ""

    def of(self, candidate: Candidate) -> list[Run]:
        """Return a candidate's runs."""
        return [each for each in self.runs if each.candidate == candidate]

    def median_s(self, candidate: Candidate) -> float | None:
        """Return the median duration; None if it was not run."""
        return statistics.median(each.duration_s for each in runs) if (runs := self.of(candidate)) else None
