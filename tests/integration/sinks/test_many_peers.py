"""Services with more peers, or tasks, than one turn of their loops handles."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.services import many_peers

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("service", ["ventilator", "sink"])
def test_peers_are_not_lost_while_their_heartbeats_wait_to_be_read(service: str, tmp_path: Path) -> None:
    """Whatever the clock says after a standstill; those that say nothing are lost in time."""
    program = [sys.executable, "-P", many_peers.__file__, service, str(tmp_path)]
    assert_fine(program)


def test_more_tasks_than_one_turn_leases_come_to_workers_without_waiting(tmp_path: Path) -> None:
    """The loop turns again by itself, though no message comes."""
    assert_fine([sys.executable, "-P", many_peers.__file__, "leasing", str(tmp_path)])


def assert_fine(program: list[str]) -> None:
    """Run a program that says so at its end."""
    found = subprocess.run(program, capture_output=True, text=True, timeout=many_peers.DEADLINE_S, check=False)
    assert "fine\n" == found.stdout, found.stderr
