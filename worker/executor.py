"""Two threads of the worker: one reads files ahead, the other decodes, transforms and sends.

They share a queue of tasks with the worker's loop; the second thread has the PUSH sockets to the sinks.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.protocol import wire
from penstock.protocol.messages import Done, Result, SinkAddress, Task, TaskKey, Timings, WorkerStats
from penstock.protocol.stats import Stage
from penstock.protocol.transport.segments import Loan
from penstock.protocol.transport.sockets import Hub
from penstock.sources.base import Loaded
from penstock.worker.counters import Counters
from penstock.worker.imaging.pipeline import Outcome
from penstock.worker.resting import Resting
from penstock.worker.sink_links import Cut, Delivery, SinkLinks, count_samples

if TYPE_CHECKING:
    from penstock.worker.imaging.parts.pipeline import AnyPipeline

#: Tasks whose files are read before they are decoded: hides the storage's latency.
_READ_AHEAD = 2
#: Longest time (s) that a thread waits before it checks whether it should stop.
_TURN_S = 0.2


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings for tasks: a pipeline for each stream, and the sinks for results."""

    pipelines: Mapping[str, "AnyPipeline"]
    #: Each at an address that this host can connect to.
    sinks: Sequence[SinkAddress]
    #: Most memory (bytes) to share with each sink; 0: none.
    shared_bytes: int = 0
    #: The names of the sinks on this host.
    near: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Ready:
    task: Task
    contents: Loaded
    pipeline: "AnyPipeline"
    read_s: float


