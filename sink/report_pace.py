"""When the sink reports to the ventilator: soon where that presses, but never for more than a share of its time.

What a report costs depends on the readers and on how much is lacking; each one also costs the ventilator a message, and
this sink an answer. So a report that took long is followed by a longer pause: what changes meanwhile shares the next.
Of several sinks, each repeats all results that are not decided: while the ventilator has not answered the last report,
the next one would say the same again, and stand in line behind it. It waits for the answer, as long as any report may.
"""

#: Least time (s) between two reports, where they are pressing and where they can wait: many confirmations share one
#: message, and each message costs both sides a wake-up.
_PRESSING_S, _PATIENT_S = 0.01, 0.1
#: Longest time (s) between two reports that are pressing.
_LONGEST_S = 0.1
#: A pause is so many times what the last report has taken: making reports takes a twentieth of the time.
_PAUSES = 20.0


class ReportPace:
    """The time of the last report, and what it cost."""

    def __init__(self, now: float) -> None:
        """Begin as if a report had just been made that took nothing."""
        self._at, self._pause_s = now, _PRESSING_S

    def due_at(self, *, pressing: bool, answered: bool = True) -> float:
        """Return when the next report may be made; `answered`: the ventilator owes no answer to the last one."""
        return self._at + (self._pause_s if pressing and answered else _PATIENT_S)

    def made(self, now: float, took_s: float) -> None:
        """Note that a report was made, which took so many seconds of the processor."""
        self._at, self._pause_s = now, min(_LONGEST_S, max(_PRESSING_S, _PAUSES * took_s))
