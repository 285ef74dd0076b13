"""Adds the statistics of several sinks up, so that nothing counts twice.

What a sink sent, and who reads from it, concerns that sink alone. What failed is known to all of them, and so is each
epoch's end, which only the sinks of ranks 0 count. A sum is no larger than what a message may carry, whatever was told.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from penstock.protocol.records import MOST_COUNT, MOST_S
from penstock.protocol.snapshot import SinkRow
from penstock.protocol.stats import MOST_STREAMS, QuarantinedItem, SinkStats, StreamStats, few
from penstock.ventilator.core.observation import SinkObservation


def together(stats: Iterable[SinkStats | None]) -> SinkStats:
    """Return the statistics of all sinks as those of one; sinks that have reported nothing yet count as nothing."""
    told = [each for each in stats if each is not None]
    if len(told) == 1:
        return told[0]
    streams: dict[str, list[StreamStats]] = {}
    for each in told:
        for stream in each.streams:
            streams.setdefault(stream.stream, []).append(stream)
    return SinkStats(
        results=_sum(each.results for each in told),
        bytes=_total(each.bytes for each in told),
        streams=tuple(_stream(parts) for parts in streams.values()),
        readers=tuple(reader for each in told for reader in each.readers)[:MOST_STREAMS],
        writers=tuple(writer for each in told for writer in each.writers)[:MOST_STREAMS],
        quarantined=max((each.quarantined for each in told), default=0),
        restarts=_total(each.restarts for each in told),
        rejected=_sum(each.rejected for each in told),
        contradicted=_sum(each.contradicted for each in told),
    )


def ledger_of(lines: Sequence[QuarantinedItem], sinks: int) -> tuple[QuarantinedItem, ...]:
    """Return lines of the ledger, each failure once: every one of several sinks reports it."""
    if sinks <= 1:
        return tuple(lines)
    return tuple({(line.stream, line.epoch, line.item): line for line in reversed(lines)}.values())[::-1]


def sink_row(sink: SinkObservation, stats: SinkStats, now: float) -> SinkRow:
    """Return what a snapshot shows of a sink."""
    return SinkRow(
        name=sink.name,
        results=sink.results,
        trainers=len(stats.readers),
        silent_s=max(0.0, now - sink.stats_at) if sink.stats else 0.0,
        outcomes=stats.results,
        bytes=stats.bytes,
        sent_bytes=_total(stream.bytes for stream in stats.streams),
        held=_total(stream.held for stream in stats.streams),
        quarantined=stats.quarantined,
        restarts=stats.restarts,
        rejected=stats.rejected,
        contradicted=stats.contradicted,
    )


def total_row(rows: Sequence[SinkRow], stats: SinkStats) -> SinkRow | None:
    """Return the row of the only sink, or the totals of several; None if there is none."""
    if len(rows) <= 1:
        return rows[0] if rows else None
    return rows[0].model_copy(
        update={
            "name": "",
            "results": ", ".join(row.results for row in rows)[:4096],
            "trainers": sum(row.trainers for row in rows),
            "silent_s": max(row.silent_s for row in rows),
            "outcomes": stats.results,
            "bytes": stats.bytes,
            "sent_bytes": _total(row.sent_bytes for row in rows),
            "held": _total(row.held for row in rows),
            "quarantined": stats.quarantined,
            "restarts": stats.restarts,
            "rejected": stats.rejected,
            "contradicted": stats.contradicted,
        }
    )


def _stream(parts: Sequence[StreamStats]) -> StreamStats:
    if len(parts) == 1:
        return parts[0]
    return StreamStats(
        stream=parts[0].stream,
        window=max(part.window for part in parts),
        held=_total(part.held for part in parts),
        in_flight=max(part.in_flight for part in parts),
        batches=_total(part.batches for part in parts),
        samples=_total(part.samples for part in parts),
        bytes=_total(part.bytes for part in parts),
        quarantined_samples=max(part.quarantined_samples for part in parts),
        dropped_samples=max(part.dropped_samples for part in parts),
        starved_s=min(MOST_S, sum(part.starved_s for part in parts)),
        blocked_s=min(MOST_S, sum(part.blocked_s for part in parts)),
        quarantined=_most(part.quarantined for part in parts),
        quarantined_items=_most(part.quarantined_items for part in parts),
        stopped=next((part.stopped for part in parts if part.stopped), ""),
    )


def _total(counts: Iterable[int]) -> int:
    return min(MOST_COUNT, sum(counts))


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return few({name: min(MOST_COUNT, count) for name, count in total.items()})


def _most(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the largest count of each name: of what all sinks know, the one that runs longest knows most."""
    most: Counter[str] = Counter()
    for each in counts:
        most |= Counter(each)
    return few(most)
