"""Supervised processes: what is said of those that cannot live."""

import sys
from pathlib import Path

import pytest

from penstock.launcher.supervisor import Supervisor, start_command
from penstock.protocol.errors import DeadlineError


def test_who_waits_in_vain_is_told_what_dies_all_the_time(tmp_path: Path) -> None:
    """A wait that ends at its deadline names the process that died again and again, and its last words."""
    supervisor = Supervisor(lambda _name, _why: None, tmp_path, start_command)
    supervisor.add("sink", [sys.executable, "-c", "raise SystemExit('no such luck')"])
    supervisor.add("worker-0", [sys.executable, "-c", "input()"])
    try:
        with pytest.raises(DeadlineError, match=r"(?s)waited 3.0 s for luck; sink died \d+ times: .*no such luck"):
            supervisor.wait(lambda: False, 3.0, "luck")
    finally:
        supervisor.stop(first="worker")
