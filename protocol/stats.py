"""The statistics that services send with their heartbeats: small, bounded, absolute.

This module defines what each number means. Counts and seconds only rise while a process lives, so a lost message costs
nothing, and rates are differences.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from penstock.protocol.records import Count, FailureKind, Message, Seconds, TaskKey, Text, Timings

#: Quarantined items that one heartbeat carries, and that a sink and a ventilator remember: the newest.
LEDGER_PAGE, LEDGER_KEPT = 100, 1000
#: Streams, trainers and files that one heartbeat reports at most.
MOST_STREAMS = 1000
#: Longest path, reason or name (characters) in statistics; longer ones are cut in the middle.
MOST_CHARACTERS = 400
#: Counts by name (outcomes, reasons) have few and short names.
MOST_NAMES, MOST_LETTERS = 64, 64
Counts = Annotated[
    dict[Annotated[str, StringConstraints(max_length=MOST_LETTERS)], Count], Field(max_length=MOST_NAMES)
]
#: Stages of a worker's decoding thread: it waits for a task or for bytes, works, or hands a result over.
Stage = Literal["idle", "read", "make", "send"]


class CacheStats(Message):
    """Statistics of a worker's cache of decoded images since its process started."""

    hits: Count = 0
    """Images that were found in the cache."""
    misses: Count = 0
    """Images that were decoded because the cache did not have them."""
    read_bytes: Count = 0
    """Bytes of the images that were found."""
    written_bytes: Count = 0
    """Bytes of the images that were put into the cache."""
    saved_s: Seconds = 0.0
    """Seconds of decoding and resizing that the hits saved, less the seconds that finding them took."""
    held_bytes: Count = 0
    """Bytes that the host's cache takes now, about: the workers of a host share one."""
    limit_bytes: Count = 0
    """Bytes that the host's cache may take."""
    stopped: Annotated[str, StringConstraints(max_length=MOST_LETTERS)] = ""
    """Why it does not grow now though its limit is not reached, such as a full disk; empty if it may grow."""


class ShardStats(Message):
    """Statistics of the whole shards that a worker keeps on its host's disk, since its process started."""

    hits: Count = 0
    """Images that were read from kept shards."""
    misses: Count = 0
    """Images that were requested because their shard was not kept."""
    read_bytes: Count = 0
    """Bytes of the images that were read from kept shards."""
    requested_bytes: Count = 0
    """Bytes of the images that were requested."""
    fetched: Count = 0
    """Shards that the worker fetched as a whole."""
    fetched_bytes: Count = 0
    """Bytes of these."""
    removed: Count = 0
    """Shards that the worker removed to make room for others."""
    removed_bytes: Count = 0
    """Bytes of these."""
    held_bytes: Count = 0
    """Bytes that the host's kept shards had when this worker made room last; the workers of a host share them."""
    limit_bytes: Count = 0
    """Bytes that they may have."""


class WorkerStats(Message):
    """Statistics of a worker since its process started."""

    tasks: Count = 0
    """Units of work whose result was sent."""
    samples: Count = 0
    """Samples in these results."""
    bytes: Count = 0
    """Bytes of these samples."""
    near_bytes: Count = 0
    """Bytes of the samples that went to a sink on the worker's host."""
    items: Count = 0
    """Items processed, failed ones included."""
    failures: Count = 0
    """Items that could not be made into samples."""
    spent: Timings = Timings()
    """Seconds of the thread that makes samples, by stage; the rest of its time it waited for tasks."""
    stage: Stage = "idle"
    """Current stage of that thread."""
    stage_s: Seconds = 0.0
    """Seconds in the current stage; they are not in `spent` yet."""
    task: TaskKey | None = None
    """Task that the thread works on or waits for."""
    cache: CacheStats | None = None
    """The cache of decoded images; none unless a stream has one and the worker could open it."""
    shards: ShardStats | None = None
    """The whole shards that are kept; none unless a source below a URL has `cache_gb` and the worker has a folder."""
    restarts: Count = 0
    """Number of times that the supervisor has restarted the worker."""
    rejected: Counts = Field(default_factory=dict)
    """Messages that the worker dropped, by reason."""


class FeedWaits(Message):
    """Times of a training program, measured by its feed."""

    batches: Count = 0
    """Batches handed to the program."""
    wait_s: Seconds = 0.0
    """Seconds that the program waited for batches, including a wait that is not over."""
    busy_s: Seconds = 0.0
    """Seconds that the program spent with a batch in hand."""
    copy_s: Seconds = 0.0
    """Seconds that copies of batches to the device took; they run while the program computes or waits."""


class EpochProgress(Message):
    """Samples of the epoch that a reader is in, from where it began to read."""

    epoch: Count
    """Number of the epoch."""
    expected: Count
    """Samples that must be accounted for."""
    delivered: Count = 0
    """Samples in batches that were sent, over all ranks."""
    quarantined: Count = 0
    """Samples of failed items, as far as the reader has come."""
    dropped: Count = 0
    """Samples left over at the epoch's end."""


