"""The names of the ventilator's metrics, and their values from its last snapshot."""

from penstock.protocol.records import STAGES
from penstock.protocol.runtime.metrics import COMMON, Definition, MetricsPage, add_common
from penstock.protocol.snapshot import CAUSES, WORDS, Snapshot, StreamRow

#: Ways in which workers are lost: counted from zero, so that the first loss shows as an increase.
_WAYS = ("left", "unreachable", "silent", "came_back")

METRICS = (
    *COMMON,
    Definition("penstock_verdict", "gauge", "1 for the word that says what limits the stack, 0 for others", ("word",)),
    Definition("penstock_stalled", "gauge", "1 for what a stalled stack stands still for, 0 for others", ("cause",)),
    Definition(
        "penstock_workers_missing", "gauge", "About how many more workers would keep the trainers fed, if worker-bound"
    ),
    Definition(
        "penstock_workers_wanted",
        "gauge",
        "How many workers there should be, damped, for an autoscaler to follow",
    ),
    Definition(
        "penstock_trainer_wait_ratio", "gauge", "How much of its time a trainer waited, lately", ("stream", "rank")
    ),
    Definition("penstock_ventilator_acting", "gauge", "1 for a ventilator that acts, 0 for one on standby"),
    Definition("penstock_ventilator_standbys", "gauge", "Other ventilators that wait to take over"),
    Definition("penstock_ventilator_workers", "gauge", "Workers that are here"),
    Definition(
        "penstock_ventilator_slots",
        "gauge",
        "Tasks that workers want to hold at once; they may hold twice as many where tasks are short and plenty",
    ),
    Definition("penstock_ventilator_leases", "gauge", "Tasks that workers hold"),
    Definition(
        "penstock_ventilator_workers_gone_total",
        "counter",
        "Workers that went: left, unreachable or silent (died), came_back (under a new identity)",
        ("how",),
    ),
    Definition("penstock_ventilator_sink_connected", "gauge", "1 while a sink is here"),
    Definition("penstock_ventilator_sinks", "gauge", "Sinks that are here"),
    Definition(
        "penstock_ventilator_tasks",
        "gauge",
        "Tasks that the sink misses: ready for a worker, leased to one, or finished and on the way to the sink",
        ("stream", "state"),
    ),
    Definition("penstock_ventilator_tasks_finished_total", "counter", "Tasks that workers have finished", ("stream",)),
    Definition(
        "penstock_ventilator_tasks_hedged_total",
        "counter",
        "Tasks given to a second worker because the first one held up the stream",
        ("stream",),
    ),
    Definition("penstock_ventilator_tasks_repeated_total", "counter", "Tasks leased again after a loss", ("stream",)),
    Definition("penstock_ventilator_items_given_up", "gauge", "Items that killed their workers", ("stream",)),
    Definition(
        "penstock_ventilator_head_of_line_age_seconds",
        "gauge",
        "How long the lowest missing task has been the lowest",
        ("stream",),
    ),
    Definition(
        "penstock_ventilator_worker_seconds_total",
        "counter",
        "Seconds that all workers together spent on finished tasks, by stage: read, decode, transform, send",
        ("stream", "stage"),
    ),
)


def fill(page: MetricsPage, snapshot: Snapshot) -> None:
    """Fill a page."""
    add_common(page, "ventilator", snapshot.restarts, snapshot.rejected)
    verdict = snapshot.verdict
    page.add_each("penstock_verdict", {word: float(word == verdict.word) for word in WORDS})
    page.add_each("penstock_stalled", {cause: float(cause == verdict.cause) for cause in CAUSES if cause})
    page.add("penstock_workers_missing", verdict.more_workers)
    if snapshot.scaling.wanted is not None:  # an autoscaler must not follow a number that is not known
        page.add("penstock_workers_wanted", snapshot.scaling.wanted)
    waits: dict[tuple[str, int], float] = {}
    for trainer in snapshot.trainers:  # two jobs may read a stream as the same rank
        place = trainer.stats.stream, trainer.stats.rank
        waits[place] = max(waits.get(place, 0.0), trainer.wait_fraction or 0.0)
    for place, wait in waits.items():
        page.add("penstock_trainer_wait_ratio", wait, *place)
    standby = snapshot.standby
    page.add("penstock_ventilator_acting", float(standby is None or standby.acting))
    page.add("penstock_ventilator_standbys", sum(row.alive for row in standby.waiting) if standby else 0)
    page.add("penstock_ventilator_workers", len(snapshot.workers))
    page.add("penstock_ventilator_slots", sum(worker.slots for worker in snapshot.workers))
    page.add("penstock_ventilator_leases", sum(worker.leases for worker in snapshot.workers))
    gone = {event.removeprefix("worker ").replace(" ", "_"): count for event, count in snapshot.lost.items()}
    page.add_each("penstock_ventilator_workers_gone_total", dict.fromkeys(_WAYS, 0) | gone)
    page.add("penstock_ventilator_sink_connected", float(snapshot.sink is not None))
    page.add("penstock_ventilator_sinks", len(snapshot.sinks))
    for stream in snapshot.streams:
        _fill_stream(page, stream)


def _fill_stream(page: MetricsPage, stream: StreamRow) -> None:
    name = stream.name
    under_way = max(0, stream.wanted - stream.ready - stream.leased)
    states = {"ready": stream.ready, "leased": stream.leased, "under_way": under_way}
    page.add_each("penstock_ventilator_tasks", states, name)
    page.add("penstock_ventilator_tasks_finished_total", stream.finished, name)
    page.add("penstock_ventilator_tasks_hedged_total", stream.hedged, name)
    page.add("penstock_ventilator_tasks_repeated_total", stream.repeated, name)
    page.add("penstock_ventilator_items_given_up", stream.given_up, name)
    page.add("penstock_ventilator_head_of_line_age_seconds", stream.head_s, name)
    spent = {stage: getattr(stream.spent, f"{stage}_s") for stage in STAGES}
    page.add_each("penstock_ventilator_worker_seconds_total", spent, name)