class Executor:
    """Runs tasks in order; `submit`, `withdraw`, `finished` and `configure` are the loop's side of it."""

    def __init__(self, hub: Hub, worker: str) -> None:
        """Start both threads; they wait until `configure` was called."""
        self._hub, self._worker = hub, worker
        self._changed = threading.Condition()
        self._queued: deque[Task] = deque()
        self._loaded: deque[_Ready] = deque()
        self._loading: Task | None = None
        self._done: deque[Done] = deque()
        self._setup: Setup | None = None
        self._stopping = False
        #: The error that ended a thread, for the loop to raise.
        self.error: BaseException | None = None
        #: When the task that is decoded, or read, was begun (monotonic s), and its name; None between tasks.
        self.running: tuple[float, TaskKey] | None = None
        self.reading: tuple[float, TaskKey] | None = None
        #: Since when a result has waited for the sink (monotonic s); None while none waits.
        self.sending_since: float | None = None
        #: The sink that a result waits for without a connection, and since when; None while there is none.
        self.cut: Cut | None = None
        #: Counters of what was sent, and since when the decoder has waited for something to do (monotonic s).
        self.counters = Counters()
        self._free_since = time.monotonic()
        #: The task whose result waits for the sink.
        self._sending: TaskKey | None = None
        #: Seconds that the last task took to read, and to make.
        self._read_s = self._make_s = 0.0
        self._resting = Resting()
        self._threads = [
            threading.Thread(target=self._guard, args=(part,), name=name, daemon=True)
            for name, part in (("reader", self._read), ("decoder", self._decode))
        ]
        for thread in self._threads:
            thread.start()

    def configure(self, setup: Setup) -> None:
        """Use these pipelines and these sinks from the next task on."""
        with self._changed:
            self._setup = setup
            self._changed.notify_all()

    def submit(self, task: Task) -> None:
        """Queue a task."""
        with self._changed:
            self._queued.append(task)
            self._changed.notify_all()

    def withdraw(self) -> tuple[TaskKey, ...]:
        """Empty the queue; return what was in it and will not run."""
        with self._changed:
            tasks = [loaded.task for loaded in self._loaded] + [
                *([self._loading] if self._loading else []),
                *self._queued,
            ]
            self._loaded.clear()
            self._queued.clear()
            self._loading = None
            return tuple(task.key for task in tasks)

    def finished(self) -> tuple[Done, ...]:
        """Return the units of work sent since the last call."""
        done = []
        while self._done:
            done.append(self._done.popleft())
        return tuple(done)

    def rest(self, now: float, due: float) -> tuple[float, float]:
        """Return until when the loop may leave messages unread, and when it must turn at the latest (monotonic s).

        `due`: when the loop has something to do anyway.
        """
        self._resting.stop()  # before the look at what is done: the other thread looks at the rest after adding to it
        if self._done:
            return now, now
        held = self._waiting() + (self.running is not None or self.sending_since is not None)
        if not self._loaded or held < 2:  # noqa: PLR2004 - of one task alone, nothing would be left when it is told of
            return now, self._resting.turn_at
        return self._resting.begin(now, self._read_s, self._make_s, held, due), self._resting.turn_at

    def _report(self, done: Done) -> None:
        """Let the loop report a task that is done: at once, or at the end of its rest if it has enough others."""
        self._done.append(done)
        if self._resting.ends(time.monotonic(), self._waiting()):
            self._hub.wake()

    def _waiting(self) -> int:
        """Return how many tasks wait to be made, about: another thread may just take one."""
        return len(self._loaded) + len(self._queued) + (self._loading is not None)

    def stats(self, now: float) -> WorkerStats:
        """Return the worker's statistics, including the task that runs now."""
        counters, running, reading, sending_since = self.counters, self.running, self.reading, self.sending_since
        near_bytes = counters.near_bytes  # before `bytes`, which the other thread counts first: never more than these
        stage: Stage = "idle"
        since, task = self._free_since, None
        if running:
            stage, (since, task) = "make", running
        elif sending_since is not None:
            stage, since, task = "send", sending_since, self._sending
        elif reading:
            stage, since, task = "read", max(reading[0], self._free_since), reading[1]
        return WorkerStats.model_construct(
            tasks=counters.tasks,
            samples=counters.samples,
            bytes=counters.bytes,
            near_bytes=near_bytes,
            items=counters.items,
            failures=counters.failures,
            spent=counters.spent,
            stage=stage,
            stage_s=max(0.0, now - since),
            task=task,
        )

    def stop(self, wait_s: float) -> bool:
        """Stop both threads, waiting for them up to `wait_s` seconds; return whether they have ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _guard(self, part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:  # noqa: BLE001 - handed to the loop, which raises it
            self.error = error
            self._hub.wake()

    def _read(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not (self._setup and self._queued and len(self._loaded) < _READ_AHEAD):
                    self._changed.wait(_TURN_S)
                if self._stopping:
                    return
                assert self._setup is not None  # noqa: S101 - waited for above
                task = self._loading = self._queued.popleft()
                pipeline = self._setup.pipelines.get(task.key.stream)
            if pipeline is None:  # the stream is gone since the task was queued; it will be leased again or not at all
                with self._changed:
                    self._loading = None
                continue
            began = time.perf_counter()
            self.reading = (time.monotonic(), task.key)
            contents = pipeline.read(task)
            read_s = time.perf_counter() - began
            self.reading, self._read_s = None, read_s
            if self._hub.tracer:
                self._hub.tracer.read(task.key, read_s)
            with self._changed:
                if self._loading is task:  # else it was withdrawn meanwhile
                    self._loaded.append(_Ready(task, contents, pipeline, read_s))
                    self._loading = None
                    self._changed.notify_all()

    def _decode(self) -> None:
        links = SinkLinks(self._hub)
        try:
            while True:
                waited, self._free_since = time.perf_counter(), time.monotonic()
                with self._changed:
                    while not self._stopping and not self._loaded:
                        self._changed.wait(_TURN_S)
                    if self._stopping:
                        return
                    loaded = self._loaded.popleft()
                    self.running = (time.monotonic(), loaded.task.key)
                    self._changed.notify_all()
                read_s = min(loaded.read_s, time.perf_counter() - waited)
                self._follow(links).lend_anew()
                room_bytes = loaded.pipeline.room_bytes(len(loaded.contents.items))
                loan = links.room(loaded.task, loaded.pipeline.plan, room_bytes)
                outcome = loaded.pipeline.make(loaded.task, loaded.contents, loan.room() if loan else None)
                sending_since = time.monotonic()
                self.sending_since, self._sending, self.running = sending_since, loaded.task.key, None
                send_s, near_bytes = self._send(links, loaded, outcome, loan)
                times = outcome.timings
                self._make_s = times.decode_s + times.transform_s
                timings = Timings(
                    read_s=read_s + times.read_s,
                    decode_s=times.decode_s,
                    transform_s=times.transform_s,
                    send_s=send_s,
                    parts_s=times.parts_s,
                )
                if self._hub.tracer:
                    self._hub.tracer.made(loaded.task.key, timings, sending_since + send_s)
                items, failures = len(loaded.contents.items), len(outcome.failures)
                self.counters.add(timings, outcome.arrays, items, failures, near_bytes)
                self._report(Done(key=loaded.task.key, timings=timings))
        finally:
            links.close(linger_s=2.0)

    def _follow(self, links: SinkLinks) -> SinkLinks:
        """Adopt the sinks of the last welcome."""
        setup = self._setup
        assert setup is not None  # noqa: S101 - tasks only come after a welcome
        links.follow(setup.sinks, setup.shared_bytes)
        return links

    def _send(self, links: SinkLinks, loaded: _Ready, outcome: Outcome, loan: Loan | None) -> tuple[float, int]:
        """Push a result as soon as its sinks have room for it; give up only when the worker stops.

        Return the seconds that it took, and how many bytes of samples went to sinks on this host.
        """
        began = time.perf_counter()
        plan = loaded.pipeline.plan
        result = Result.model_construct(
            key=loaded.task.key,
            plan=plan.token,
            worker=self._worker,
            lease=loaded.task.lease,
            failures=outcome.failures,
            names=tuple(item.name for item in loaded.task.items) if outcome.failures else (),
            frames=wire.frames_of(plan.schema, outcome.arrays),
        )
        deliveries = links.deliveries(loaded.task, plan, result, outcome.arrays, loan)
        near, sent = self._setup.near if self._setup else (), list[Delivery]()
        while deliveries and not self._stopping:
            if self._follow(links).is_empty:
                with self._changed:  # no sink has said hello yet
                    self._changed.wait(_TURN_S)
                continue
            sent += links.push(deliveries, _TURN_S)
            self.cut = links.cut(deliveries)
        self.sending_since = self.cut = None
        near_samples = count_samples(each for each in sent if each.sink in near)
        return time.perf_counter() - began, plan.sample_bytes * near_samples
