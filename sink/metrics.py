"""The names of the sink's metrics, and their values from its last statistics."""

from typing import get_args

from penstock.protocol.records import FailureKind
from penstock.protocol.runtime.metrics import COMMON, Definition, MetricsPage, add_common
from penstock.protocol.stats import ReaderStats, SinkStats, StreamStats, WriterStats

#: Counters that start at zero, so that the first event of a kind shows as an increase.
_OUTCOMES = ("accepted", "duplicate", "unwanted", "stale", "withheld")
_KINDS = get_args(FailureKind)

METRICS = (
    *COMMON,
    Definition(
        "penstock_sink_results_total",
        "counter",
        "Results that came: accepted, duplicate, unwanted; stale (leased by a ventilator that this sink never met); "
        "withheld (all items failed, and a second worker has to confirm that)",
        ("outcome",),
    ),
    Definition(
        "penstock_sink_contradicted_failures_total",
        "counter",
        "Failures that did not count because another worker made the samples, by the worker that reported them",
        ("worker",),
    ),
    Definition("penstock_sink_received_bytes_total", "counter", "Bytes of samples in accepted results"),
    Definition("penstock_sink_trainers", "gauge", "Trainers that read", ("stream",)),
    Definition(
        "penstock_sink_window_samples",
        "gauge",
        "Samples that may be held or in flight for the trainer that may have most",
        ("stream",),
    ),
    Definition("penstock_sink_held_samples", "gauge", "Samples that are held", ("stream",)),
    Definition(
        "penstock_sink_in_flight_samples",
        "gauge",
        "Samples sent that the trainer which has most of them has not consumed",
        ("stream",),
    ),
    Definition(
        "penstock_sink_credit_batches", "gauge", "Batches that may be sent: trainers wait for them", ("stream",)
    ),
    Definition("penstock_sink_in_flight_batches", "gauge", "Batches sent that trainers have not consumed", ("stream",)),
    Definition("penstock_sink_batches_total", "counter", "Batches sent to trainers", ("stream",)),
    Definition("penstock_sink_sent_bytes_total", "counter", "Bytes of samples sent to trainers", ("stream",)),
    Definition(
        "penstock_sink_samples_total",
        "counter",
        "Samples by outcome: delivered (at once); quarantined, dropped (counted for rank 0 when an epoch ends)",
        ("stream", "outcome"),
    ),
    Definition(
        "penstock_sink_items_quarantined_total",
        "counter",
        "Items that failed, once an epoch, by kind: read, decode, transform, custom, killed, other",
        ("stream", "kind"),
    ),
    Definition(
        "penstock_sink_starved_seconds_total",
        "counter",
        "Seconds, summed over trainers, that one had credit and no batch of it was complete: it waits for the pipeline",
        ("stream",),
    ),
    Definition(
        "penstock_sink_blocked_seconds_total",
        "counter",
        "Seconds, summed over trainers, that one had no credit: the pipeline waits for it",
        ("stream",),
    ),
    Definition("penstock_sink_stream_stopped", "gauge", "1 once a stream has stopped for good", ("stream",)),
    Definition("penstock_writer_samples_total", "counter", "Samples written to files", ("stream",)),
    Definition("penstock_writer_bytes_total", "counter", "Their bytes before compression", ("stream",)),
    Definition("penstock_writer_waiting_samples", "gauge", "Samples that wait to be written", ("stream",)),
    Definition("penstock_writer_busy_seconds_total", "counter", "Seconds spent writing", ("stream",)),
    Definition(
        "penstock_writer_blocked_seconds_total",
        "counter",
        "Seconds that a stream stood still because its file had not kept up",
        ("stream",),
    ),
)


def fill(page: MetricsPage, stats: SinkStats) -> None:
    """Fill a page."""
    add_common(page, "sink", stats.restarts, stats.rejected)
    page.add_each("penstock_sink_results_total", dict.fromkeys(_OUTCOMES, 0) | stats.results)
    page.add_each("penstock_sink_contradicted_failures_total", stats.contradicted)
    page.add("penstock_sink_received_bytes_total", stats.bytes)
    for stream in stats.streams:
        _fill_stream(page, stream, [reader for reader in stats.readers if reader.stream == stream.stream])
    for name in dict.fromkeys(writer.stream for writer in stats.writers):
        _fill_writers(page, name, [writer for writer in stats.writers if writer.stream == name])


def _fill_stream(page: MetricsPage, stream: StreamStats, readers: list[ReaderStats]) -> None:
    name = stream.stream
    page.add("penstock_sink_trainers", len(readers), name)
    page.add("penstock_sink_window_samples", stream.window, name)
    page.add("penstock_sink_held_samples", stream.held, name)
    page.add("penstock_sink_in_flight_samples", stream.in_flight, name)
    page.add("penstock_sink_credit_batches", sum(reader.credit for reader in readers), name)
    page.add("penstock_sink_in_flight_batches", sum(reader.in_flight for reader in readers), name)
    page.add("penstock_sink_batches_total", stream.batches, name)
    page.add("penstock_sink_sent_bytes_total", stream.bytes, name)
    outcomes = {
        "delivered": stream.samples,
        "quarantined": stream.quarantined_samples,
        "dropped": stream.dropped_samples,
    }
    page.add_each("penstock_sink_samples_total", outcomes, name)
    page.add_each("penstock_sink_items_quarantined_total", dict.fromkeys(_KINDS, 0) | stream.quarantined, name)
    page.add("penstock_sink_starved_seconds_total", stream.starved_s, name)
    page.add("penstock_sink_blocked_seconds_total", stream.blocked_s, name)
    page.add("penstock_sink_stream_stopped", float(bool(stream.stopped)), name)


def _fill_writers(page: MetricsPage, name: str, writers: list[WriterStats]) -> None:
    page.add("penstock_writer_samples_total", sum(writer.samples for writer in writers), name)
    page.add("penstock_writer_bytes_total", sum(writer.bytes for writer in writers), name)
    page.add("penstock_writer_waiting_samples", sum(writer.waiting for writer in writers), name)
    page.add("penstock_writer_busy_seconds_total", sum(writer.busy_s for writer in writers), name)
    page.add("penstock_writer_blocked_seconds_total", sum(writer.blocked_s for writer in writers), name)
