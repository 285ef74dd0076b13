"""What a benchmark is asked for and what it found: settings, candidates, runs and all results together.

`command.py` fills these, `report.py` and `plots.py` read them.
"""

import statistics
from dataclasses import dataclass, field

from pydantic import AliasChoices, Field
from pydantic_settings import CliPositionalArg

from penstock.protocol.runtime.settings import Settings


class BenchSettings(Settings):
    """Times a stream, or Keras's ImageDataGenerator beside ours, with several numbers of workers."""

    spec: CliPositionalArg[str]
    """Path of a spec (TOML); or `in-memory` or `jpegs`: Keras's ImageDataGenerator beside ours."""
    workers: str = ""
    """Numbers of worker processes, as in 0,1,2,4; 0: everything in the trainer's process. Default: 0 to one a core."""
    rounds: int = Field(default=3, ge=1, le=1000)
    """Times that each is run; rounds alternate, so that whatever else the machine does meets all of them."""
    epochs: float | None = Field(default=None, gt=0, le=1000)
    """Epochs that are timed; default: 1, and a number of batches of their own for `in-memory` and `jpegs`."""
    batches: int | None = Field(default=None, ge=1, le=10_000_000)
    """Batches that are timed, in place of epochs."""
    warm_up: int = Field(default=20, ge=1, le=100_000)
    """Batches before those: processes start, and networks are compiled."""
    train: bool = False
    """Train a small Keras network; default: take the batches and do nothing with them."""
    stream: str | None = None
    """Stream of the spec; default: its first."""
    root: dict[str, str] = Field(default_factory=dict)
    """name=/path: where a root of the spec lies on this host."""
    data: str | None = None
    """Folder of JPEG files for `jpegs`, a folder a class; default: a set is drawn."""
    interval_s: float = Field(default=0.2, ge=0.05, le=60)
    """Seconds between two looks at processors, memory, network and GPUs."""
    output: str = Field(default="bench-report", validation_alias=AliasChoices("o", "output"))
    """Folder for the report: report.md, pictures, runs.csv, usage.csv."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is run in every round."""

    library: str
    workers: int

    def __str__(self) -> str:
        """Name it for people."""
        if self.library == "keras":
            return "Keras"
        return "in process" if not self.workers else f"{self.workers} worker{'s' if self.workers > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run; what each number means stands in `bench_run`."""

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
    """All that a report is made of."""

    settings: BenchSettings
    title: str
    text: str
    candidates: list[Candidate]
    runs: list[Run] = field(default_factory=list)
    #: Why there are no more; empty if all were run.
    cut_short: str = ""

    def of(self, candidate: Candidate) -> list[Run]:
        """Return a candidate's runs."""
        return [each for each in self.runs if each.candidate == candidate]

    def median_s(self, candidate: Candidate) -> float | None:
        """Return the median duration; None if it was not run."""
        return statistics.median(each.duration_s for each in runs) if (runs := self.of(candidate)) else None
