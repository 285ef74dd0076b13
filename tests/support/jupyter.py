"""Runs the cells of a notebook in a real kernel, as Jupyter does."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbclient
import nbformat

#: Seconds that one cell may take.
CELL_S = 180


@contextmanager
def kernel(notebook: Any, places: Path) -> Generator[Any]:
    """Yield a client whose kernel runs; afterwards it is shut down, and its temporary folder must be empty."""
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_S, kernel_name="python3", resources={"metadata": {"path": str(places / "work")}}
    )
    with client.setup_kernel():
        yield client
    left = [path.name for path in (places / "temp").iterdir() if path.name.startswith("penstock")]
    assert [] == left


def run(client: Any, source: str) -> str:
    """Run a cell; return the text of all its outputs."""
    cell: Any = nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call]
    client.nb.cells.append(cell)
    return shown(client.execute_cell(cell, len(client.nb.cells) - 1))


def shown(cell: Any) -> str:
    """Return what a cell shows: printed text, representations and errors."""
    parts = []
    for output in cell.outputs:
        parts += [output.get("text", ""), output.get("ename", ""), *output.get("data", {}).values()]
    return "\n".join(parts)
