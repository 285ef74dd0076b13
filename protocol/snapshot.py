"""The whole topology at one moment, as the ventilator knows it: what `penstock status`, the dashboard and tests read.

Made once a second from heartbeats and the leases core; answers `StatusRequest`, and is JSON at `/status`. Owns what
each value means; `ventilator/monitoring` finds the values out, and other modules show them.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from penstock.protocol.event_log import MOST_PARTS, StoryPart
from penstock.protocol.records import Count, Message, TaskKey, Text, Timings
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
    "writer-bound",
    "quarantine-bound",
    "stalled",
    "idle",
    "starting",
]
WORDS: tuple[Word, ...] = get_args(Word)
#: What a stalled stack stands still for.
Cause = Literal["", "no worker", "no sink", "hanging task", "stopped stream", "no progress"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
Fraction = Annotated[float, Field(ge=0, le=1)]
#: What is computed of all that peers tell.
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Verdict(Message):
    """What limits the stack, and what to do."""

    word: Word
    """What limits it."""
    cause: Cause = ""
    """Of `stalled`: what is missing."""
    sentence: Text
    """The same in words, with numbers and what to do."""
    wait_fraction: Fraction | None = None
    """How much of its time the trainer that waits most waited for batches, lately; none without a trainer."""
    more_workers: Count = 0
    """Of `worker-bound`: about how many more workers of this kind would keep the trainers fed."""
    for_s: Amount = 0.0
    """Seconds since this became the verdict."""


class Flow(Message):
    """What passes along the topology's edges per second, lately."""

    tasks: Amount = 0.0
    """Tasks finished by workers."""
    made: Amount = 0.0
    """Samples from workers to the sink,"""
    made_bytes: Amount = 0.0
    """and their bytes."""
    batches: Amount = 0.0
    """Batches from the sink to trainers,"""
    delivered: Amount = 0.0
    """their samples"""
    delivered_bytes: Amount = 0.0
    """and their bytes."""


class WorkerRow(Message):
    """One worker."""

    name: Text
    """Host and process."""
    host: Text
    """Host."""
    slots: Count
    """Tasks that it wants to hold at once."""
    leases: Count
    """Tasks that it holds."""
    rate: Amount = 0.0
    """Samples per second, lately."""
    busy: Fraction = 0.0
    """How much of its time it worked or waited for files or the sink, lately; the rest it had no task."""
    task_s: Amount = 0.0
    """Seconds since it began what it runs; 0 without a task."""
    silent_s: Amount = 0.0
    """Seconds since it was heard."""
    hedged: bool = False
    """It holds up the stream, and others were given what it holds."""
    cut_off: Text = ""
    """Why its results do not get to the sink; empty: they do."""
    stats: WorkerStats = WorkerStats()
    """What it says of itself."""


class TrainerRow(Message):
    """One trainer."""

    rate: Amount = 0.0
    """Samples per second, lately."""
    wait_fraction: Fraction | None = None
    """How much of its time it waited for batches, lately: by its own clock, or as the sink sees it until it told."""
    eta_s: Amount | None = None
    """Seconds to its epoch's end at this rate; none while nothing flows."""
    stats: ReaderStats
    """What the sink says of it."""


class StreamRow(Message):
    """One stream."""

    name: Text
    """Its name."""
    items: Count
    """Items in an epoch,"""
    samples: Count
    """and samples."""
    classes: Count
    """Number of classes."""
    batch_size: Count
    """Samples in a batch."""
    fingerprint: Text
    """Digest of what determines the samples."""
    wanted: Count = 0
    """Tasks that the sink misses: "to do", all told;"""
    ready: Count = 0
    """of them, those that no worker has,"""
    leased: Count = 0
    """and those that workers have."""
    head_s: Amount = 0.0
    """Seconds that the lowest missing task has been the lowest: the age of the head of the line."""
    typical_task_s: Amount | None = None
    """Smoothed seconds that a task takes on a worker."""
    finished: Count = 0
    """Tasks that workers have finished,"""
    hedged: Count = 0
    """tasks that were given to a second worker because the first held up the stream,"""
    repeated: Count = 0
    """and tasks that were leased again after a loss."""
    given_up: Count = 0
    """Items that killed their workers."""
    spent: Timings = Timings()
    """Seconds that workers spent on it, by stage."""
    sink: StreamStats | None = None
    """What the sink says of it; none without a sink."""


class SinkRow(Message):
    """The sink."""

    results: Text
    """Address that workers push results to."""
    silent_s: Amount = 0.0
    """Seconds since it was heard."""
    outcomes: Counts = Field(default_factory=dict)
    """Results that came in, by outcome: accepted, duplicate, unwanted."""
    bytes: Count = 0
    """Bytes of samples in those accepted."""
    quarantined: Count = 0
    """Lines of the ledger since it started; `Snapshot.ledger` has the newest."""
    restarts: Count = 0
    """How often its supervisor has started it again."""
    rejected: Counts = Field(default_factory=dict)
    """Messages that it dropped, by reason."""


class Snapshot(Message):
    """Answer to `StatusRequest`: the topology now."""

    version: Text
    """Penstock's version."""
    at: Amount
    """When it was made: seconds since 1970 on the ventilator's clock."""
    up_s: Amount
    """Seconds since the ventilator had listed its sources."""
    verdict: Verdict
    """What limits the stack."""
    flow: Flow = Flow()
    """What passes along its edges."""
    streams: tuple[StreamRow, ...]
    """Every stream of the spec."""
    workers: tuple[WorkerRow, ...] = ()
    """Every worker, by name."""
    sink: SinkRow | None = None
    """The sink, if there is one."""
    trainers: tuple[TrainerRow, ...] = ()
    """Every trainer, by stream and rank."""
    writers: tuple[WriterStats, ...] = ()
    """Every file that the sink writes."""
    lost: Counts = Field(default_factory=dict)
    """Workers that went since the ventilator started: died ("worker unreachable", "worker silent") or left."""
    restarts: Count = 0
    """How often the ventilator's supervisor has started it again."""
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
