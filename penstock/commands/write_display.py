"""Shows the progress of a file: a bar on a terminal, plain lines elsewhere, a summary at the end."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn

from penstock.terminal.console import PlainColumn, PlainConsole
from penstock.terminal.words import several

#: Seconds between lines where the output is no terminal.
_LINE_S = 10.0
#: Least seconds over which a rate is computed.
_RATE_S = 1.0


class Display:
    """Shows the progress that the sink reports."""

    def __init__(self, output: str, console: Console | None = None) -> None:
        """Show nothing yet."""
        self._output = output
        self._console = console or PlainConsole(stderr=True)
        self._bar = Progress(
            PlainColumn("{task.description}"),
            BarColumn(),
            PlainColumn("{task.percentage:>3.0f} %  {task.fields[told]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("listing the source", total=None, told="")
        self._began = self._line_at = time.monotonic()
        self._told = ""
        #: When samples began to come, and how many there were then.
        self._first: tuple[float, int] | None = None
        #: Samples that were there before this command; None as long as nothing is written.
        self.found: int | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def show(self, writer: Mapping[str, Any]) -> None:
        """Update the display from the sink's status."""
        now = time.monotonic()
        state = writer.get("state", "waiting")
        samples, total = int(writer.get("samples", 0)), int(writer.get("total", 0))
        if state == "writing" and (self._first is None or samples < self._first[1]):
            self._first = (now, samples)
        elif state in ("waiting", "opening"):  # again, if the sink was started anew
            self._first = None
        if state == "writing" and self.found is None:
            self.found = int(writer.get("resumed", 0))
        words = self._words(state, writer, now)
        if state == "finishing":
            self._bar.update(self._task, description=words, completed=writer.get("together") or 0.0, total=1.0, told="")
        elif total:
            done = int(writer.get("position", 0)) - int(writer.get("in_flight", 0))
            self._bar.update(self._task, description=words, completed=done, total=total, told=self._rate(samples, now))
        if not self._console.is_terminal and (now - self._line_at >= _LINE_S or state != self._told):
            self._line_at, self._told = now, state
            share = f", {100 * writer['position'] / total:.0f} %{self._left(writer, now)}" if total else ""
            rate = self._rate(samples, now)
            self._console.print(
                f"{words}: {samples:,} samples{share}{', ' + rate if rate else ''}", highlight=False, soft_wrap=True
            )

    def _words(self, state: str, writer: Mapping[str, Any], now: float) -> str:
        del now
        if writer.get("why"):
            return f"waiting: {writer['why']}"
        return {
            "waiting": "listing the source",
            "opening": f"opening {self._output}",
            "writing": f"writing {self._output}" + (" (the disk is slow)" if writer.get("held_up_by_writer") else ""),
            "finishing": f"putting {self._output} together",
        }.get(state, state)

    def _rate(self, samples: int, now: float) -> str:
        rate = self._per_second(samples, now)
        return f"{rate:,.0f} samples/s" if rate else ""

    def _per_second(self, samples: int, now: float) -> float:
        if self._first is None or now - self._first[0] < _RATE_S:
            return 0.0
        return (samples - self._first[1]) / (now - self._first[0])

    def _left(self, writer: Mapping[str, Any], now: float) -> str:
        rate = self._per_second(int(writer.get("samples", 0)), now)
        return f", {(writer['total'] - writer['position']) / rate:,.0f} s left" if rate else ""


def summary(writer: Mapping[str, Any], elapsed_s: float, found: int | None = None) -> str:
    """Return the summary of a finished file; `found` samples of it were there before."""
    samples, size = int(writer["samples"]), int(writer["bytes"])
    if writer.get("found_finished") and found is None:
        return f"{writer['output']} was finished already, with {samples:,} samples; --force writes it again"
    plain = samples * int(writer["sample_bytes"])
    written = samples - (int(writer.get("resumed", 0)) if found is None else found)
    lines = [
        f"{writer['output']}: {samples:,} samples of stream {writer['stream']!r}",
        f"{size / 1e6:,.1f} MB on disk, {plain / 1e6:,.1f} MB of samples: compression ratio {plain / max(1, size):.2f}",
        f"{written:,} of them in {elapsed_s:,.1f} s: {written / max(elapsed_s, 1e-9):,.0f} samples/s",
    ]
    if quarantined := int(writer["quarantined"]):
        lines.append(
            f"{several(quarantined, 'item')} quarantined: the file's `quarantine` group names them and says why"
        )
    return "\n".join(lines)
