"""Metrics of a training program: batches received, and how long the program waited for them.

There are two ways to expose them: `FeedCollector` for a program that has a registry of its own, `serve_metrics` for one
that has none. Metrics cost nothing until they are requested.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from penstock.protocol.runtime.health import Health
from penstock.protocol.runtime.metrics import Definition, Metrics, MetricsPage, PageCollector
from penstock.trainer.feed.batch_feed import BatchFeed
from penstock.trainer.feed.stats import FeedStats

_LABELS = ("stream", "rank")
METRICS = (
    Definition("penstock_feed_batches_total", "counter", "Batches handed to the program", _LABELS),
    Definition("penstock_feed_samples_total", "counter", "Samples in them", _LABELS),
    Definition("penstock_feed_wait_seconds_total", "counter", "Seconds that the program waited for batches", _LABELS),
    Definition("penstock_feed_busy_seconds_total", "counter", "Seconds that it spent with a batch in hand", _LABELS),
    Definition("penstock_feed_copy_seconds_total", "counter", "Seconds that copies to the device took", _LABELS),
    Definition("penstock_feed_position", "gauge", "Position after the batch that was handed out last", _LABELS),
)


def fill(page: MetricsPage, stats: FeedStats, position: int, stream: str, rank: int) -> None:
    """Fill a page with the counts of one feed."""
    waits = stats.waits()
    page.add("penstock_feed_batches_total", stats.batches, stream, rank)
    page.add("penstock_feed_samples_total", stats.samples, stream, rank)
    page.add("penstock_feed_wait_seconds_total", waits.wait_s, stream, rank)
    page.add("penstock_feed_busy_seconds_total", waits.busy_s, stream, rank)
    page.add("penstock_feed_copy_seconds_total", waits.copy_s, stream, rank)
    page.add("penstock_feed_position", position, stream, rank)


class FeedCollector(Collector):
    """The metrics of feeds for `prometheus_client.REGISTRY.register`, or any other registry."""

    def __init__(self, *feeds: BatchFeed[Any]) -> None:
        """Take feeds of different streams, or of different ranks."""
        self._pages = PageCollector(METRICS, partial(_fill_all, feeds))

    def describe(self) -> Iterable[Metric]:
        """Return the families without values."""
        return self._pages.describe()

    def collect(self) -> Iterable[Metric]:
        """Return the values now."""
        return self._pages.collect()


def serve_metrics(address: str, *feeds: BatchFeed[Any]) -> Health:
    """Serve the metrics of feeds at `http://address/metrics`, by a thread, until the answer's `close` is called.

    `address` is host:port or the path of a Unix socket. Raises SpecError if it cannot be listened on.
    """
    health = Health(address, lambda: {"ready": True})
    health.serve("/metrics", Metrics(METRICS, partial(_fill_all, feeds)).answer)
    return health


def _fill_all(feeds: Iterable[BatchFeed[Any]], page: MetricsPage) -> None:
    for feed in feeds:
        fill(page, feed.stats, feed.position, feed.stream, feed.rank)
