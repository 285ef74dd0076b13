"""Formats a snapshot for a terminal: verdict, flow, streams, workers and quarantined items.

A pure function from snapshots to what rich prints. Text from a stack is shown letter by letter, and unprintable
characters are escaped, so that no file name can control the terminal.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.protocol.runtime.printable import printable
from penstock.protocol.snapshot import Snapshot, StreamRow, TrainerRow, WorkerRow
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, resolve
from penstock.terminal.words import several

#: Columns of a progress bar.
_BAR = 10
#: Most letters of a stream's name that are never left out.
_NAME = 20
#: Newest quarantined items that are shown, and fewest workers where there is little room.
_LINES, _FEWEST_WORKERS = 3, 4
#: Rows that everything but streams and workers takes.
_OTHER_ROWS = 16
_MINUTE_S, _HOUR_S = 100, 6000
#: Hosts that are named when their caches cannot grow.
_HOSTS = 3
_STAGES = {"idle": "idle", "read": "reading", "make": "making", "send": "sending"}
_ALARMING = {"stalled", "starting"}


def span(seconds: float | None) -> str:
    """Return a duration for people, such as 5 min."""
    if seconds is None:
        return "–"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - digits
    return f"{seconds / 60:.0f} min" if seconds < _HOUR_S else f"{seconds / 3600:.1f} h"


def share(fraction: float | None) -> str:
    """Return a fraction as a percentage."""
    return "–" if fraction is None else f"{fraction:.0%}"


def rate(value: float) -> str:
    """Return a rate with three significant digits or so."""
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"  # noqa: PLR2004 - digits


def size(value: float) -> str:
    """Return bytes."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{rate(value / unit)} {name}"
    return f"{value:.0f} B"


def picture(snapshot: Snapshot, address: str, room: int | None = None, silent_s: float = 0.0) -> RenderableType:
    """Return the whole display; `room` is the number of rows to fill, `silent_s` the seconds since the last answer."""
    parts: list[RenderableType] = []
    if silent_s:
        words = f"No answer from {address} for {silent_s:.0f} s: what you see is from then. Trying again; Ctrl-C ends."
        parts += [Text(words, "bold red"), Text()]
    near = list(_near(snapshot))
    parts += [*_verdict(snapshot), Text(), _flow(snapshot), *near, Text(), _streams(snapshot)]
    copies, cache = list(_copies(snapshot.trainers)), [*_cache(snapshot.workers), *_shards(snapshot.workers)]
    parts += [*copies, Text()]
    sinks = list(_sinks(snapshot))
    others = _OTHER_ROWS + len(snapshot.streams) + len(cache) + len(copies) + (snapshot.scaling.wanted is not None)
    others += (snapshot.standby is not None) + len(near)
    others += len(snapshot.sinks) + 2 if sinks else 0
    rows = None if room is None else max(_FEWEST_WORKERS, room - others)
    parts += [*sinks, _workers(snapshot.workers, rows), *cache, Text(), *_quarantine(snapshot, address)]
    return Group(*parts)


def _verdict(snapshot: Snapshot) -> Iterator[RenderableType]:
    verdict = snapshot.verdict
    word = f"{verdict.word}: {verdict.cause}" if verdict.cause else verdict.word
    style = "bold red" if verdict.word in _ALARMING else "bold cyan"
    yield Text.assemble((word.capitalize(), style), (f"  for {span(verdict.for_s)}", "dim"))
    sentence = printable(verdict.sentence.removeprefix(f"{verdict.word}: "))
    yield Text(sentence[:1].upper() + sentence[1:])
    standby = snapshot.standby
    if standby and standby.acting:
        sentence = printable(standby.sentence)
        yield Text(f"{sentence[:1].upper()}{sentence[1:]}", "dim" if standby.is_watched else "bold red")
    scaling = snapshot.scaling
    if scaling.wanted is not None:
        most = "" if scaling.most is None else f" of at most {scaling.most}"
        since = f"for {span(scaling.for_s)}: {printable(scaling.sentence)}"
        yield Text(f"{several(scaling.wanted, 'worker')}{most} wanted, {since}", "dim")


