"""What the sink reports with its heartbeats: sums since it started, and the newest lines of the quarantine ledger.

Numbers are bounded, so that a heartbeat stays small. Other modules of the core count; this one adds up.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from penstock.protocol.messages import EpochEnd, Failure, SinkStats
from penstock.protocol.runtime.printable import printable
from penstock.protocol.stats import (
    LEDGER_KEPT,
    LEDGER_PAGE,
    MOST_STREAMS,
    EpochProgress,
    QuarantinedItem,
    ReaderStats,
    StreamStats,
    few,
    shorten,
)
from penstock.protocol.wire import Array
from penstock.sink.core.reader import Reader
from penstock.sink.core.recording_stats import Writing
from penstock.sink.core.store import Store


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Facts about the process that the statistics repeat."""

    #: How often the supervisor has started it again.
    restarts: int = 0
    #: Messages that were dropped, by reason: counted by the shell, read whenever statistics are made.
    rejected: Mapping[str, int] = field(default_factory=dict)


class SinkStatistics:
    """Sums that only rise, and the statistics that were made last."""

    def __init__(self, writing: Writing | None, process: ProcessFacts) -> None:
        """Start at zero; `writing` says how far the file keeps up, if one is written."""
        #: Results that came in, by outcome: accepted, duplicate, unwanted; stale if a ventilator that this sink never
        #: met leased them; withheld if all items failed and a second worker has to confirm that.
        self.results: Counter[str] = Counter()
        #: Failures that other workers contradicted, by worker.
        self.contradicted: Counter[str] = Counter()
        #: The last statistics that were made: what metrics show.
        self.latest = SinkStats()
        self._writing, self._process = writing, process
        self._bytes = 0
        #: Of trainers that left, by stream; what is counted at an epoch's end; quarantined items by kind.
        self._left: dict[str, Counter[str]] = {}
        self._waited: dict[str, tuple[float, float]] = {}
        self._quarantined: dict[str, Counter[str]] = {}
        #: Items that were quarantined in any epoch, by stream, and how many by kind of their first failure.
        self._items: dict[str, set[int]] = {}
        self._first: dict[str, Counter[str]] = {}
        self._ledger: deque[QuarantinedItem] = deque(maxlen=LEDGER_KEPT)
        self._lines = 0
        #: How many lines the ventilator has.
        self._acknowledged = 0

    def accept(self, arrays: Sequence[Array]) -> None:
        """Count a result that was new."""
        self.results["accepted"] += 1
        self._bytes += sum(array.nbytes for array in arrays)

    def quarantine(self, stream: str, epoch: int, failure: Failure, worker: str) -> bool:
        """Add a line of the ledger; return whether it is the first of this item."""
        items = self._items.setdefault(stream, set())
        if first := failure.item not in items:
            items.add(failure.item)
            self._first.setdefault(stream, Counter())[failure.kind] += 1
        self._quarantined.setdefault(stream, Counter())[failure.kind] += 1
        self._ledger.append(
            QuarantinedItem(
                number=self._lines,
                stream=stream,
                epoch=epoch,
                item=failure.item,
                path=shorten(printable(failure.path)),
                kind=failure.kind,
                reason=shorten(failure.reason),
                attempts=failure.attempts,
                worker=shorten(failure.worker or worker),
            )
        )
        self._lines += 1
        return first

    def acknowledge(self, lines: int) -> None:
        """Handle the number of ledger lines that the ventilator has; the number falls when the ventilator restarts."""
        self._acknowledged = lines

    def writer_was_busy(self, seconds: float) -> None:
        """Handle how many seconds the writing thread has been busy so far."""
        if self._writing:
            self._writing.busy_s = seconds

    def watch_writer(self, now: float) -> None:
        """Notice whether the file holds the stream up."""
        if self._writing:
            self._writing.look(now)

    def ended(self, reader: Reader, end: EpochEnd) -> None:
        """Count the samples that an epoch lacked; all ranks report the same, so only one of them counts."""
        if reader.subscribe.rank == 0:
            sums = self._left.setdefault(reader.plan.name, Counter())
            sums["quarantined_samples"] += end.quarantined
            sums["dropped_samples"] += end.dropped

    def left(self, reader: Reader, now: float) -> None:
        """Keep the sums of a trainer that leaves."""
        name = reader.plan.name
        self._left.setdefault(name, Counter()).update(_sent(reader))
        starved_s, blocked_s = self._waited.get(name, (0.0, 0.0))
        more_starved_s, more_blocked_s = reader.waits.sums(now)
        self._waited[name] = starved_s + more_starved_s, blocked_s + more_blocked_s

    def make(
        self, readers: Mapping[bytes, Reader], stores: Mapping[str, Store], stopped: Mapping[str, str], now: float
    ) -> SinkStats:
        """Return the statistics; `stopped` says why streams stopped."""
        self.latest = SinkStats(
            results=few(self.results),
            bytes=self._bytes,
            streams=tuple(
                self._stream(
                    store,
                    [reader for reader in readers.values() if reader.plan is store.plan],
                    stopped.get(name, ""),
                    now,
                )
                for name, store in islice(stores.items(), MOST_STREAMS)
            ),
            readers=tuple(_reader(peer, reader, now) for peer, reader in readers.items()),
            writers=self._writing.stats(now) if self._writing else (),
            quarantined=self._lines,
            ledger=tuple(self._page()),
            restarts=self._process.restarts,
            rejected=few(self._process.rejected),
            contradicted=few({shorten(worker): count for worker, count in self.contradicted.items()}),
        )
        return self.latest

    def _page(self) -> Iterable[QuarantinedItem]:
        forgotten = self._lines - len(self._ledger)
        known = self._acknowledged if self._acknowledged <= self._lines else 0
        return islice(self._ledger, max(0, known - forgotten), max(0, known - forgotten) + LEDGER_PAGE)

    def _stream(self, store: Store, readers: Sequence[Reader], stopped: str, now: float) -> StreamStats:
        name = store.plan.name
        sums = Counter(self._left.get(name, {}))
        starved_s, blocked_s = self._waited.get(name, (0.0, 0.0))
        for reader in readers:
            sums.update(_sent(reader))
            more_starved_s, more_blocked_s = reader.waits.sums(now)
            starved_s, blocked_s = starved_s + more_starved_s, blocked_s + more_blocked_s
        return StreamStats(
            stream=name,
            window=max((reader.window for reader in readers), default=0),
            held=store.samples,
            in_flight=max((reader.credit.in_flight for reader in readers), default=0),
            starved_s=starved_s,
            blocked_s=blocked_s,
            quarantined=few(self._quarantined.get(name, {})),
            quarantined_items=few(self._first.get(name, {})),
            stopped=shorten(stopped),
            **sums,
        )


def _sent(reader: Reader) -> dict[str, int]:
    bytes_sent = reader.samples * reader.plan.sample_bytes
    return {"batches": reader.credit.sent, "samples": reader.samples, "bytes": bytes_sent}


def _reader(peer: bytes, reader: Reader, now: float) -> ReaderStats:
    starved_s, blocked_s = reader.waits.sums(now)
    epoch = reader.epoch
    return ReaderStats(
        reader=peer.hex()[:16],
        stream=reader.plan.name,
        rank=reader.subscribe.rank,
        world_size=reader.world_size,
        position=reader.cursor,
        epoch=EpochProgress(
            epoch=reader.epoch_stop // reader.plan.geometry.samples_per_epoch - 1,
            expected=epoch.expected,
            delivered=epoch.delivered,
            quarantined=epoch.quarantined,
            dropped=epoch.dropped,
        ),
        credit=reader.credit.available,
        in_flight=reader.credit.sent - reader.credit.consumed,
        starved=reader.waits.starved,
        state_s=max(0.0, now - reader.waits.since),
        starved_s=starved_s,
        blocked_s=blocked_s,
        feed=reader.feed,
        **_sent(reader),
    )
