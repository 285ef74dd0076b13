"""The whole topology at one moment: adds up what workers, sink and leases core say into a `Snapshot`, once a second.

Owns the window of the last seconds, from whose ends rates and the verdict are computed: sums only rise, so differences
say what passed. Looks at the leases core and changes nothing. No socket, no clock: `now` and the time of day come in.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.protocol.messages import SinkStats
from penstock.protocol.snapshot import Flow, SinkRow, Snapshot, StreamRow, TrainerRow, WorkerRow
from penstock.protocol.stats import ReaderStats, WorkerStats, few, shorten
from penstock.ventilator.core.leases import Leases
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.workers import Worker
from penstock.ventilator.monitoring.evidence import Moment, collect
from penstock.ventilator.monitoring.verdict import Judge

#: Seconds that rates and the verdict look back.
WINDOW_S = 8.0
#: Lines of the quarantine ledger in a snapshot unless more are asked for.
LEDGER_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Own:
    """What the ventilator's shell knows of itself."""

    version: str
    restarts: int
    #: Counts of dropped messages, by reason: the live ones.
    rejected: Mapping[str, int]


class Snapshots:
    """Watches a leases core; `snapshot` is what it saw last."""

    def __init__(self, leases: Leases, own: Own, now: float, at: float) -> None:
        """Begin to watch; `at` is the time of day (s since 1970)."""
        self._leases, self._own, self._began = leases, own, now
        self._window: deque[Moment] = deque()
        self._judge = Judge(now)
        self.snapshot = self._make(now, at)

    def observe(self, now: float, at: float) -> None:
        """Look again; call it about once a second."""
        self.snapshot = self._make(now, at)

    def look(self, ledger: int) -> Snapshot:
        """Return the last snapshot with so many lines of the ledger at most: `snapshot` itself has the newest few."""
        return self.snapshot.model_copy(update={"ledger": self._leases.sink_report.newest(ledger)})

    def _make(self, now: float, at: float) -> Snapshot:
        leases, heard = self._leases, self._leases.sink_report
        moment = Moment.of(leases, now)
        self._window.append(moment)
        while self._window[0].now < now - WINDOW_S:
            self._window.popleft()
        past = tuple(self._window)
        sink = leases.sink
        stats = heard.stats or SinkStats()
        rows = [_worker(peer, worker, past, now) for peer, worker in leases.workers.items()]
        return Snapshot(
            version=self._own.version,
            at=at,
            up_s=max(0.0, now - self._began),
            verdict=self._judge.hear(collect(leases, past), now),
            flow=_flow(past),
            streams=tuple(_stream(leases, queue, stats, now) for queue in leases.queues.values()),
            workers=tuple(sorted(rows, key=lambda row: row.name)),
            sink=_sink(sink.hello.results, stats, now - heard.at if heard.stats else 0.0) if sink else None,
            trainers=tuple(
                sorted((_trainer(reader, past) for reader in stats.readers), key=lambda row: _place(row.stats))
            )
            if sink
            else (),
            writers=stats.writers if sink else (),
            lost=few(leases.lost),
            restarts=self._own.restarts,
            rejected=few(self._own.rejected),
            ledger=heard.newest(LEDGER_SHOWN),
        )


def _place(reader: ReaderStats) -> tuple[str, int, str]:
    return reader.stream, reader.rank, reader.reader


def _flow(past: tuple[Moment, ...]) -> Flow:
    first, last = past[0], past[-1]
    seconds = last.now - first.now
    if seconds <= 0:
        return Flow()
    sent = [last.sent[name] - first.sent.get(name, 0) for name in ("batches", "samples", "bytes")]
    rates = [worker.rates for worker in (last.worker(peer, past) for peer in last.workers) if worker]
    return Flow(
        tasks=max(0, last.finished - first.finished) / seconds,
        made=sum(rate[0] for rate in rates),
        made_bytes=sum(rate[1] for rate in rates),
        batches=max(0, sent[0]) / seconds,
        delivered=max(0, sent[1]) / seconds,
        delivered_bytes=max(0, sent[2]) / seconds,
    )


def _worker(peer: bytes, worker: Worker, past: tuple[Moment, ...], now: float) -> WorkerRow:
    lately = past[-1].worker(peer, past)
    return WorkerRow(
        name=worker.hello.worker,
        host=worker.hello.host,
        slots=worker.hello.slots,
        leases=len(worker.held),
        rate=lately.rates[0] if lately else 0.0,
        busy=lately.busy if lately else 0.0,
        task_s=max(0.0, now - worker.busy_since) if worker.held else 0.0,
        silent_s=max(0.0, now - worker.live.heard_at),
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
        eta_s=left / rate if rate > 0 else None,
        stats=reader,
    )


def _stream(leases: Leases, queue: StreamQueue, stats: SinkStats, now: float) -> StreamRow:
    settings, geometry = queue.plan.settings, queue.plan.geometry
    works = list(queue.works.values())
    return StreamRow(
        name=queue.plan.name,
        items=queue.plan.items,
        samples=geometry.samples_per_epoch,
        classes=len(queue.plan.classes),
        batch_size=settings.batch_size,
        fingerprint=queue.plan.fingerprint,
        wanted=len(works),
        ready=sum(work.ready for work in works),
        leased=sum(leases.workers.is_held(work.key) for work in works),
        head_s=max(0.0, now - queue.head_since) if queue.missing else 0.0,
        typical_task_s=queue.typical_s,
        finished=queue.finished,
        hedged=queue.hedged,
        repeated=queue.repeated,
        given_up=len(queue.poison),
        spent=queue.spent,
        sink=next((stream for stream in stats.streams if stream.stream == queue.plan.name), None)
        if leases.sink
        else None,
    )


def _sink(results: str, stats: SinkStats, silent_s: float) -> SinkRow:
    return SinkRow(
        results=results,
        silent_s=max(0.0, silent_s),
        outcomes=stats.results,
        bytes=stats.bytes,
        quarantined=stats.quarantined,
        restarts=stats.restarts,
        rejected=stats.rejected,
    )