def _flow(snapshot: Snapshot) -> RenderableType:
    flow = snapshot.flow
    writers = f" and {several(len(snapshot.writers), 'file')}" if snapshot.writers else ""
    parts: list[str | tuple[str, str]] = [
        ("ventilator", "bold"),
        f" ─ {rate(flow.tasks)} tasks/s → ",
        (several(len(snapshot.workers), "worker"), "bold"),
        f" ─ {rate(flow.made)} samples/s, {size(flow.made_bytes)}/s → ",
        (several(len(snapshot.sinks), "sink") if len(snapshot.sinks) > 1 else "sink", "bold")
        if snapshot.sink
        else ("no sink", "bold red"),
        f" ─ {rate(flow.delivered)} samples/s, {size(flow.delivered_bytes)}/s → ",
        (several(len(snapshot.trainers), "trainer") + writers, "bold"),
    ]
    return Text.assemble(*parts)


def _near(snapshot: Snapshot) -> Iterator[RenderableType]:
    """Yield how much of the samples stays on its host, if there are several sinks, and workers on several hosts."""
    flow = snapshot.flow
    if len(snapshot.sinks) > 1 and len({worker.host for worker in snapshot.workers}) > 1 and flow.made_bytes:
        words = f"{share(min(1.0, flow.near_bytes / flow.made_bytes))} of the samples' bytes stay on their host"
        yield Text(f"{words}, {size(max(0.0, flow.made_bytes - flow.near_bytes))}/s cross the network", "dim")


def _streams(snapshot: Snapshot) -> RenderableType:
    table = _table("stream", "epoch", "", "", "samples/s", "waits", "left")
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
        column.justify = "right" if column.header in ("samples/s", "waits", "left") else "left"
    table.columns[0].min_width = min(_NAME, max(len(stream.name) for stream in snapshot.streams))
    stopped = []
    for stream in snapshot.streams:
        readers = [trainer for trainer in snapshot.trainers if trainer.stats.stream == stream.name]
        for trainer in readers:
            table.add_row(*_trainer(stream, trainer))
        if not readers:
            facts = f"{several(stream.items, 'item')}, no trainer"
            table.add_row(printable(stream.name), "", "", Text(facts, "dim"))
        if stream.sink and stream.sink.stopped:
            stopped.append(Text(f"{printable(stream.name)} stopped: {printable(stream.sink.stopped)}", "red"))
    return Group(table, *stopped)


def _trainer(stream: StreamRow, trainer: TrainerRow) -> Sequence[RenderableType]:
    stats, epoch = trainer.stats, trainer.stats.epoch
    done = epoch.delivered + epoch.quarantined + epoch.dropped
    name = printable(stream.name) + (f" {stats.rank}/{stats.world_size}" if stats.world_size > 1 else "")
    bar = ProgressBar(max(1, epoch.expected), done, width=_BAR, complete_style="cyan", finished_style="cyan")
    counts = f"{done:,} of {epoch.expected:,}"
    waits = share(trainer.wait_fraction)
    return (name, str(epoch.epoch + 1), bar, counts, rate(trainer.rate), waits, span(trainer.eta_s))


def _copies(trainers: Sequence[TrainerRow]) -> Iterator[RenderableType]:
    """Yield one line for the trainer whose copies to its device take most of its time, if any has a device."""
    busiest = max(trainers, key=lambda trainer: trainer.copy_fraction or 0.0, default=None)
    if busiest and busiest.copy_fraction:
        name = printable(busiest.stats.stream) + (f" {busiest.stats.rank}" if busiest.stats.world_size > 1 else "")
        yield Text(f"{name}: copies to its device took {share(busiest.copy_fraction)} of its time", "dim")


def _sinks(snapshot: Snapshot) -> Iterator[RenderableType]:
    """Yield a table of the sinks, if there are several."""
    if len(snapshot.sinks) <= 1:
        return
    table = _table("sink", "trainers", "held", "results in", "batches out", "restarts")
    for column in table.columns[1:]:
        column.justify = "right"
    for sink in snapshot.sinks:
        sizes = size(sink.bytes), size(sink.sent_bytes)
        table.add_row(printable(sink.name), f"{sink.trainers:,}", f"{sink.held:,}", *sizes, f"{sink.restarts:,}")
    yield from (table, Text())


