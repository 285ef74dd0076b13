"""The names of a worker's metrics, and their values from its counters and its last statistics."""

from penstock.protocol.messages import WorkerStats
from penstock.protocol.runtime.metrics import COMMON, Definition, MetricsPage, add_common
from penstock.protocol.stats import CacheStats, ShardStats
from penstock.worker.counters import Counters

METRICS = (
    *COMMON,
    Definition("penstock_worker_tasks_total", "counter", "Tasks whose result was sent"),
    Definition("penstock_worker_samples_total", "counter", "Samples in them"),
    Definition("penstock_worker_sent_bytes_total", "counter", "Bytes of those samples"),
    Definition("penstock_worker_near_bytes_total", "counter", "Bytes of them for a sink on the same host"),
    Definition("penstock_worker_items_total", "counter", "Items worked on, by outcome: made, failed", ("outcome",)),
    Definition("penstock_worker_leases", "gauge", "Tasks held, the running one included"),
    Definition(
        "penstock_worker_stage_seconds",
        "histogram",
        "Seconds of each task by stage: read (waiting for files), decode, transform, send (waiting for the sink)",
        ("stage",),
    ),
    Definition("penstock_worker_cache_images_total", "counter", "Images by the cache: hit, miss", ("outcome",)),
    Definition("penstock_worker_cache_read_bytes_total", "counter", "Bytes of images found in the cache"),
    Definition("penstock_worker_cache_written_bytes_total", "counter", "Bytes of images put into the cache"),
    Definition("penstock_worker_cache_saved_seconds_total", "counter", "Seconds of decoding that hits saved"),
    Definition("penstock_worker_cache_held_bytes", "gauge", "Bytes of the host's cache, which its workers share"),
    Definition("penstock_worker_cache_stopped", "gauge", "1 if the cache cannot grow, as on a full disk; otherwise 0"),
    Definition("penstock_worker_shards_images_total", "counter", "Images by kept shards: hit, miss", ("outcome",)),
    Definition("penstock_worker_shards_read_bytes_total", "counter", "Bytes of images read from kept shards"),
    Definition("penstock_worker_shards_requested_bytes_total", "counter", "Bytes of images requested without them"),
    Definition("penstock_worker_shards_total", "counter", "Whole shards: fetched, removed", ("outcome",)),
    Definition("penstock_worker_shards_bytes_total", "counter", "Bytes of shards: fetched, removed", ("outcome",)),
    Definition("penstock_worker_shards_held_bytes", "gauge", "Bytes of the host's kept shards"),
    Definition("penstock_worker_current_task_seconds", "gauge", "Age of what is being made, read or sent now"),
)


def fill(page: MetricsPage, counters: Counters, stats: WorkerStats, held: int) -> None:
    """Fill a page."""
    add_common(page, "worker", stats.restarts, stats.rejected)
    page.add("penstock_worker_tasks_total", counters.tasks)
    page.add("penstock_worker_samples_total", counters.samples)
    page.add("penstock_worker_sent_bytes_total", counters.bytes)
    page.add("penstock_worker_near_bytes_total", counters.near_bytes)
    failures = counters.failures
    page.add_each("penstock_worker_items_total", {"made": max(0, counters.items - failures), "failed": failures})
    page.add("penstock_worker_leases", held)
    for stage, histogram in counters.stages.items():
        page.add_histogram("penstock_worker_stage_seconds", histogram, stage)
    cache = stats.cache or CacheStats()
    page.add_each("penstock_worker_cache_images_total", {"hit": cache.hits, "miss": cache.misses})
    page.add("penstock_worker_cache_read_bytes_total", cache.read_bytes)
    page.add("penstock_worker_cache_written_bytes_total", cache.written_bytes)
    page.add("penstock_worker_cache_saved_seconds_total", cache.saved_s)
    page.add("penstock_worker_cache_held_bytes", cache.held_bytes)
    page.add("penstock_worker_cache_stopped", int(bool(cache.stopped)))
    shards = stats.shards or ShardStats()
    page.add_each("penstock_worker_shards_images_total", {"hit": shards.hits, "miss": shards.misses})
    page.add("penstock_worker_shards_read_bytes_total", shards.read_bytes)
    page.add("penstock_worker_shards_requested_bytes_total", shards.requested_bytes)
    page.add_each("penstock_worker_shards_total", {"fetched": shards.fetched, "removed": shards.removed})
    sizes = {"fetched": shards.fetched_bytes, "removed": shards.removed_bytes}
    page.add_each("penstock_worker_shards_bytes_total", sizes)
    page.add("penstock_worker_shards_held_bytes", shards.held_bytes)
    page.add("penstock_worker_current_task_seconds", 0.0 if stats.stage == "idle" else stats.stage_s)
