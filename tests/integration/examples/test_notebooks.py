"""The notebooks of `examples/`, executed by a real kernel as Jupyter does, and what a kernel leaves behind."""

import importlib
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.long]
NOTEBOOKS = ["own_folder.ipynb", "spec_in_a_notebook.ipynb"]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Yield a folder whose `temp` is the kernel's temporary folder. Its path is short: sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="p") as folder:
        top = Path(folder)
        for name, value in (("TMPDIR", "temp"), ("IPYTHONDIR", "ipython"), ("JUPYTER_RUNTIME_DIR", "runtime")):
            (top / value).mkdir()
            monkeypatch.setenv(name, str(top / value))
        monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        (top / "work").mkdir()
        yield top


@pytest.fixture
def jupyter() -> Any:
    """Return the helpers that run cells; imported here: every run collects this file, and Jupyter is large."""
    for name in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(name, reason="NOT TESTED: nbclient and ipykernel are not installed")
    return importlib.import_module("support.jupyter")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(root: Path, places: Path, jupyter: Any, name: str) -> None:
    """As it stands, without a warning or an error; it is kept without outputs."""
    notebook = jupyter.nbformat.read(root / "examples" / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    with jupyter.kernel(notebook, places) as client:
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    pages = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert any("data:image/png;base64," in page for page in pages)
    assert "running in" in pages[0]
    assert "stopped" in pages[-1]


def test_cells_may_run_twice_and_be_interrupted(places: Path, jupyter: Any) -> None:
    """A stack is replaced, also while a cell's output shows it; an interrupt loses no batch; nothing is left behind."""
    run = jupyter.run
    notebook = jupyter.nbformat.v4.new_notebook()
    with jupyter.kernel(notebook, places) as client:
        run(client, "import numpy as np, os, penstock, signal, threading")
        run(client, "images = np.zeros((40, 8, 8, 3), np.uint8)")
        source = "{'kind': 'arrays', 'images': images}"
        stream = f"{{'source': {source}, 'transform': {{'resize': [8, 8]}}, 'batch_size': 4, 'shuffle': False}}"
        cell = f"stack = penstock.local({{'streams': {{'train': {stream}}}}}, workers=1).start(); stack"
        assert "running in" in run(client, cell)
        run(client, "older = stack")
        assert "running in" in run(client, cell)
        assert ": stopped>" in run(client, "older")
        run(client, "feed = stack.feed(); got = [next(iter(feed))['item'] for _ in range(3)]")
        run(client, "ask = lambda: os.kill(os.getpid(), signal.SIGINT)  # as Jupyter's button does")
        endless = "threading.Timer(0.5, ask).start()\nwhile True:\n    batch = feed.peek()['item']"
        with pytest.raises(jupyter.nbclient.exceptions.CellExecutionError, match="KeyboardInterrupt"):
            run(client, endless)
        run(client, "rest = [batch['item'] for batch in feed]")
        told = run(client, "print(np.array_equal(np.arange(40), np.concatenate([*got, *rest])))")
        assert "True" in told