class ReaderStats(Message):
    """Statistics of one trainer, as the sink sees it, since it subscribed."""

    reader: Text
    """Identifies this subscription: another one of the same trainer has another value."""
    stream: Text
    """Stream that the trainer reads."""
    rank: Count
    """Rank of the trainer."""
    world_size: Count
    """Number of ranks that share the stream."""
    position: Count
    """Position up to which everything was sent to the trainer."""
    epoch: EpochProgress
    """Progress of the trainer in its epoch."""
    batches: Count = 0
    """Batches sent."""
    samples: Count = 0
    """Samples in these batches."""
    bytes: Count = 0
    """Bytes of these batches."""
    credit: Count = 0
    """Batches that may be sent at once: the trainer waits for them."""
    in_flight: Count = 0
    """Batches that were sent and that the trainer has not consumed."""
    starved: bool = True
    """Whether the trainer has credit and no batch of it is complete, so that it waits for the pipeline. Otherwise the
    pipeline waits for the trainer."""
    state_s: Seconds = 0.0
    """Seconds since `starved` changed; they are included in the sums below."""
    starved_s: Seconds = 0.0
    """Seconds that the trainer was starved."""
    blocked_s: Seconds = 0.0
    """Seconds that the trainer had no credit: it was busy with its batches."""
    feed: FeedWaits | None = None
    """The trainer's own times; none until it has reported them."""


class StreamStats(Message):
    """Statistics of one stream since the sink started; trainers that left are included."""

    stream: Text
    """Name of the stream."""
    window: Count = 0
    """Samples that may be held or in transit for the trainer with the largest window; 0 without a trainer."""
    held: Count = 0
    """Samples that the sink holds."""
    in_flight: Count = 0
    """Samples in transit to the trainer that has most of them in transit."""
    batches: Count = 0
    """Batches sent to trainers."""
    samples: Count = 0
    """Samples in these batches."""
    bytes: Count = 0
    """Bytes of these batches."""
    quarantined_samples: Count = 0
    """Samples that trainers did not get because their items failed, counted for rank 0 at each epoch's end."""
    dropped_samples: Count = 0
    """Samples left over at the end of an epoch, counted for rank 0."""
    starved_s: Seconds = 0.0
    """Seconds that trainers had credit and no complete batch, summed over trainers."""
    blocked_s: Seconds = 0.0
    """Seconds that trainers had no credit, summed over trainers."""
    quarantined: Counts = Field(default_factory=dict)
    """Items quarantined, counted once per epoch, by kind of failure."""
    quarantined_items: Counts = Field(default_factory=dict)
    """Different items quarantined so far, by kind of their first failure; each is counted once, in however many epochs
    it failed."""
    stopped: Text = ""
    """Why the stream stopped for good; empty while it runs."""


class QuarantinedItem(Message):
    """One line of the quarantine ledger."""

    number: Annotated[int, Field(ge=0, lt=2**62 - 1)]
    """Running number since the sink started, from 0."""
    stream: Text
    """Stream of the item."""
    epoch: Count
    """Epoch in which the item failed."""
    item: Count
    """Index of the item in the whole source."""
    path: Text
    """Path of the item below the root."""
    kind: FailureKind
    """Kind of failure, as one word."""
    reason: Text
    """The failure, as a sentence."""
    attempts: Count = 1
    """Number of attempts."""
    worker: Text = ""
    """Worker that tried the item last."""


class WriterStats(Message):
    """Statistics of a writer, which records a stream in a file while trainers may read it."""

    stream: Text
    """Stream that is written."""
    path: Text
    """Path of the output."""
    state: Literal["waiting", "opening", "writing", "finishing", "finished", "stopped"] = "writing"
    """State of the recording; it takes samples only while it is `writing`."""
    position: Count = 0
    """Position up to which everything was handed over to be written."""
    total: Count = 0
    """Position at which the recording ends."""
    samples: Count = 0
    """Samples written since the sink started."""
    bytes: Count = 0
    """Bytes of these samples before compression."""
    waiting: Count = 0
    """Samples that wait to be written."""
    busy_s: Seconds = 0.0
    """Seconds spent writing."""
    blocked_s: Seconds = 0.0
    """Seconds that the stream stood still because the file had not kept up."""
    blocked: bool = False
    """Whether the stream stands still now because the file has not kept up."""


class SinkStats(Message):
    """Statistics of the sink since its process started."""

    results: Counts = Field(default_factory=dict)
    """Results that arrived, by outcome: accepted, duplicate, unwanted."""
    bytes: Count = 0
    """Bytes of the samples in accepted results."""
    streams: Annotated[tuple[StreamStats, ...], Field(max_length=MOST_STREAMS)] = ()
    """Every stream."""
    readers: Annotated[tuple[ReaderStats, ...], Field(max_length=MOST_STREAMS)] = ()
    """Every trainer."""
    writers: Annotated[tuple[WriterStats, ...], Field(max_length=MOST_STREAMS)] = ()
    """Every file that is being written."""
    quarantined: Count = 0
    """Lines of the ledger since the sink started."""
    ledger: Annotated[tuple[QuarantinedItem, ...], Field(max_length=LEDGER_PAGE)] = ()
    """Lines of the ledger that the ventilator has not got yet, oldest first, as many as fit."""
    restarts: Count = 0
    """Number of times that the supervisor has restarted the sink."""
    rejected: Counts = Field(default_factory=dict)
    """Messages that the sink dropped, by reason."""
    contradicted: Counts = Field(default_factory=dict)
    """By worker, how many of its failures did not count because another worker made the samples."""


def few(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts as a message may carry them: the most frequent ones, with short names."""
    most = sorted(counts.items(), key=lambda pair: -pair[1])[:MOST_NAMES]
    return {name[:MOST_LETTERS]: count for name, count in most}


def shorten(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return `text`, or its beginning and end: the middle of a path or a reason is needed least."""
    if len(text) <= most:
        return text
    half = (most - 3) // 2
    return f"{text[:half]} … {text[-half:]}"