def _workers(workers: Sequence[WorkerRow], rows: int | None) -> RenderableType:
    if not workers:
        return Text("no worker is connected", "red")
    table = _table("worker", "samples/s", "busy", "tasks", "now", "failed", "restarts")
    for name in ("samples/s", "busy", "tasks", "failed", "restarts"):
        next(column for column in table.columns if column.header == name).justify = "right"
    shown = workers if rows is None or len(workers) <= rows else workers[: rows - 1]
    for worker in shown:
        stage = "cut off" if worker.cut_off else "hanging" if worker.hedged else _STAGES[worker.stats.stage]
        age = f" {span(worker.task_s)}" if worker.task_s and stage != "idle" else ""
        host = "" if worker.name.startswith(worker.host) else f" on {worker.host}"
        table.add_row(
            printable(worker.name + host),
            rate(worker.rate),
            share(worker.busy),
            f"{worker.leases} / {worker.slots}",
            Text(stage + age, "red" if worker.cut_off or worker.hedged else ""),
            Text(f"{worker.stats.failures:,}", "red" if worker.stats.failures else ""),
            f"{worker.stats.restarts:,}",
        )
    if len(shown) < len(workers):
        table.add_row(Text(f"and {len(workers) - len(shown):,} more", "dim"))
    return table


def _cache(workers: Sequence[WorkerRow]) -> Iterator[RenderableType]:
    """Yield a line about the caches of decoded images; the workers of a host share one."""
    caches = [(worker.host, worker.stats.cache) for worker in workers if worker.stats.cache is not None]
    if not caches:
        return
    hits, misses = sum(cache.hits for _, cache in caches), sum(cache.misses for _, cache in caches)
    by_host = {host: (cache.held_bytes, cache.limit_bytes) for host, cache in caches}
    held, limit = (sum(sizes) for sizes in zip(*by_host.values(), strict=True))
    words = f"{share(hits / (hits + misses) if hits + misses else None)} of the images came from the cache"
    saved = f"{span(sum(cache.saved_s for _, cache in caches))} of decoding saved"
    yield Text(f"{words}, {saved}; it holds {size(held)} of {size(limit)}", "dim")
    stopped = sorted({(host, cache.stopped) for host, cache in caches if cache.stopped})
    if stopped:
        told = ", ".join(f"{printable(host)} ({printable(why)})" for host, why in stopped[:_HOSTS])
        more = f" and {len(stopped) - _HOSTS} more" if len(stopped) > _HOSTS else ""
        yield Text(f"the cache stopped growing on {told}{more}", "bold red")


def _shards(workers: Sequence[WorkerRow]) -> Iterator[RenderableType]:
    """Yield a line about whole shards that are kept; the workers of a host share them."""
    stores = [(worker.host, worker.stats.shards) for worker in workers if worker.stats.shards is not None]
    if not stores:
        return
    hits, misses = sum(each.hits for _, each in stores), sum(each.misses for _, each in stores)
    fetched, removed = (sum(getattr(each, name) for _, each in stores) for name in ("fetched", "removed"))
    held = sum(max(each.held_bytes for on, each in stores if on == host) for host in {host for host, _ in stores})
    limit = sum({host: each.limit_bytes for host, each in stores}.values())
    came = f"{share(hits / (hits + misses) if hits + misses else None)} of the images came from kept shards"
    yield Text(f"{came}, {fetched:,} fetched, {removed:,} removed; they hold {size(held)} of {size(limit)}", "dim")


def _quarantine(snapshot: Snapshot, address: str) -> Iterator[RenderableType]:
    if not (snapshot.sink and snapshot.sink.quarantined):
        yield Text("nothing is quarantined", "dim")
        return
    kinds: Counter[str] = Counter()
    for stream in snapshot.streams:
        kinds.update(stream.sink.quarantined_items if stream.sink else {})
    words = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    where = "" if address == resolve(OWN_VENTILATOR) else f" {address}"
    more = "" if address.startswith("http") else f"; penstock quarantine{where} lists them"
    yield Text.assemble((f"{several(kinds.total(), 'item')} quarantined", "bold"), f": {words}{more}")
    newest = {line.path: line for line in reversed(snapshot.ledger)}  # an item fails in every epoch
    for line in list(reversed(newest.values()))[:_LINES]:
        yield Text(f"  {printable(line.path)}: {printable(line.reason)}", "dim", no_wrap=True, overflow="ellipsis")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
