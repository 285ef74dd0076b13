"""The sink's core: results in, batches out, and what is still missing.

Theory of operation. Each trainer is a `Reader` with a cursor, and so is the recording of a stream (`recording.py`). The
tasks between a reader's cursor and its limit (the window, less what is in flight) are wanted. Results fill the stream's
`Store`; a reader whose next round is complete and that has credit gets its batch at once. Samples that no reader wants
any more are dropped. `Progress` tells the ventilator, absolutely, which wanted tasks are missing: that both confirms
and limits.

This module handles the ventilator's side: results, quarantined items, the link. `streams.py` holds the samples and
readers of each stream, `trainers.py` talks to trainers. No socket, no clock, no thread: messages and `now` in,
instructions out.
"""

from collections.abc import Collection, Sequence

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.event_log import EventLog
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Drain,
    Heartbeat,
    Intervals,
    Outcomes,
    Paths,
    Quarantined,
    Reset,
    Result,
    SinkHello,
    SinkWelcome,
    StoryPart,
    TaskKey,
)
from penstock.protocol.wire import Array
from penstock.sink.core.instructions import SinkInstruction
from penstock.sink.core.observation import SinkCoreObservation
from penstock.sink.core.recording import Recording
from penstock.sink.core.recording_stats import Writing
from penstock.sink.core.results.failures import Failures
from penstock.sink.core.results.intake import Intake
from penstock.sink.core.shared.publishing import Publishing
from penstock.sink.core.statistics import ProcessFacts, SinkStatistics
from penstock.sink.core.streams import Streams
from penstock.sink.core.trainers import Trainers
from penstock.sink.core.writer_jobs import Opened, Outcome

#: The routing identity under which the shell names the ventilator.
VENTILATOR = b"ventilator"


