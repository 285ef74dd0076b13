"""What a command shows on a terminal while something takes its time whose end nobody can foretell."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column


@contextmanager
def waiting(what: str) -> Generator[Callable[[str], None]]:
    """Show `what` and for how long it goes on, on standard error if that is a terminal; yields what changes `what`."""
    console = Console(stderr=True)
    # The text takes as many lines as it needs.
    columns = (
        SpinnerColumn(),
        TimeElapsedColumn(Column(no_wrap=True)),
        TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda text: progress.update(task, description=text)
