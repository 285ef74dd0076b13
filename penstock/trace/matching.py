"""Turns the rows of all processes into one timeline a task: each stage with its begin and end, by one clock.

Pure functions. They find the lease, the worker and the batch that belong to each result that reached the sink.
`files.py` reads the rows, and `command.py` writes the timelines.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.trace.files import Process, Row


@dataclass(frozen=True, slots=True)
class Span:
    """A stage of a task's way, by the reference's clock (s)."""

    name: str
    begin: float
    end: float
    #: Which process it was in: the one that it ended in, where a message was on its way.
    process: Process
    #: Largest error of `end` relative to `begin` (s); None: unknown.
    error_s: float | None = 0.0


@dataclass(slots=True)
class Way:
    """A task's stages, in order."""

    task: str
    worker: str
    spans: list[Span] = field(default_factory=list)
    #: The position after its first batch; None: it was not delivered while the trace was recorded.
    stop: int | None = None
    failures: int = 0
    #: Where the worker's time went, as its `Finished` says (s).
    timings: Mapping[str, float] = field(default_factory=dict)

    def disorder_s(self) -> float:
        """Return by how much (s) an effect comes before its cause, beyond what the clocks' errors explain."""
        worst = 0.0
        before: Span | None = None
        for span in self.spans:
            slack = span.error_s if span.error_s is not None else float("inf")
            worst = max(worst, span.begin - span.end - slack)
            if before:  # the same moment, or later in the same process
                worst = max(worst, before.end - span.begin)
            before = span
        return worst


@dataclass(frozen=True, slots=True)
class _Moment:
    at: float
    row: Row
    process: Process


class _Moments:
    """Rows of one kind by a key, in the order of time."""

    def __init__(self, processes: Iterable[Process], what: str, *names: str) -> None:
        self._found: dict[tuple[object, ...], list[_Moment]] = {}
        for process in processes:
            for row in process.rows:
                if row["what"] == what:
                    key = tuple(row[name] for name in names)
                    self._found.setdefault(key, []).append(_Moment(process.time(row["at"]), row, process))
        for moments in self._found.values():
            moments.sort(key=lambda moment: moment.at)

    def all(self) -> list[_Moment]:
        """Return all of them, in the order of time."""
        return sorted((moment for moments in self._found.values() for moment in moments), key=lambda moment: moment.at)

    def last(self, until: float, *key: object) -> _Moment | None:
        """Return the last one up to `until`."""
        moments = self._found.get(key, [])
        place = bisect_right(moments, until, key=lambda moment: moment.at)
        return moments[place - 1] if place else None

    def first(self, since: float, *key: object) -> _Moment | None:
        """Return the first one from `since` on."""
        moments = self._found.get(key, [])
        place = bisect_left(moments, since, key=lambda moment: moment.at)
        return moments[place] if place < len(moments) else None


def ways(processes: Sequence[Process]) -> list[Way]:
    """Return the way of every result that came to a sink, in the order in which they came."""
    return _Matcher(processes).ways()


