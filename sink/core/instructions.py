"""What the sink's core asks of its shell, besides the instructions that all cores have. Frozen records."""

from dataclasses import dataclass

from penstock.protocol.instructions import Instruction
from penstock.sink.core.writer_jobs import Job


@dataclass(frozen=True, slots=True)
class Write:
    """Hand a job to the writing thread."""

    job: Job


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """An item that could not be made into samples in one epoch."""

    stream: str
    epoch: int
    #: Index in the whole source, and path below its root.
    item: int
    path: str
    #: Explanation; number of attempts; the worker that tried it last.
    reason: str
    attempts: int
    worker: str


@dataclass(frozen=True, slots=True)
class AppendToLedger:
    """Write an entry to the quarantine ledger, durably."""

    entry: LedgerEntry


SinkInstruction = Instruction | Write | AppendToLedger
