"""A run of a benchmark may fork, as PyTorch's DataLoader does, while it listens for orders."""

from pathlib import Path

import pytest

from penstock.terminal.child_process import ReportingProcess

_PROGRAM = """
import multiprocessing
from penstock.terminal.child_process import obey

def carry_out(order, report):
    child = multiprocessing.get_context("fork").Process(target=print, daemon=True)
    child.start()
    child.join(order["wait_s"])
    report("done", status=child.exitcode)

if __name__ == "__main__":
    obey(carry_out)
"""


def test_a_forked_process_does_not_wait_for_the_reader_of_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes standard input as it begins: that must not be the one that a thread of its parent reads."""
    (tmp_path / "forking_program.py").write_text(_PROGRAM, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with ReportingProcess("forking_program", "forking", tmp_path / "log") as process:
        process.order(wait_s=30.0)
        assert [{"event": "done", "status": 0}] == list(process.reports())
