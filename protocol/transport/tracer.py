"""Records the way of tasks and batches through one process, in a file of its own; `penstock trace` joins the files.

Most moments are those at which a message crosses a socket: the process's sockets report every message, and the
worker's executor and the trainer's link report what they do in between. The size of a trace is limited. Times are this
process's monotonic clock; pings on heartbeats let `penstock trace` align those of several hosts. Without `--trace`
there is no tracer, and no work.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from penstock.protocol import ranges
from penstock.protocol.errors import SpecError
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    Heartbeat,
    Progress,
    Result,
    SinkWelcome,
    Subscribe,
    TaskKey,
    Tasks,
    Timings,
    TrainerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges
from penstock.protocol.records import Ping
from penstock.protocol.transport.own_files import make_own_folder, open_own

#: Most rows of a process's file, about 150 bytes each; then it says so and records no more.
MOST_ROWS = 1_000_000
#: Least time between two pings to a peer (s): heartbeats keep to it anyway, a trainer's credit does not.
_PING_S = 0.1
#: Rows that may wait to be written, and longest that they do (s).
_ROWS, _FLUSH_S = 256, 0.5
#: Arrivals and wishes that are remembered of each stream, and peers whose pings are.
_ARRIVALS, _PEERS = 200_000, 4096


class Tracer:
    """The trace of this process; callable from any of its threads."""

    def __init__(self, folder: str | Path, service: str, every: int = 1) -> None:
        """Record every `every`-th task of each stream in a new file below `folder`. Raises SpecError."""
        if every < 1:
            raise SpecError(f"--trace-every {every}: give 1 or more")
        host = socket.gethostname()
        self.process = f"{service} {host}/{os.getpid()} {uuid.uuid4().hex[:8]}"
        self.path = Path(folder) / f"{self.process.replace('/', '-').replace(' ', '-')}.jsonl"
        self._every = every
        self._lock = threading.Lock()
        self._rows: list[str] = []
        self._count, self._flushed = 0, time.monotonic()
        #: By peer: its last ping and when it came; when it got one.
        self._heard: dict[bytes, tuple[Ping, float]] = {}
        self._pinged: dict[bytes, float] = {}
        self._plans: dict[bytes, StreamPlan] = {}
        self._missing: dict[str, Ranges] = {}
        #: At a sink: when each task's result came, by stream; up to when a peer's batches were complete.
        self._arrivals: dict[str, dict[int, float]] = {}
        self._complete: dict[bytes, float] = {}
        try:
            make_own_folder(Path(folder))
            self._file: IO[str] | None = open_own(self.path, "x", encoding="utf-8")
        except OSError as error:
            raise SpecError(f"--trace {str(folder)!r}: {error}; name a folder that can be written to") from error
        identity = {"process": self.process, "service": service, "host": host, "pid": os.getpid(), "every": every}
        self._row("process", time.monotonic(), wall_s=time.time(), clock=_clock(), **identity)

    @classmethod
    def from_environment(cls, service: str) -> "Tracer | None":
        """Return a tracer if PENSTOCK_TRACE names a folder: programs that train have no flags of ours."""
        folder = os.environ.get("PENSTOCK_TRACE")
        if not folder:
            return None
        every = os.environ.get("PENSTOCK_TRACE_EVERY", "1")
        if not every.isdecimal():
            raise SpecError(f"PENSTOCK_TRACE_EVERY={every!r}: give a whole number, 1 or more")
        return cls(folder, service, int(every))

    def sending(self, message: AnyMessage, peer: bytes) -> AnyMessage:
        """Record a message before it is sent; return it, with a ping if it can carry one."""
        now = time.monotonic()
        match message:
            case Heartbeat() | Credit():
                return self._ping(message, peer, now)
            case Tasks():
                for task in message.tasks:
                    if self._wants(task.key):
                        self._row("leased", now, task=name_of(task.key), attempt=task.attempt, items=len(task.items))
            case TrainerWelcome():
                self._remember(self._plans, peer, message.plan)
            case Batch():
                self._batch("sent", message, peer, now)
            case _:
                pass  # says nothing of a task's way
        return message

    def received(self, message: AnyMessage, peer: bytes) -> None:
        """Record a message that has arrived."""
        now = time.monotonic()
        match message:
            case Heartbeat(ping=Ping() as ping) | Credit(ping=Ping() as ping):
                self._pong(ping, peer, now)
            case Progress():
                self._progress(message, now)
            case SinkWelcome():
                self._arrivals = {plan.name: self._arrivals.get(plan.name, {}) for plan in message.streams}
            case Tasks():
                for task in message.tasks:
                    if self._wants(task.key):
                        self._row("got", now, task=name_of(task.key))
            case Result():
                self._result(message, now)
            case TrainerWelcome():
                self._remember(self._plans, peer, message.plan)
            case Subscribe():
                self._remember(self._complete, peer, 0.0)
            case Batch():
                self._batch("arrived", message, peer, now)
            case _:
                pass  # says nothing of a task's way

    def read(self, key: TaskKey, seconds: float) -> None:
        """Record that a worker has just read a task's items."""
        if self._wants(key):
            self._row("read", time.monotonic() - seconds, task=name_of(key), s=seconds)

    def made(self, key: TaskKey, timings: Timings, now: float) -> None:
        """Record that a worker has sent a result, with the time of each stage: all stages end `now`, in a row.

        It is when sending began and as long as it took: a worker that waits for a processor afterwards has not made the
        samples later than the sink has them.
        """
        if self._wants(key):
            self._row("made", now, task=name_of(key), timings=timings.to_dict())

    def handed(self, stream: str, stop: int, *, over: bool) -> None:
        """Record that a training program got the batch up to position `stop`, or is done with it."""
        self._row("consumed" if over else "handed", time.monotonic(), stream=stream, stop=stop)

    def close(self) -> None:
        """Write what waits."""
        with self._lock:
            if self._file:
                self._flush()
                self._file.close()
                self._file = None

    def _wants(self, key: TaskKey) -> bool:
        return key.ordinal % self._every == 0

    def _progress(self, progress: Progress, now: float) -> None:
        """Record what has come to be wanted; what no ventilator would believe is left out."""
        for need in progress.needs:
            if not ranges.is_normal(need.missing) or ranges.size(need.missing) > _ARRIVALS:
                continue
            for ordinal in ranges.members(ranges.subtract(need.missing, self._missing.get(need.stream, ()))):
                if ordinal % self._every == 0:
                    self._row("wanted", now, task=f"{need.stream}/{ordinal}")
            if need.stream in self._missing or len(self._missing) < _PEERS:
                self._missing[need.stream] = need.missing

    def _result(self, result: Result, now: float) -> None:
        key = result.key
        arrivals = self._arrivals.get(key.stream)
        if arrivals is None:
            return
        if key.which is not None or key.ordinal not in arrivals:  # the sink drops later copies of a whole task
            arrivals[key.ordinal] = now
        while len(arrivals) > _ARRIVALS:
            del arrivals[next(iter(arrivals))]
        if self._wants(key):
            self._row("result", now, task=name_of(key), worker=result.worker, failures=len(result.failures))

    def _batch(self, what: str, batch: Batch, peer: bytes, now: float) -> None:
        """Record batches that hold samples of a recorded task."""
        plan = self._plans.get(peer)
        if plan is None:
            return
        start = batch.start
        for stop in batch.stops:
            first, last = plan.geometry.tasks_between(start, stop)
            chosen = range(-(-first // self._every) * self._every, last, self._every)
            known: dict[str, Any] = {"stream": plan.name, "start": start, "stop": stop}
            if what == "sent":  # a task belongs to the batch that its first sample is in
                known["complete"] = self._completed(plan.name, range(first, last), peer, now)
                known["tasks"] = [ordinal for ordinal in chosen if start <= _low(plan, ordinal) < stop]
            if known.get("tasks", chosen):
                self._row(what, now, **known)
            start = stop

    def _completed(self, stream: str, ordinals: Sequence[int], peer: bytes, now: float) -> float:
        """Return when all that a batch is made of, and all that stands before it, was there."""
        arrivals = self._arrivals.get(stream, {})
        came = max((arrivals.get(ordinal, 0.0) for ordinal in ordinals), default=0.0)
        complete = max(self._complete.get(peer, 0.0), came) or now
        self._remember(self._complete, peer, complete)
        return complete

    def _ping(self, message: Heartbeat | Credit, peer: bytes, now: float) -> AnyMessage:
        if now - self._pinged.get(peer, 0.0) < _PING_S:
            return message
        self._remember(self._pinged, peer, now)
        last = self._heard.get(peer)
        heard = {"heard_sent_s": last[0].sent_s, "heard_at_s": last[1]} if last else {}
        return message.model_copy(update={"ping": Ping(process=self.process, sent_s=time.monotonic(), **heard)})

    def _pong(self, ping: Ping, peer: bytes, now: float) -> None:
        self._remember(self._heard, peer, (ping, now))
        if ping.heard_sent_s is not None and ping.heard_at_s is not None:
            times = [ping.heard_sent_s, ping.heard_at_s, ping.sent_s, now]
            self._row("ping", now, peer=ping.process, times=times)

    @staticmethod
    def _remember(known: dict[bytes, Any], peer: bytes, value: object) -> None:
        known.pop(peer, None)
        known[peer] = value
        if len(known) > _PEERS:
            del known[next(iter(known))]

    def _row(self, what: str, at: float, **facts: object) -> None:
        with self._lock:
            if self._file is None or self._count >= MOST_ROWS:
                return
            self._count += 1
            full = {"full": True} if self._count == MOST_ROWS else {}
            self._rows.append(json.dumps({"what": what, "at": at, **facts, **full}))
            now = time.monotonic()
            if self._count == 1 or full or len(self._rows) >= _ROWS or now > self._flushed + _FLUSH_S:
                self._flushed = now
                self._flush()

    def _flush(self) -> None:
        assert self._file is not None  # noqa: S101 - the callers look
        self._file.write("".join(f"{row}\n" for row in self._rows))
        self._file.flush()
        self._rows.clear()


def name_of(key: TaskKey) -> str:
    """Return a task's name in a trace: stream/ordinal, and .offset of one item alone, .first+ of a part."""
    part = f".{key.offsets[0]}+" if key.offsets else "" if key.item_offset is None else f".{key.item_offset}"
    return f"{key.stream}/{key.ordinal}{part}"


def _low(plan: StreamPlan, ordinal: int) -> int:
    """Return the first position of a task's samples."""
    return int(plan.geometry.positions(ordinal).min())


def _clock() -> str:
    """Return which monotonic clock this is: processes of one boot and one time namespace share it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/time').readlink()}"
    except OSError:  # no Linux: each process is taken for a clock of its own
        return uuid.uuid4().hex
