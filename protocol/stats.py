"""What services tell of themselves with their heartbeats: small, bounded, absolute. Owns what each number means.

Counts and seconds only rise while a process lives. A lost message costs nothing, and rates are differences.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from penstock.protocol.records import Count, FailureKind, Message, Seconds, TaskKey, Text, Timings

#: Quarantined items that one heartbeat carries, and that a sink and a ventilator remember: the newest.
LEDGER_PAGE, LEDGER_KEPT = 100, 1000
#: Streams, trainers and files of which one heartbeat tells.
MOST_STREAMS = 1000
#: Longest path, reason or name (characters) in statistics; longer ones are cut in the middle.
MOST_CHARACTERS = 400
#: Counts are kept by few names (outcomes, reasons), of few letters.
MOST_NAMES, MOST_LETTERS = 64, 64
Counts = Annotated[
    dict[Annotated[str, StringConstraints(max_length=MOST_LETTERS)], Count], Field(max_length=MOST_NAMES)
]
#: What a worker's decoding thread does: waits for a task, for bytes, works, or hands a result over.
Stage = Literal["idle", "read", "make", "send"]


class WorkerStats(Message):
    """A worker, since its process started."""

    tasks: Count = 0
    """Units of work whose result was sent."""
    samples: Count = 0
    """Samples in them."""
    bytes: Count = 0
    """Bytes of those samples."""
    items: Count = 0
    """Items worked on,"""
    failures: Count = 0
    """and those of them that could not be made into samples."""
    spent: Timings = Timings()
    """Seconds of the thread that makes samples, by stage; the rest of its time it waited for tasks."""
    stage: Stage = "idle"
    """What that thread does now,"""
    stage_s: Seconds = 0.0
    """and for how many seconds; they are not in `spent` yet."""
    task: TaskKey | None = None
    """What it works on or waits for."""
    restarts: Count = 0
    """How often its supervisor has started it again."""
    rejected: Counts = Field(default_factory=dict)
    """Messages that were dropped, by reason."""


class FeedWaits(Message):
    """A training program's own clock, as its feed measures it."""

    batches: Count = 0
    """Batches handed to the program."""
    wait_s: Seconds = 0.0
    """Seconds that it waited for them, the wait that is not over included."""
    busy_s: Seconds = 0.0
    """Seconds that it spent with a batch in hand."""


class EpochProgress(Message):
    """The epoch that a reader is in, from where it began to read: samples."""

    epoch: Count
    """Number of the epoch."""
    expected: Count
    """All that are to be accounted for."""
    delivered: Count = 0
    """In batches that were sent, over all ranks."""
    quarantined: Count = 0
    """Of items that failed, as far as the reader has come."""
    dropped: Count = 0
    """Left over at the epoch's end."""


class ReaderStats(Message):
    """One trainer, as the sink sees it since it subscribed."""

    reader: Text
    """Tells it from others, and from itself before it subscribed again."""
    stream: Text
    """What it reads,"""
    rank: Count
    """as which"""
    world_size: Count
    """of how many."""
    position: Count
    """Everything before was sent to it."""
    epoch: EpochProgress
    """Where it stands in its epoch."""
    batches: Count = 0
    """Batches sent,"""
    samples: Count = 0
    """the samples in them"""
    bytes: Count = 0
    """and their bytes."""
    credit: Count = 0
    """Batches that may be sent to it at once: it waits for them."""
    in_flight: Count = 0
    """Batches that were sent and that it has not consumed."""
    starved: bool = True
    """It has credit and no batch of it is complete: it waits for the pipeline. Else the pipeline waits for it."""
    state_s: Seconds = 0.0
    """Seconds since that is so; they are in the sums below."""
    starved_s: Seconds = 0.0
    """Seconds that it was starved."""
    blocked_s: Seconds = 0.0
    """Seconds that it had no credit to give: it was busy with what it had."""
    feed: FeedWaits | None = None
    """What it says itself; none as long as it has not."""


