"""The state of the whole stack at one moment, which `penstock status`, the dashboard and tests read.

The ventilator makes a snapshot once a second from heartbeats and the leases core. It answers `StatusRequest`, and is
JSON at `/status`. This module defines the meaning of each value; `ventilator/monitoring` computes the values.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from penstock.protocol.event_log import MOST_PARTS, StoryPart
from penstock.protocol.records import MOST_SINKS, Count, Message, TaskKey, Text, Timings
from penstock.protocol.stats import (
    LEDGER_KEPT,
    Counts,
    QuarantinedItem,
    ReaderStats,
    StreamStats,
    WorkerStats,
    WriterStats,
)

#: What limits a stack, as one word; docs/verdict.md says what each means and what to do.
Word = Literal[
    "trainer-bound",
    "worker-bound",
    "window-bound",
    "read-bound",
    "sink-bound",
    "copy-bound",
    "writer-bound",
    "quarantine-bound",
    "stalled",
    "idle",
    "starting",
]
WORDS: tuple[Word, ...] = get_args(Word)
#: Why a stalled stack stands still.
Cause = Literal["", "no worker", "no sink", "hanging task", "stopped stream", "no progress"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
Fraction = Annotated[float, Field(ge=0, le=1)]
#: A number computed from the statistics of peers.
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Verdict(Message):
    """What limits the stack, and what to do."""

    word: Word
    """What limits the stack, as one word."""
    cause: Cause = ""
    """For `stalled`: what is missing."""
    sentence: Text
    """The verdict as a sentence, with numbers and what to do."""
    wait_fraction: Fraction | None = None
    """Fraction of its time that the trainer that waits most waited for batches, lately; none without a trainer."""
    more_workers: Count = 0
    """For `worker-bound`: about how many more workers of this kind would keep the trainers fed."""
    for_s: Amount = 0.0
    """Seconds since this became the verdict."""


class Scaling(Message):
    """How many workers there should be: for whatever starts and stops workers, which follows this number."""

    wanted: Count | None = None
    """Number of workers that there should be, damped and within the bounds; none until it is known."""
    least: Count = 1
    """Fewest workers that are asked for."""
    most: Count | None = None
    """Most workers that are asked for; none: no bound."""
    sentence: Text = ""
    """Why the number was changed to what it is, with what it costs and brings."""
    for_s: Amount = 0.0
    """Seconds since the number changed."""


class Flow(Message):
    """Flow between the services, per second, lately."""

    tasks: Amount = 0.0
    """Tasks finished by workers per second."""
    made: Amount = 0.0
    """Samples sent by workers to the sink per second."""
    made_bytes: Amount = 0.0
    """Bytes of these samples per second."""
    near_bytes: Amount = 0.0
    """Bytes per second of those that went to a sink on the worker's host."""
    batches: Amount = 0.0
    """Batches sent by the sink to trainers per second."""
    delivered: Amount = 0.0
    """Samples in these batches per second."""
    delivered_bytes: Amount = 0.0
    """Bytes of these batches per second."""


class WorkerRow(Message):
    """One worker."""

    name: Text
    """Host and process ID."""
    host: Text
    """Name of the worker's host."""
    slots: Count
    """Number of tasks that the worker leases at once."""
    leases: Count
    """Number of tasks that the worker holds."""
    rate: Amount = 0.0
    """Samples per second, lately."""
    busy: Fraction = 0.0
    """Fraction of its time that the worker worked, or waited for files or the sink, lately; the rest of its time it had
    no task."""
    task_s: Amount = 0.0
    """Seconds since the worker began its current task; 0 without a task."""
    silent_s: Amount = 0.0
    """Seconds since the worker's last message."""
    hedged: bool = False
    """Whether the worker holds up the stream, so that other workers got its tasks too."""
    cut_off: Text = ""
    """Why the worker's results do not reach the sink; empty if they do."""
    stats: WorkerStats = WorkerStats()
    """The worker's own statistics."""


class TrainerRow(Message):
    """One trainer."""

    rate: Amount = 0.0
    """Samples per second, lately."""
    wait_fraction: Fraction | None = None
    """Fraction of its time that the trainer waited for batches, lately: by its own clock, or as the sink sees it until
    the trainer has reported."""
    copy_fraction: Fraction | None = None
    """Time that copies of its batches to a device took, as a fraction of the trainer's time, lately; they run while it
    computes or waits. None until it has reported."""
    eta_s: Amount | None = None
    """Seconds to the end of the trainer's epoch at this rate; none while nothing flows."""
    stats: ReaderStats
    """The sink's statistics of the trainer."""


