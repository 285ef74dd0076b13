"""Turns observations into evidence: what workers and trainers did during a window of time.

Sums only rise, so the differences between the ends of the window are what happened in it. A peer that is new, or was
restarted, counts from where it was first seen; a stage that is not over counts as far as it has come. `verdict.py`
draws the conclusions.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from penstock.protocol.stats import ReaderStats, WorkerStats
from penstock.ventilator.core.observation import LeasesObservation
from penstock.ventilator.monitoring.several_sinks import together
from penstock.ventilator.monitoring.verdict import PATIENCE_S, Evidence, Hanging

#: A task hangs if it takes this many times as long as a typical one, and longer than the verdict's patience.
_HANGS = 4.0
#: A trainer that was seen for less than this (s) is no evidence yet.
_LEAST_S = 2.0
#: A training program's own clock is used once it covers this much (s).
_LEAST_CLOCK_S = 0.5


@dataclass(frozen=True, slots=True)
class WorkerLately:
    """One worker between two moments: seconds by stage, items and what it made.

    Of the seconds of `make_s`, those for decoding images that a cache could keep are `keepable_s`.
    """

    seconds: float
    read_s: float
    make_s: float
    keepable_s: float
    send_s: float
    items: int
    failed: int
    #: Samples and bytes per second, and bytes per second for a sink on its host.
    rates: tuple[float, float, float]

    @property
    def idle_s(self) -> float:
        """Seconds without a task."""
        return max(0.0, self.seconds - self.read_s - self.make_s - self.send_s)

    @property
    def busy(self) -> float:
        """The rest, as a fraction."""
        return min(1.0, max(0.0, 1 - self.idle_s / self.seconds)) if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ReaderLately:
    """One trainer between two moments."""

    seconds: float
    rate: float
    wait_fraction: float | None
    starved: float
    #: Time of copies to its device, as a fraction of its own time; None until it has reported.
    copy_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """All statistics that had arrived by `now`."""

    now: float
    #: By peer: its statistics, and when they came.
    workers: Mapping[bytes, tuple[WorkerStats, float]]
    readers: Mapping[str, ReaderStats]
    #: By reader: when the statistics of its sink came.
    sink_at: Mapping[str, float]
    #: Batches, samples and bytes sent to all trainers so far.
    sent: Counter[str]
    #: Samples that files took so far, and seconds that they held the stream up.
    written: int
    held_up_s: float
    #: Tasks finished so far; tasks that were finished and have not arrived now.
    finished: int
    under_way: int
    #: Tasks that are wanted and were not made.
    open: int

    @classmethod
    def of(cls, seen: LeasesObservation) -> "Moment":
        """Return the statistics in an observation of the leases core."""
        stats = together(sink.stats for sink in seen.sinks)
        told = [(reader, sink.stats_at) for sink in seen.sinks if sink.stats for reader in sink.stats.readers]
        sent: Counter[str] = Counter()
        for stream in stats.streams:
            sent.update(batches=stream.batches, samples=stream.samples, bytes=stream.bytes)
        under_way = sum(stream.under_way for stream in seen.streams)
        return cls(
            now=seen.now,
            workers={worker.peer: (worker.stats, worker.stats_at) for worker in seen.workers if worker.stats},
            readers={reader.reader: reader for reader, _ in told},
            sink_at={reader.reader: at for reader, at in told},
            sent=sent,
            written=sum(writer.samples for writer in stats.writers),
            held_up_s=sum(writer.blocked_s for writer in stats.writers),
            finished=sum(stream.finished for stream in seen.streams),
            under_way=under_way,
            open=sum(stream.wanted for stream in seen.streams) - under_way,
        )

    def worker(self, peer: bytes, past: Sequence["Moment"]) -> WorkerLately | None:
        """Return the work of a worker since it was first seen in `past`; None if that is too little."""
        first = next((moment.workers[peer] for moment in past if peer in moment.workers), None)
        return _worker_between(first, self.workers[peer]) if first and peer in self.workers else None

    def lately(self, past: Sequence["Moment"]) -> dict[bytes, WorkerLately]:
        """Return the work of all workers of which enough is known."""
        return {peer: lately for peer in self.workers if (lately := self.worker(peer, past))}

    def reader(self, name: str, past: Sequence["Moment"]) -> ReaderLately | None:
        """Return the progress of a trainer since it was first seen in `past`; None if that is too little."""
        first = next((moment for moment in past if name in moment.readers), None)
        if first is None or name not in self.readers or self.sink_at[name] <= first.sink_at[name]:
            return None
        return _reader_between(first.readers[name], self.readers[name], self.sink_at[name] - first.sink_at[name])


def collect(seen: LeasesObservation, past: Sequence[Moment], workers: Collection[WorkerLately]) -> Evidence:
    """Return the evidence of `past`, oldest moment first, and of `workers`, about the stack that was observed last."""
    first, last = past[0], past[-1]
    found = [reader for name in last.readers if (reader := last.reader(name, past))]
    waits = [
        (reader.wait_fraction, reader.starved, reader.copy_fraction or 0.0)
        for reader in found
        if reader.wait_fraction is not None and reader.seconds >= _LEAST_S
    ]
    wait_fraction, starved, copy_fraction = max(waits, default=(None, 1.0, 0.0), key=lambda each: each[0] or 0.0)
    writers = [writer for sink in seen.sinks if sink.stats for writer in sink.stats.writers]
    seconds = last.now - first.now
    delivered = last.sent["samples"] - first.sent["samples"] + last.written - first.written
    heads = [last.now - stream.head_since for stream in seen.streams if stream.head_since is not None]
    waiting = any(told.starved for told in last.readers.values()) or writers
    return Evidence(
        seconds=seconds,
        wait_fraction=wait_fraction,
        starved=starved,
        copy_fraction=copy_fraction,
        trainers=len(last.readers),
        writers=sum(writer.state == "writing" for writer in writers),
        workers=len(seen.workers),
        cut_off=sum(bool(worker.blocked) for worker in seen.workers),
        sink=bool(seen.sinks),
        stopped="; ".join(stream.stopped for stream in seen.streams if stream.stopped),
        read_s=sum(worker.read_s for worker in workers),
        make_s=sum(worker.make_s for worker in workers),
        keepable_s=sum(worker.keepable_s for worker in workers),
        cached=any(worker.stats is not None and worker.stats.cache is not None for worker in seen.workers),
        send_s=sum(worker.send_s for worker in workers),
        idle_s=sum(worker.idle_s for worker in workers),
        items=sum(worker.items for worker in workers),
        failed=sum(worker.failed for worker in workers),
        delivered=max(0, delivered),
        wanted=sum(stream.wanted for stream in seen.streams),
        under_way=sum(moment.under_way for moment in past) / len(past),
        open=sum(moment.open for moment in past) / len(past),
        head_s=max(heads, default=0.0) if waiting else 0.0,
        hanging=_hanging(seen),
        writer_fraction=min(1.0, max(0.0, last.held_up_s - first.held_up_s) / seconds) if seconds > 0 else 0.0,
    )


def _hanging(seen: LeasesObservation) -> Hanging | None:
    """Return the task that has taken longest among those that take far longer than is typical."""
    found: list[Hanging] = []
    typical_s = {stream.plan.name: stream.typical_s for stream in seen.streams}
    for worker in seen.workers:
        stats = worker.stats
        if stats is None or stats.task is None or stats.stage not in ("read", "make"):
            continue
        seconds = stats.stage_s + seen.now - worker.stats_at
        if seconds >= max(PATIENCE_S, _HANGS * (typical_s.get(stats.task.stream) or 0.0)):
            doing = "waiting for the files of" if stats.stage == "read" else "working on"
            task = f"{doing} task {stats.task.ordinal} of stream {stats.task.stream!r}"
            found.append(Hanging(worker.name, task, seconds))
    return max(found, default=None, key=lambda each: each.seconds)


def _stages(stats: WorkerStats) -> dict[str, float]:
    """Return seconds by stage, the one that is not over included."""
    spent = stats.spent
    seconds = {"read": spent.read_s, "make": spent.decode_s + spent.transform_s, "send": spent.send_s, "idle": 0.0}
    seconds[stats.stage] += stats.stage_s
    return seconds


def _keepable_s(stats: WorkerStats) -> float:
    """Return seconds of decoding images that a cache could keep."""
    return max(0.0, stats.spent.decode_s - stats.spent.parts_s)


def _worker_between(first: tuple[WorkerStats, float], last: tuple[WorkerStats, float]) -> WorkerLately | None:
    (old, old_at), (new, new_at) = first, last
    seconds = new_at - old_at
    if seconds <= 0:
        return None
    before, after = _stages(old), _stages(new)
    spent = {stage: max(0.0, after[stage] - before[stage]) for stage in ("read", "make", "send")}
    return WorkerLately(
        seconds=seconds,
        read_s=spent["read"],
        make_s=spent["make"],
        keepable_s=max(0.0, _keepable_s(new) - _keepable_s(old)),
        send_s=spent["send"],
        items=max(0, new.items - old.items),
        failed=max(0, new.failures - old.failures),
        rates=(
            max(0, new.samples - old.samples) / seconds,
            max(0, new.bytes - old.bytes) / seconds,
            max(0, new.near_bytes - old.near_bytes) / seconds,
        ),
    )


def _reader_between(old: ReaderStats, new: ReaderStats, seconds: float) -> ReaderLately:
    starved_s, blocked_s = new.starved_s - old.starved_s, new.blocked_s - old.blocked_s
    starved = _fraction(starved_s, blocked_s)
    wait_fraction, copy_fraction = starved, None
    if old.feed and new.feed:
        waited_s, busy_s = new.feed.wait_s - old.feed.wait_s, new.feed.busy_s - old.feed.busy_s
        own = _fraction(waited_s, busy_s, _LEAST_CLOCK_S)
        if own is not None:
            wait_fraction = own
            copy_fraction = min(1.0, max(0.0, new.feed.copy_s - old.feed.copy_s) / (waited_s + busy_s))
    return ReaderLately(
        seconds=seconds,
        rate=max(0, new.samples - old.samples) / seconds,
        wait_fraction=wait_fraction,
        starved=1.0 if starved is None else starved,
        copy_fraction=copy_fraction,
    )


def _fraction(part: float, rest: float, least: float = 0.0) -> float | None:
    total = part + rest
    return min(1.0, max(0.0, part / total)) if total > least else None