class Assembly:
    """State machine of the sink; see the module's text."""

    def __init__(
        self,
        hello: SinkHello,
        intervals: Intervals,
        now: float,
        recording: Recording | None = None,
        process: ProcessFacts | None = None,
    ) -> None:
        """Start without plans, readers and samples; `intervals` hold until the ventilator's arrive.

        `recording` decides what is written to a file, if anything is; the statistics repeat what `process` says.
        """
        self.recording = recording
        self.hello = hello
        self.intervals = intervals
        #: The last events, for `story`.
        self.log = EventLog()
        self.streams = Streams(recording, shared=bool(hello.name))
        #: What is counted for heartbeats and metrics.
        self.statistics = SinkStatistics(Writing(recording) if recording else None, process or ProcessFacts())
        #: Results that arrived, by outcome: accepted, duplicate, unwanted, stale, withheld.
        self.results = self.statistics.results
        self._intake = Intake(self.streams, self.results, self.statistics.contradicted, self.log)
        self._failures = Failures(self.streams, self.statistics)
        self._publishing = Publishing(self.streams, self._failures)
        self.trainers = Trainers(self.streams, self.statistics, intervals, hello.version, self.log)
        self.ventilator = Liveness(intervals, now, now)
        self.welcomed = False
        self._now = now

    def start(self, now: float) -> list[SinkInstruction]:
        """Introduce ourselves to the ventilator, at first and after its link was opened again."""
        self.ventilator = Liveness(self.intervals, now, now)
        self.welcomed = False
        return [Send(VENTILATOR, self.hello)]

    def receive(self, peer: bytes, message: AnyMessage, arrays: Sequence[Array], now: float) -> list[SinkInstruction]:
        """Handle a message. Raises RemoteProtocolError if it breaks the protocol."""
        self._now = now
        if isinstance(message, Result):
            return self._result(message, arrays)
        if peer == VENTILATOR:
            self.ventilator.heard_at = now
            return self._from_ventilator(message, now)
        return self.trainers.receive(peer, message, now)

    def _from_ventilator(self, message: AnyMessage, now: float) -> list[SinkInstruction]:
        match message:
            case SinkWelcome():
                return self._welcome(message, now)
            case Quarantined():
                return self._quarantined(message)
            case Outcomes():
                return self._outcomes(message)
            case Paths():
                return self.recording.listed(message) if self.recording else []
            case Heartbeat():
                self.statistics.acknowledge(message.ledger)
                return []
            case Reset():
                return [Reopen(VENTILATOR), *self.start(now)]
            case Drain():
                return [Failed(message.reason)]
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} from the ventilator")

    def gone(self, peer: bytes) -> list[SinkInstruction]:
        """Handle a trainer that the transport cannot reach any more."""
        return self.trainers.gone(peer, self._now)

    def tick(self, now: float, writer_busy_s: float = 0.0, *, judging: bool = True) -> list[SinkInstruction]:
        """Notice silence and send heartbeats; call it at `next_timer` or more often.

        `writer_busy_s`: seconds that the writing thread has been busy so far. Only while `judging` silence counts: else
        messages wait to be read (`protocol/heartbeat.py`).
        """
        self._now = now
        self.statistics.writer_was_busy(writer_busy_s)
        out = self.trainers.tick(now, judging=judging)
        out += self._tick_recording(now)
        if judging and self.ventilator.lost(now):
            return [*out, Note("ventilator silent", level="warning"), Reopen(VENTILATOR), *self.start(now)]
        if self.ventilator.due(now):
            self.ventilator.spoke_at = now
            stats = self.statistics.make(self.streams.readers, self.streams.stores, self.streams.stopped(), now)
            out.append(Send(VENTILATOR, Heartbeat(sink_stats=stats) if self.welcomed else self.hello))
            self.streams.report.changed = True  # repeat the whole truth now and then: any message may have been lost
        return out

    def next_timer(self, now: float) -> float:
        """Return when to call `tick` next."""
        return now + self.intervals.heartbeat_s / 4

    def wrote(self, outcome: Outcome, now: float) -> list[SinkInstruction]:
        """Handle the outcome of a job of the writing thread."""
        assert self.recording is not None  # noqa: S101 - only a recording gives it jobs
        self._now = now
        self.streams.report.changed = True
        out = self.recording.took(outcome, now)
        if isinstance(outcome, Opened) and self.recording.state == "writing":
            out += self._recall(self.recording, outcome)
        return [*out, *self.trainers.admit(now), *self._record(), *self._list_paths(now)]

    def leave(self) -> list[SinkInstruction]:
        """Commit what was handed to the writing thread: this process is asked to end."""
        return self.recording.leave() if self.recording else []

    @property
    def subscribers(self) -> Collection[bytes]:
        """The trainers that read a stream."""
        return self.streams.readers.keys()

    def observe(self, now: float) -> SinkCoreObservation:
        """Return what the status and the metrics show of this core."""
        return SinkCoreObservation(
            now=now,
            welcomed=self.welcomed,
            trainers=len(self.streams.readers),
            results=dict(self.results),
            stopped=self.streams.stopped(),
            recording=self.recording.status() if self.recording else None,
            stats=self.statistics.latest,
        )

    def story(self, key: TaskKey, now: float) -> StoryPart:
        """Return what happened to a task here lately, oldest first; to one item of it if the key names one."""
        return StoryPart(service="sink", events=self.log.story(key, now))

    def progress(self) -> list[SinkInstruction]:
        """Return the progress report for the ventilator if anything changed; the shell decides how often to ask."""
        progress = self.streams.progress() if self.welcomed else None
        return [Send(VENTILATOR, progress)] if progress else []

    def pressing(self) -> bool:
        """Return whether the ventilator should hear of the changes at once: what it may lease would soon run out."""
        return self.streams.pressing()

    def answered(self) -> bool:
        """Return whether the ventilator owes no answer to the last report."""
        return self.streams.answered()

    def _result(self, result: Result, arrays: Sequence[Array]) -> list[SinkInstruction]:
        accepted = self._intake.result(result, arrays, self._now)
        if accepted is None:
            return []
        name, ordinal = result.key.stream, result.key.ordinal
        if accepted.kept:
            self.statistics.accept(arrays)
        word, verdict = accepted.word, accepted.verdict
        if verdict.withheld or self.streams.stores[name].shared:
            self.streams.report.press()
        shown = self.trainers.show(self.streams.stores[name])
        alone = self._failures.count(name, ordinal, verdict.alone, word.worker, word.holder)
        confirmed = self._failures.count(name, ordinal, verdict.confirmed, word.worker)
        failed = bool(verdict.alone or verdict.confirmed)
        return [*accepted.notes, *shown, *alone, *confirmed, *self._account(name, failed=failed)]

    def _quarantined(self, message: Quarantined) -> list[SinkInstruction]:
        store = self.streams.stores.get(message.key.stream)
        if store is None or not self.streams.wants(store, message.key):
            return []
        if not store.quarantine(message.key, message.failure):
            return []
        self.log.add(self._now, message.key, f"given up by the ventilator: {message.failure.reason}")
        name, ordinal, failure = message.key.stream, message.key.ordinal, message.failure
        counted = self._failures.count(name, ordinal, [failure], failure.worker)
        return [*counted, *self._account(name, failed=True)]

    def _outcomes(self, message: Outcomes) -> list[SinkInstruction]:
        counted, stopped = self._publishing.take(message)
        if message.stream not in self.streams.stores:
            return counted
        return [*counted, *self._account(message.stream, failed=stopped)]

    def _account(self, name: str, *, failed: bool) -> list[SinkInstruction]:
        """Act on what has come of a stream: serve its readers; stop it if items failed and its budget is exceeded."""
        self.streams.report.changed = True
        out: list[SinkInstruction] = []
        budget = self.streams.budgets[name]
        if failed and (refused := budget.refused):
            self.streams.report.press()
            out.append(Note("stream stopped", {"stream": name, "reason": budget.exceeded}, "error"))
            out += self.trainers.refuse(name, refused, self._now)
            out += self._stop_recording(name, budget.exceeded)
        return [*out, *self.trainers.serve(name, self._now), *self._record()]

    def _recall(self, recording: Recording, opened: Opened) -> list[SinkInstruction]:
        """Count the failures that an earlier run recorded: the failure budget holds over restarts."""
        name = recording.config.stream
        budget = self.streams.budgets[name]
        for lost in opened.lost:
            budget.count(lost.epoch, lost.failure)
        if not budget.refused:
            return []
        out = [Note("stream stopped", {"stream": name, "reason": budget.exceeded}, "error")]
        return [*out, *recording.stop(budget.exceeded)]

    def _record(self) -> list[SinkInstruction]:
        """Hand what is complete to the writing thread."""
        recording = self.recording
        if recording is None or recording.recorder is None or recording.config.stream not in self.streams.stores:
            return []
        recorder, store = recording.recorder, self.streams.stores[recording.config.stream]
        before = recorder.cursor
        out = recording.serve(store, self._now)
        self.statistics.watch_writer(self._now)
        if recorder.cursor != before:
            passed = store.geometry.tasks_between(before, recorder.cursor)
            self.log.add_tasks(self._now, store.plan.name, passed, f"handed to the writer up to {recorder.cursor}")
            self.streams.passed(store, before, recorder.cursor)
        return out

    def _tick_recording(self, now: float) -> list[SinkInstruction]:
        if self.recording is None:
            return []
        self.streams.keep_step()
        return [*self.recording.tick(now), *self._record(), *self._list_paths(now)]

    def _list_paths(self, now: float) -> list[SinkInstruction]:
        message = self.recording.list_paths(now) if self.recording and self.welcomed else None
        return [Send(VENTILATOR, message)] if message else []

    def _stop_recording(self, stream: str, why: str) -> list[SinkInstruction]:
        if self.recording is None or self.recording.config.stream != stream or not self.recording.consumers:
            return []
        out = self.recording.stop(why)
        self.streams.sweep(self.streams.stores[stream])
        return out

    def _welcome(self, message: SinkWelcome, now: float) -> list[SinkInstruction]:
        self.welcomed = True
        self._intake.meet(message.leases)
        self.streams.report.press()
        self.intervals = self.ventilator.intervals = message.intervals
        self.trainers.adopt(message.intervals)
        out = self.trainers.replan(message.streams, now)
        self.streams.replace(message.streams)
        self.streams.meet()
        if self.recording:
            out += self.recording.welcome(self.streams.plans)
        return [*out, *self.trainers.admit(now)]

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        self.streams.validate()