class StreamRow(Message):
    """One stream."""

    name: Text
    """Name of the stream."""
    items: Count
    """Items in an epoch."""
    samples: Count
    """Samples in an epoch."""
    classes: Count
    """Number of classes."""
    batch_size: Count
    """Samples in a batch."""
    fingerprint: Text
    """Digest of what determines the samples."""
    wanted: Count = 0
    """Tasks that the sink is missing."""
    ready: Count = 0
    """Missing tasks that no worker has."""
    leased: Count = 0
    """Missing tasks that workers have."""
    head_s: Amount = 0.0
    """Seconds that the lowest missing task has been the lowest."""
    typical_task_s: Amount | None = None
    """Smoothed seconds that a task takes on a worker."""
    finished: Count = 0
    """Tasks that workers have finished."""
    hedged: Count = 0
    """Tasks that were given to a second worker because the first held up the stream."""
    repeated: Count = 0
    """Tasks that were leased again after a loss."""
    given_up: Count = 0
    """Items that were quarantined because they killed their workers."""
    spent: Timings = Timings()
    """Seconds that workers spent on the stream, by stage."""
    sink: StreamStats | None = None
    """The sink's statistics of the stream; none without a sink."""


class SinkRow(Message):
    """A sink, or the sum of several."""

    name: Text = ""
    """Its name; empty: it is the only one, or this is the sum of several."""
    results: Text
    """Address that workers push results to."""
    trainers: Count = 0
    """Trainers that it serves."""
    held: Count = 0
    """Samples that it holds."""
    sent_bytes: Count = 0
    """Bytes of the batches that it sent to trainers."""
    silent_s: Amount = 0.0
    """Seconds since the sink's last message."""
    outcomes: Counts = Field(default_factory=dict)
    """Number of results that arrived, by outcome: accepted, duplicate, unwanted."""
    bytes: Count = 0
    """Bytes of the samples in accepted results."""
    quarantined: Count = 0
    """Lines of the quarantine ledger since the sink started; `Snapshot.ledger` has the newest."""
    restarts: Count = 0
    """Number of times that the supervisor has restarted the sink."""
    rejected: Counts = Field(default_factory=dict)
    """Messages that the sink dropped, by reason."""
    contradicted: Counts = Field(default_factory=dict)
    """By worker, how many of its failures did not count because another worker made the samples."""


class StandbyRow(Message):
    """A ventilator that waits for its turn, or did."""

    name: Text
    """Its host and process."""
    heard_s: Amount = 0.0
    """Seconds since its last sign of life was read in the shared folder."""
    alive: bool = True
    """Whether that is recent enough: otherwise it would not take over."""


class Standby(Message):
    """Which of several ventilators acts."""

    acting: bool
    """Whether the one that answers does; the other values of a snapshot are then those of the stack."""
    term: Count = 0
    """Orders those that acted: the one of now, or the last that is known."""
    number: Count = 0
    """How often a ventilator of this stack began to act."""
    holder: Text = ""
    """Host, process and address of the one that acts; empty: none does, or it is not known."""
    waiting: Annotated[tuple[StandbyRow, ...], Field(max_length=16)] = ()
    """The other ventilators that wait, then those that have fallen silent."""
    why: Text = ""
    """Why the one that answers does not act, or what is wrong with the shared folder."""
    sentence: Text = ""
    """All this as a sentence."""

    @property
    def is_watched(self) -> bool:
        """Whether another ventilator would take over."""
        return any(row.alive for row in self.waiting)


class Snapshot(Message):
    """Answer to `StatusRequest`: the topology now."""

    version: Text
    """Penstock's version."""
    at: Amount
    """When the snapshot was made: seconds since 1970 on the ventilator's clock."""
    up_s: Amount
    """Seconds since the ventilator had listed its sources."""
    verdict: Verdict
    """What limits the stack."""
    standby: Standby | None = None
    """Which of several ventilators acts; none: there is only one."""
    scaling: Scaling = Scaling()
    """How many workers there should be."""
    flow: Flow = Flow()
    """Flow between the services, per second."""
    streams: tuple[StreamRow, ...]
    """Every stream of the spec."""
    workers: tuple[WorkerRow, ...] = ()
    """Every worker, by name."""
    sink: SinkRow | None = None
    """The sink, if there is one; with several sinks, their sum, in which what all of them know counts once."""
    sinks: Annotated[tuple[SinkRow, ...], Field(max_length=MOST_SINKS)] = ()
    """Every sink, by name."""
    trainers: tuple[TrainerRow, ...] = ()
    """Every trainer, by stream and rank."""
    writers: tuple[WriterStats, ...] = ()
    """Every file that the sink is writing."""
    lost: Counts = Field(default_factory=dict)
    """Workers lost since the ventilator started, by event: died ("worker unreachable", "worker silent") or left."""
    restarts: Count = 0
    """Number of times that the supervisor has restarted the ventilator."""
    rejected: Counts = Field(default_factory=dict)
    """Messages that the ventilator dropped, by reason."""
    ledger: Annotated[tuple[QuarantinedItem, ...], Field(max_length=LEDGER_KEPT)] = ()
    """The newest quarantined items, newest first, as many as were asked for."""
    story: Annotated[tuple[StoryPart, ...], Field(max_length=MOST_PARTS)] = ()
    """What happened to the task that was asked about: the part of each process that remembers it or did not answer."""


class StatusRequest(Message):
    """Asks the ventilator for the state of the stack; the answer is a `Snapshot`. The sender need not be a peer."""

    ledger: Annotated[int, Field(ge=0, le=LEDGER_KEPT)] = 20
    """How many quarantined items to show at most."""
    story: TaskKey | None = None
    """Task whose story is asked for, from all processes; none: no story."""
    version: Text
    """Penstock's version."""
