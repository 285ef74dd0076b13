"""The output of `penstock demo`: a line for each part that has started, a bar an epoch, a summary."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID
from rich.table import Table
from rich.text import Text

from penstock.launcher.stack import LocalStack
from penstock.protocol.runtime.printable import printable
from penstock.terminal.console import PlainColumn, PlainConsole
from penstock.ventilator.monitoring.verdict import Evidence, judge

#: Lines of the quarantine ledger that are shown.
_SHOWN = 5


class Display:
    """The live part; a context manager while epochs run."""

    def __init__(self, console: PlainConsole, epochs: int) -> None:
        """Start without a display."""
        self.console, self.epochs = console, epochs
        self._batches = 0
        self._bars: dict[int, TaskID] = {}
        self._waiting = console.waiting("importing TensorFlow")
        self._progress = Progress(
            PlainColumn("  {task.description}"),
            BarColumn(bar_width=14),
            MofNCompleteColumn(),
            PlainColumn("{task.fields[facts]}"),
            console=console,
        )

    def __enter__(self) -> Self:
        """Wait for TensorFlow."""
        self._waiting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        self._waiting.stop()
        self._progress.stop()

    def say(self, what: str, text: str) -> None:
        """Print a line."""
        self.console.print(Text.assemble((f"  {what:<10} ", "bold"), printable(text)))

    def show(self, report: Mapping[str, Any]) -> None:
        """Show a report of the training process."""
        match report["event"]:
            case "imported":
                self.say("trainer", f"TensorFlow {report['version']}, imported in {report['seconds']:.1f} s")
                self._waiting.update(Text("building the network"))
            case "training":
                self._batches = report["batches"]
                self._waiting.stop()
                self._progress.start()
            case "epoch":
                name = f"epoch {report['epoch'] + 1}/{self.epochs}"
                self._bars[report["epoch"]] = self._progress.add_task(name, total=self._batches, facts="compiling")
            case "batch":
                facts = _facts(report) + f" {report['rate']:>5,.0f} images/s  waits {report['waits']:.0%}"
                self._progress.update(self._bars[report["epoch"]], completed=report["batch"], facts=facts)
            case "epoch_end":
                facts = _facts(report) + f"  held out {report['val_accuracy']:.0%}"
                bar = self._bars[report["epoch"]]
                self._progress.update(bar, facts=facts)
                if not self.console.is_terminal:
                    self.console.print(f"  epoch {report['epoch'] + 1}/{self.epochs}: {facts}")
            case _:  # the last report is the summary's
                pass


def _facts(report: Mapping[str, Any]) -> str:
    return f"loss {report['loss']:.2f}  accuracy {report['accuracy']:>3.0%}"


def summarise(console: PlainConsole, stack: LocalStack, done: Mapping[str, Any]) -> None:
    """Print the summary: the training process's last report, and the stack's own figures."""
    console.print()
    waits = done["waited_s"] / max(done["trained_s"], 1e-9)
    spent = stack.status()["ventilator"].get("streams", {}).get("train", {}).get("spent", {})
    facts = Table.grid(padding=(0, 2))
    rate = done["samples"] / max(done["trained_s"], 1e-9)
    facts.add_row(Text("speed", "bold"), f"{rate:,.0f} images/s trained on, the first step (which compiles) left out")
    facts.add_row(Text("verdict", "bold"), judge(_evidence(done, waits, spent, stack.workers)).sentence)
    if total := sum(spent.values()):
        shares = ", ".join(f"{name.removesuffix('_s')} {seconds / total:.0%}" for name, seconds in spent.items())
        facts.add_row(Text("workers", "bold"), f"{total:.1f} s of work: {shares}")
    held_out, classes = done["accounts"]["validation"][-1]["delivered"], done["classes"]
    facts.add_row(
        Text("accuracy", "bold"), f"{done['accuracy']:.1%} of {held_out} held-out images; chance is {1 / classes:.0%}"
    )
    console.print(facts)
    console.print()
    console.print(_accounts(done["accounts"]))
    if stack.quarantine.exists() and (lines := stack.quarantine.read_text(encoding="utf-8").splitlines()):
        console.print(f"\n{len(lines)} lines of the quarantine ledger, first {min(_SHOWN, len(lines))}:")
        for line in lines[:_SHOWN]:
            console.print(line)


def _evidence(done: Mapping[str, Any], waits: float, spent: Mapping[str, float], workers: int) -> Evidence:
    """Return the figures of the whole run, without the first step."""
    return Evidence(
        seconds=done["trained_s"],
        wait_fraction=waits,
        trainers=1,
        workers=workers,
        items=done["samples"],
        delivered=done["samples"],
        read_s=spent.get("read_s", 0.0),
        make_s=spent.get("decode_s", 0.0) + spent.get("transform_s", 0.0),
        send_s=spent.get("send_s", 0.0),
    )


def _accounts(accounts: Mapping[str, list[Mapping[str, int]]]) -> Table:
    table = Table("stream", "epoch", box=None, title="every sample accounted for", title_justify="left", pad_edge=False)
    for name in ("delivered", "+ quarantined", "+ dropped", "= expected", ""):
        table.add_column(name, justify="right")
    for stream, epochs in accounts.items():
        for account in epochs:
            counts = [account[name] for name in ("delivered", "quarantined", "dropped", "expected")]
            right = Text("yes", "green") if sum(counts[:3]) == counts[3] else Text("NO", "red")
            table.add_row(stream, str(account["epoch"] + 1), *(f"{count:,}" for count in counts), right)
    return table
