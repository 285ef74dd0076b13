"""A spinner for work of unknown length, on standard error if that is a terminal."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Column

from penstock.terminal.console import PlainColumn, PlainConsole


@contextmanager
def waiting(what: str) -> Generator[Callable[[str], None]]:
    """Show `what` and for how long it goes on, on standard error if that is a terminal; yields what changes `what`."""
    console = PlainConsole(stderr=True)
    # The text takes as many lines as it needs.
    columns = (
        SpinnerColumn(),
        TimeElapsedColumn(Column(no_wrap=True)),
        PlainColumn("{task.description}", table_column=Column(overflow="fold")),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda text: progress.update(task, description=text)