class StreamStats(Message):
    """One stream in the sink, since that started; trainers that left are counted."""

    stream: Text
    """Its name."""
    window: Count = 0
    """Samples that may be held or on their way for the trainer that may have most; 0 without one."""
    held: Count = 0
    """Samples that are held,"""
    in_flight: Count = 0
    """and those on their way to the trainer that has most of them there."""
    batches: Count = 0
    """Batches sent to trainers,"""
    samples: Count = 0
    """the samples in them"""
    bytes: Count = 0
    """and their bytes."""
    quarantined_samples: Count = 0
    """Samples that trainers did not get because their items failed, counted for rank 0 at each epoch's end,"""
    dropped_samples: Count = 0
    """and those left over at the end of an epoch, likewise."""
    starved_s: Seconds = 0.0
    """Seconds that trainers had credit and no batch of theirs was complete, summed over trainers."""
    blocked_s: Seconds = 0.0
    """Seconds that trainers had no credit to give, summed over trainers."""
    quarantined: Counts = Field(default_factory=dict)
    """Items quarantined, once an epoch, by kind of failure."""
    quarantined_items: Counts = Field(default_factory=dict)
    """Different items quarantined so far, by kind of their first failure: each is counted once, however many epochs."""
    stopped: Text = ""
    """Why the stream stopped for good; empty while it runs."""


class QuarantinedItem(Message):
    """One line of the quarantine ledger."""

    number: Annotated[int, Field(ge=0, lt=2**62 - 1)]
    """Running number since the sink started, from 0."""
    stream: Text
    """Where it belongs,"""
    epoch: Count
    """when it failed,"""
    item: Count
    """its index in the whole source"""
    path: Text
    """and its path below the root."""
    kind: FailureKind
    """What failed, as one word;"""
    reason: Text
    """the same in a sentence."""
    attempts: Count = 1
    """How often it was tried."""
    worker: Text = ""
    """Who tried it last."""


class WriterStats(Message):
    """A writer, which records a stream in a file while trainers read it."""

    stream: Text
    """What is written"""
    path: Text
    """and where."""
    state: Literal["waiting", "opening", "writing", "finishing", "finished", "stopped"] = "writing"
    """Whether it still takes samples: it does while `writing`."""
    position: Count = 0
    """Everything before was handed over to be written,"""
    total: Count = 0
    """and where it ends."""
    samples: Count = 0
    """Samples written since the sink started,"""
    bytes: Count = 0
    """and their bytes before compression."""
    waiting: Count = 0
    """Samples that wait to be written."""
    busy_s: Seconds = 0.0
    """Seconds spent writing."""
    blocked_s: Seconds = 0.0
    """Seconds that the stream stood still because the file had not kept up."""
    blocked: bool = False
    """Whether it does now."""


class SinkStats(Message):
    """The sink, since its process started."""

    results: Counts = Field(default_factory=dict)
    """Results that came in, by outcome: accepted, duplicate, unwanted."""
    bytes: Count = 0
    """Bytes of samples in those that were accepted."""
    streams: Annotated[tuple[StreamStats, ...], Field(max_length=MOST_STREAMS)] = ()
    """Every stream."""
    readers: Annotated[tuple[ReaderStats, ...], Field(max_length=MOST_STREAMS)] = ()
    """Every trainer."""
    writers: Annotated[tuple[WriterStats, ...], Field(max_length=MOST_STREAMS)] = ()
    """Every file that is written."""
    quarantined: Count = 0
    """Lines of the ledger since the sink started."""
    ledger: Annotated[tuple[QuarantinedItem, ...], Field(max_length=LEDGER_PAGE)] = ()
    """Those that the ventilator has not heard of yet, oldest first, as many as fit."""
    restarts: Count = 0
    """How often its supervisor has started it again."""
    rejected: Counts = Field(default_factory=dict)
    """Messages that were dropped, by reason."""


def few(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts as a message may carry them: the most frequent, by names that are not too long."""
    most = sorted(counts.items(), key=lambda pair: -pair[1])[:MOST_NAMES]
    return {name[:MOST_LETTERS]: count for name, count in most}


def shorten(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return `text`, or its beginning and end: what is cut out of a path or a reason is least needed."""
    if len(text) <= most:
        return text
    half = (most - 3) // 2
    return f"{text[:half]} … {text[-half:]}"