class _Matcher:
    def __init__(self, processes: Sequence[Process]) -> None:
        workers = [each for each in processes if each.service == "worker"]
        self._by_worker = {f"{each.host}/{each.pid}": each for each in workers}
        self._wanted, self._leased = (_Moments(processes, what, "task") for what in ("wanted", "leased"))
        self._results = _Moments(processes, "result", "task", "worker")
        self._arrived = _Moments(processes, "arrived", "stream", "stop")
        self._handed = _Moments(processes, "handed", "stream", "stop")
        self._consumed = _Moments(processes, "consumed", "stream", "stop")
        self._at_worker = {
            each.name: tuple(_Moments([each], what, "task") for what in ("got", "read", "made")) for each in workers
        }
        #: How much earlier than its sending a batch may seem to arrive (s).
        self._slack = max((_reach(each) for each in processes if each.service in ("sink", "trainer")), default=0.0) * 2
        #: The batches of each task, in the order in which they were sent.
        self._sent: dict[str, list[_Moment]] = {}
        for moment in _Moments(processes, "sent", "stream").all():
            for ordinal in moment.row["tasks"]:
                self._sent.setdefault(f"{moment.row['stream']}/{ordinal}", []).append(moment)

    def ways(self) -> list[Way]:
        return [self._way(result) for result in self._results.all()]

    def _way(self, result: _Moment) -> Way:
        way = Way(result.row["task"], result.row["worker"], failures=result.row["failures"])
        worker = self._by_worker.get(way.worker)
        if worker:
            self._before_sink(way, worker, result)
        self._after_worker(way, result)
        return way

    def _before_sink(self, way: Way, worker: Process, result: _Moment) -> None:
        got_rows, read_rows, made_rows = self._at_worker[worker.name]
        read = read_rows.last(result.at + _reach(worker) + _reach(result.process), way.task)
        got = got_rows.last(read.at, way.task) if read else None
        made = made_rows.first(read.at, way.task) if read else None
        if got:
            leased = self._leased.last(got.at + _reach(worker), way.task)
            wanted = self._wanted.last(leased.at, way.task.partition(".")[0]) if leased else None
            if leased and wanted:
                way.spans.append(Span("ventilator queue", wanted.at, leased.at, leased.process))
            if leased:
                error = _between(leased.process, worker)
                way.spans.append(Span("lease sent", leased.at, got.at, worker, error))
            assert read  # noqa: S101 - `got` was looked for by it
            way.spans.append(Span("worker queue", got.at, read.at, worker))
        if read:
            ended = read.at + read.row["s"]
            way.spans.append(Span("read", read.at, ended, worker))
            if made:
                self._made(way, worker, ended, made, result)

    @staticmethod
    def _made(way: Way, worker: Process, read_end: float, made: _Moment, result: _Moment) -> None:
        way.timings = timings = made.row["timings"]
        pushed = made.at - timings["send_s"]
        transformed = pushed
        decoded = transformed - timings["transform_s"]
        began = decoded - timings["decode_s"]
        way.spans.append(Span("wait for decoder", min(read_end, began), began, worker))
        way.spans.append(Span("decode", began, decoded, worker))
        way.spans.append(Span("transform", decoded, transformed, worker))
        way.spans.append(Span("send", pushed, result.at, result.process, _between(worker, result.process)))

    def _after_worker(self, way: Way, result: _Moment) -> None:
        sent = next((each for each in self._sent.get(way.task.partition(".")[0], []) if each.at >= result.at), None)
        if sent is None:
            return
        sink, row = sent.process, sent.row
        complete = min(max(sink.time(row["complete"]), result.at), sent.at)
        way.stop = row["stop"]
        way.spans.append(Span("assemble", result.at, complete, sink))
        way.spans.append(Span("wait for credit", complete, sent.at, sink))
        key = (row["stream"], row["stop"])
        arrived = self._arrived.first(sent.at - self._slack, *key)
        if arrived is None:
            return
        trainer = arrived.process
        way.spans.append(Span("deliver", sent.at, arrived.at, trainer, _between(sink, trainer)))
        handed = self._handed.first(arrived.at, *key)
        if handed:
            way.spans.append(Span("wait for trainer", arrived.at, handed.at, handed.process))
            consumed = self._consumed.first(handed.at, *key)
            if consumed:
                way.spans.append(Span("consume", handed.at, consumed.at, consumed.process))


def _reach(process: Process) -> float:
    """Return how far a process's clock may be off the reference's (s)."""
    return process.offset.error_s if process.offset.error_s is not None else float("inf")


def _between(a: Process, b: Process) -> float | None:
    """Return the largest error between the clocks of two processes (s); None: unknown."""
    if a.clock == b.clock:
        return 0.0
    errors = [each.offset.error_s for each in (a, b)]
    return None if None in errors else sum(error for error in errors if error is not None)
