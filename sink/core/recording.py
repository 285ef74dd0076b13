"""The core of writing: decides what is written and committed when, and keeps the state of that.

Theory of operation. When the ventilator's welcome has brought the stream's plan, the writing thread finds out how far
the output has come (`Open`), and a `RecordingReader` starts there: it hands samples over (`RowsJob`) and, after so many
bytes or seconds, asks for a commit (`Commit`). Meanwhile the source's paths are requested page by page. The last commit
finishes the output. A disk error ends the recording with a reason; the next run continues from the last commit.

No socket, clock, thread or file: events and `now` in, jobs out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from penstock.protocol.instructions import Failed, Note
from penstock.protocol.messages import ListPaths, Paths
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.instructions import SinkInstruction, Write
from penstock.sink.core.reader import Reader
from penstock.sink.core.recording_reader import RecordingReader
from penstock.sink.core.store import Store
from penstock.sink.core.writer_jobs import (
    Broken,
    Commit,
    Committed,
    DiskFull,
    Job,
    Listed,
    Open,
    Opened,
    Outcome,
    OutputFinished,
    PathsJob,
    Taken,
)
from penstock.sink.output.layout import OutputConfig

#: Name of the recorder among the consumers of samples.
RECORDER = b"recorder"
#: Pieces after which they are made twice as large and may take twice as long: their number stays small, and a kill
#: costs no more than one part in so many of what is there, or than the first piece.
_PIECES = 64
#: Seconds for which half a window may wait for the disk before a note says so.
_PATIENCE_S = 2.0
#: Seconds after which paths are asked for again.
_ASK_AGAIN_S = 2.0

State = Literal["waiting", "opening", "writing", "finishing", "finished", "stopped"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is written between two commits: what a kill can cost."""

    #: Bytes of samples, and seconds.
    piece_bytes: int
    piece_s: float

    def limits(self, pieces: int) -> tuple[int, float]:
        """Return bytes and seconds of the next piece, after so many."""
        factor = 1 << min(40, pieces // _PIECES)
        return self.piece_bytes * factor, self.piece_s * factor


class Recording:
    """State machine of one output; see the module's text."""

    def __init__(self, config: OutputConfig, pace: Pace, wait_for: int) -> None:
        """Wait for the ventilator, and then for `wait_for` trainers of the stream."""
        self.config = config
        self.state: State = "waiting"
        #: Why the recording stopped; what it waits for.
        self.why = ""
        self.recorder: RecordingReader | None = None
        #: Samples that are written, that are committed, and items that failed.
        self.written = self.committed = self.quarantined = 0
        #: Samples that were there when this process began.
        self.resumed = 0
        self.found_finished = False
        #: Why the disk accepts nothing; whether it falls behind.
        self.full = ""
        self.slow = False
        self._pace, self._wait_for = pace, wait_for
        self._pieces = 0
        self._began_at: float | None = None
        self._slow_since: float | None = None
        #: The item from which on paths are to be asked for; None: they are here, or being written.
        self._unlisted: int | None = None
        self._listed = False
        self._asked_at: float | None = None

    @property
    def consumers(self) -> dict[bytes, RecordingReader]:
        """The recorder, while it takes samples."""
        recorder = self.recorder
        writing = self.state == "writing" and recorder is not None and not self._wait_for and not recorder.done
        return {RECORDER: recorder} if writing and recorder else {}

    def is_opening(self, stream: str) -> bool:
        """Return whether this stream's output is not open yet."""
        return stream == self.config.stream and self.state in ("waiting", "opening")

    def welcome(self, plans: Mapping[str, StreamPlan]) -> list[SinkInstruction]:
        """Handle the ventilator's plans."""
        plan = plans.get(self.config.stream)
        if self.state in ("finished", "stopped"):
            return []
        if plan is None:
            return self.stop(f"no stream {self.config.stream!r} here; there are: {', '.join(sorted(plans))}")
        if self.state == "waiting":
            self.state, self.recorder = "opening", RecordingReader(plan, self.config)
            return [Write(Open(plan))]
        assert self.recorder is not None  # noqa: S101 - from `opening` on
        if plan.fingerprint != self.recorder.plan.fingerprint:
            return self.stop(f"stream {plan.name!r} has changed: its fingerprint is {plan.fingerprint} now")
        if plan != self.recorder.plan:
            self.recorder.replan(plan)
        return []

    def took(self, outcome: Outcome, now: float) -> list[SinkInstruction]:
        """Handle the outcome of a job."""
        match outcome:
            case Opened():
                return self._opened(outcome)
            case Taken(count):
                self.written += count
                if self.recorder:
                    self.recorder.in_flight -= count
            case Committed(position, rows):
                self.committed, self._pieces = rows, self._pieces + 1
                return [
                    Note("committed", {"stream": self.config.stream, "samples": rows, "position": position}, "debug")
                ]
            case Listed(stop, total):
                self._listed = stop == total
                self._unlisted = None if self._listed else stop
                return self.serve(None, now)
            case OutputFinished(left_over):
                self.state, self.committed = "finished", self.written
                hint = f"{self.config.output}.parts is being read: remove it later, or give the same command again"
                return [Note("output finished", self._fields() | ({"parts": hint} if left_over else {}))]
            case DiskFull(why):
                self.full = why
                level = "error" if why else "info"
                return [Note("disk full" if why else "disk has space again", {"why": why} if why else {}, level)]
            case Broken(why):
                self.state, self.why = "stopped", why
                return [Failed(why)]
        return []

    def list_paths(self, now: float) -> ListPaths | None:
        """Return the request for item paths, if one is due."""
        if self._unlisted is None or (self._asked_at is not None and now - self._asked_at < _ASK_AGAIN_S):
            return None
        self._asked_at = now
        return ListPaths(stream=self.config.stream, start=self._unlisted)

    def listed(self, paths: Paths) -> list[SinkInstruction]:
        """Handle item paths; a page that was not requested answers an older question and is dropped."""
        if paths.stream != self.config.stream or paths.start != self._unlisted:
            return []
        self._unlisted = self._asked_at = None
        return [Write(PathsJob(paths.start, paths.total, paths.paths))]

    def serve(self, store: Store | None, now: float) -> list[SinkInstruction]:
        """Hand over the complete samples that the disk has room for."""
        recorder = self.recorder
        if recorder is None or self.state != "writing":
            return []
        jobs: list[Job] = []
        while self.consumers and store is not None:
            most_bytes, _ = self._pace.limits(self._pieces)
            rows = recorder.next(store, most_bytes)
            if rows is None:
                break
            jobs.append(rows)
            self._began_at = now if self._began_at is None else self._began_at
            if recorder.at_boundary(most_bytes):
                jobs.append(self._commit(recorder))
        if recorder.done:
            recorder.part()
        if recorder.done and self._listed:
            self.state = "finishing"
            jobs.append(self._commit(recorder))
        return [Write(job) for job in jobs]

    def tick(self, now: float) -> list[SinkInstruction]:
        """Commit what waits too long; notice whether the disk keeps up."""
        recorder = self.recorder
        if recorder is None or self.state != "writing":
            return []
        out: list[SinkInstruction] = []
        _, most_s = self._pace.limits(self._pieces)
        if self._began_at is not None and now - self._began_at >= most_s and not recorder.done:
            out.append(Write(self._commit(recorder)))
        behind = recorder.in_flight * 2 >= recorder.window
        self._slow_since = (now if self._slow_since is None else self._slow_since) if behind else None
        slow = self._slow_since is not None and now - self._slow_since >= _PATIENCE_S
        if slow and not self.slow:
            out.append(Note("held up by writer", self._fields(), "warning"))
        self.slow = slow
        return out

    def keep_step(self, readers: Iterable[Reader]) -> bool:
        """Couple with trainers of the stream that are near; return whether anything changed.

        Once coupled they share the lowest limit, so that each result is made once, until the trainer leaves or all is
        handed over. A trainer further away than the window is not coupled.
        """
        recorder = self.recorder
        if recorder is None or self.state != "writing":
            return False
        same = [reader for reader in readers if reader.plan is recorder.plan]
        begun = bool(self._wait_for) and len(same) >= self._wait_for
        if begun:
            self._wait_for = 0
        near = [reader for reader in same if abs(reader.cursor - recorder.cursor) <= recorder.window]
        joined = [reader for reader in near if recorder not in reader.paced_with] if self.consumers else []
        for reader in joined:
            recorder.join(reader)
        return begun or bool(joined)

    def part(self, reader: Reader) -> None:
        """Uncouple from a trainer that left."""
        if self.recorder:
            self.recorder.part(reader)

    def stop(self, why: str) -> list[SinkInstruction]:
        """Write only what was handed over: the stream cannot go on."""
        out = self.leave()
        self.state, self.why = "stopped", why
        if self.recorder:
            self.recorder.part()
        return [*out, Note("writing stopped", {"stream": self.config.stream, "why": why}, "error")]

    def leave(self) -> list[SinkInstruction]:
        """Commit what was handed over: this process is asked to end."""
        if self.recorder is None or self.state != "writing" or not self.recorder.open_rows:
            return []
        return [Write(self._commit(self.recorder))]

    def status(self) -> dict[str, Any]:
        """Return where it stands, for /healthz."""
        found = {"state": self.state, "why": self.why or self.full or self._waits(), **self._fields()}
        if self.recorder:
            found |= {
                "position": self.recorder.cursor,
                "total": self.recorder.total,
                "sample_bytes": self.recorder.layout.sample_bytes,
                "committed": self.committed,
                "resumed": self.resumed,
                "found_finished": self.found_finished,
                "in_flight": self.recorder.in_flight,
                "held_up_by_writer": self.slow or bool(self.full),
            }
        return found

    def _waits(self) -> str:
        if self.state != "writing" or not self._wait_for:
            return ""
        return f"waiting for trainers of the stream (--wait-for-trainers {self._wait_for})"

    def _opened(self, opened: Opened) -> list[SinkInstruction]:
        if self.recorder is None or self.state != "opening":  # stopped meanwhile
            return []
        self.written = self.committed = self.resumed = opened.rows
        self.quarantined = len(opened.lost)
        if opened.finished:
            self.state, self.found_finished = "finished", True
            return [Note("output is finished already", self._fields())]
        self.state = "writing"
        self._pieces = opened.pieces
        self._listed = opened.listed
        self._unlisted = None if opened.listed else 0
        self.recorder.begin(opened.position, opened.rows)
        return [Note("writing", {**self._fields(), "from": opened.position, "to": self.recorder.total})]

    def _commit(self, recorder: RecordingReader) -> Commit:
        self._began_at = None
        lost = recorder.commit()
        self.quarantined += len(lost)
        return Commit(recorder.cursor, lost, last=self.state == "finishing")

    def _fields(self) -> dict[str, Any]:
        return {
            "output": self.config.output,
            "stream": self.config.stream,
            "samples": self.written,
            "quarantined": self.quarantined,
        }
