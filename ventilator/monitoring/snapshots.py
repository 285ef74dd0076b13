"""Makes a `Snapshot` of the whole topology once a second, from observations of the leases core.

Rates and the verdict come from a window of the last seconds: sums only rise, so the differences between its ends are
what happened in it. No socket and no clock: observations and the time of day come in.
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from penstock.protocol.messages import SinkStats, StoryPart
from penstock.protocol.snapshot import Flow, Snapshot, StreamRow, TrainerRow, WorkerRow
from penstock.protocol.stats import QuarantinedItem, ReaderStats, WorkerStats, few, shorten
from penstock.ventilator.core.observation import (
    LeasesObservation,
    StreamObservation,
    WorkerObservation,
)
from penstock.ventilator.monitoring.evidence import Moment, WorkerLately, collect
from penstock.ventilator.monitoring.scaling import Scaler, ScalingPolicy
from penstock.ventilator.monitoring.several_sinks import ledger_of, sink_row, together, total_row
from penstock.ventilator.monitoring.standing import with_standby
from penstock.ventilator.monitoring.verdict import Judge
from penstock.ventilator.standby.candidate import Standing

#: Seconds that rates and the verdict look back.
WINDOW_S = 8.0
#: Lines of the quarantine ledger in a snapshot unless more are asked for.
LEDGER_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Own:
    """Facts about the ventilator's process."""

    version: str
    restarts: int
    #: Counts of dropped messages, by reason, kept up to date.
    rejected: Mapping[str, int]
    #: Bounds and patience of the number of workers.
    scaling: ScalingPolicy = field(default_factory=ScalingPolicy)


class Snapshots:
    """Makes a snapshot of each observation of the leases core; `snapshot` is the last one."""

    def __init__(self, own: Own, seen: LeasesObservation, at: float) -> None:
        """Begin with a first observation; `at` is the time of day (s since 1970)."""
        self._own, self._began = own, seen.now
        self._window: deque[Moment] = deque()
        self._judge = Judge(seen.now)
        self._scaler = Scaler(own.scaling, seen.now)
        self._ledger: tuple[QuarantinedItem, ...] = ()
        self.snapshot = self._make(seen, at)

    def update(self, seen: LeasesObservation, at: float, standing: Standing | None = None) -> None:
        """Make the snapshot anew; call it about once a second. `standing`: of several ventilators, which one acts."""
        self.snapshot = self._make(seen, at)
        if standing:
            self.snapshot = with_standby(self.snapshot, standing)

    def answer(self, ledger: int, story: tuple[StoryPart, ...] = ()) -> Snapshot:
        """Return the last snapshot with up to `ledger` lines of the ledger, and a task's story."""
        return self.snapshot.model_copy(update={"ledger": self._ledger[:ledger], "story": story})

    def _make(self, seen: LeasesObservation, at: float) -> Snapshot:
        moment = Moment.of(seen)
        self._window.append(moment)
        while self._window[0].now < seen.now - WINDOW_S:
            self._window.popleft()
        past = tuple(self._window)
        self._ledger = ledger_of(seen.ledger, len(seen.sinks))
        stats = together(sink.stats for sink in seen.sinks)
        sinks = tuple(sink_row(sink, sink.stats or SinkStats(), seen.now) for sink in seen.sinks)
        lately = moment.lately(past)
        workers = [_worker(worker, lately.get(worker.peer), seen.now) for worker in seen.workers]
        trainers = [_trainer(reader, past) for reader in stats.readers]
        evidence = collect(seen, past, lately.values())
        verdict = self._judge.hear(evidence, seen.now)
        return Snapshot(
            version=self._own.version,
            at=at,
            up_s=max(0.0, seen.now - self._began),
            verdict=verdict,
            scaling=self._scaler.hear(evidence, verdict, seen.now),
            flow=_flow(past, lately.values()),
            streams=tuple(_stream(stream, stats, seen.now) for stream in seen.streams),
            workers=tuple(sorted(workers, key=lambda row: row.name)),
            sink=total_row(sinks, stats),
            sinks=sinks,
            trainers=tuple(sorted(trainers, key=lambda row: _place(row.stats))),
            writers=stats.writers,
            lost=few(seen.lost),
            restarts=self._own.restarts,
            rejected=few(self._own.rejected),
            ledger=self._ledger[:LEDGER_SHOWN],
        )


def _place(reader: ReaderStats) -> tuple[str, int, str]:
    return reader.stream, reader.rank, reader.reader


def _flow(past: tuple[Moment, ...], workers: Collection[WorkerLately]) -> Flow:
    first, last = past[0], past[-1]
    seconds = last.now - first.now
    if seconds <= 0:
        return Flow()
    sent = [last.sent[name] - first.sent.get(name, 0) for name in ("batches", "samples", "bytes")]
    rates = [worker.rates for worker in workers]
    return Flow(
        tasks=max(0, last.finished - first.finished) / seconds,
        made=sum(rate[0] for rate in rates),
        made_bytes=sum(rate[1] for rate in rates),
        near_bytes=sum(rate[2] for rate in rates),
        batches=max(0, sent[0]) / seconds,
        delivered=max(0, sent[1]) / seconds,
        delivered_bytes=max(0, sent[2]) / seconds,
    )


def _worker(worker: WorkerObservation, lately: WorkerLately | None, now: float) -> WorkerRow:
    return WorkerRow(
        name=worker.name,
        host=worker.host,
        slots=worker.slots,
        leases=worker.leases,
        rate=lately.rates[0] if lately else 0.0,
        busy=lately.busy if lately else 0.0,
        task_s=max(0.0, now - worker.busy_since) if worker.leases else 0.0,
        silent_s=max(0.0, now - worker.heard_at),
        hedged=worker.stalled,
        cut_off=shorten(worker.blocked),
        stats=worker.stats or WorkerStats(),
    )


def _trainer(reader: ReaderStats, past: tuple[Moment, ...]) -> TrainerRow:
    lately = past[-1].reader(reader.reader, past)
    if lately is None:
        return TrainerRow(stats=reader)
    epoch = reader.epoch
    left = max(0, epoch.expected - epoch.delivered - epoch.quarantined)
    rate = lately.rate * reader.world_size
    return TrainerRow(
        rate=lately.rate,
        wait_fraction=lately.wait_fraction,
        copy_fraction=lately.copy_fraction,
        eta_s=left / rate if rate > 0 else None,
        stats=reader,
    )


def _stream(stream: StreamObservation, stats: SinkStats, now: float) -> StreamRow:
    plan = stream.plan
    return StreamRow(
        name=plan.name,
        items=plan.items,
        samples=plan.geometry.samples_per_epoch,
        classes=len(plan.classes),
        batch_size=plan.settings.batch_size,
        fingerprint=plan.fingerprint,
        wanted=stream.wanted,
        ready=stream.ready,
        leased=stream.leased,
        head_s=0.0 if stream.head_since is None else max(0.0, now - stream.head_since),
        typical_task_s=stream.typical_s,
        finished=stream.finished,
        hedged=stream.hedged,
        repeated=stream.repeated,
        given_up=stream.given_up,
        spent=stream.spent,
        sink=next((each for each in stats.streams if each.stream == plan.name), None),
    )
