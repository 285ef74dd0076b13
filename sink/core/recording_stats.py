"""Statistics of the file that a sink writes: how far it keeps up, and how long it has held the stream up."""

from penstock.protocol.stats import WriterStats, shorten
from penstock.sink.core.recording import Recording
from penstock.sink.core.wait_clock import Waits


class Writing:
    """Statistics of one recording; every `now` is monotonic seconds."""

    def __init__(self, recording: Recording) -> None:
        """Start to watch `recording`."""
        self._recording = recording
        self._waits: Waits | None = None
        #: Seconds that the writing thread has been busy.
        self.busy_s = 0.0

    def look(self, now: float) -> None:
        """Update: the file holds the stream up while half of the window or more waits for the disk."""
        recorder = self._recording.recorder
        if recorder is None or self._recording.state not in ("writing", "finishing"):
            return
        behind = not recorder.done and (bool(self._recording.full) or recorder.in_flight * 2 >= recorder.window)
        self._waits = self._waits or Waits(now)
        self._waits.become(now, starved=not behind)

    def stats(self, now: float) -> tuple[WriterStats, ...]:
        """Return the statistics; None before the recording has begun."""
        self.look(now)
        recording = self._recording
        recorder = recording.recorder
        if recorder is None or self._waits is None:
            return ()
        written = max(0, recording.written - recording.resumed)
        return (
            WriterStats(
                stream=recorder.plan.name,
                path=shorten(recording.config.output),
                state=recording.state,
                position=recorder.cursor,
                total=recorder.total,
                samples=written,
                bytes=written * recorder.layout.sample_bytes,
                waiting=max(0, recorder.in_flight),
                busy_s=self.busy_s,
                blocked_s=self._waits.sums(now)[1],
                blocked=not self._waits.starved,
            ),
        )
