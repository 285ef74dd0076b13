"""Services with more peers than one turn of their loops reads."""

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
    found = subprocess.run(program, capture_output=True, text=True, timeout=many_peers.DEADLINE_S, check=False)
    assert "fine\n" == found.stdout, found.stderr
