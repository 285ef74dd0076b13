"""Supervised processes: what is said of those that cannot live."""

import sys
from pathlib import Path

import psutil
import pytest

from penstock.launcher.forked import ForkServer
from penstock.launcher.service_command import service_command
from penstock.launcher.spare import can_fork
from penstock.launcher.supervisor import Supervisor, start_command
from penstock.protocol.errors import DeadlineError


def test_who_waits_in_vain_is_told_what_dies_all_the_time(tmp_path: Path) -> None:
    """A wait that ends at its deadline names the process that died again and again, its last words, and no other."""
    supervisor = Supervisor(lambda _name, _why: None, tmp_path, start_command)
    supervisor.add("sink", [sys.executable, "-c", "raise SystemExit('no such luck')"])
    supervisor.add("worker-0", [sys.executable, "-c", "import signal; signal.pause()"])
    try:
        supervisor.wait(lambda: supervisor.children["sink"].restarts > 1, 60.0, "the sink to die twice")
        with pytest.raises(
            DeadlineError, match=r"(?s)waited 0.1 s for luck; sink died \d+ times: .*no such luck"
        ) as told:
            supervisor.wait(lambda: False, 0.1, "luck")
    finally:
        supervisor.stop(first="worker")
    assert "worker-0" not in str(told.value)


@pytest.mark.skipif(not can_fork(), reason="services are forked on Linux only")
def test_what_cannot_be_ended_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop returns although the status of a killed process never comes, as from a fork server that stands still."""
    monkeypatch.setattr("penstock.launcher.supervisor._DRAIN_S", 0.1)
    monkeypatch.setattr("penstock.launcher.supervisor._KILLED_S", 0.1)
    server = ForkServer()
    supervisor = Supervisor(lambda _name, _why: None, tmp_path, server.start)
    supervisor.add("worker-0", service_command("worker", {"ventilator": f"ipc://{tmp_path}/none"}))
    parent = psutil.Process(supervisor.children["worker-0"].process.pid).parent()
    assert parent
    parent.suspend()
    supervisor.stop(first="worker")
    server.close()
    assert not parent.is_running()


def test_a_wait_looks_again_at_a_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for is asked, which costs something, once there is a sign of it, and without one now and then."""
    monkeypatch.setattr("penstock.launcher.supervisor._LOOK_S", 60.0)
    supervisor = Supervisor(lambda _name, _why: None, tmp_path, start_command)
    asked, signs = list[int](), iter([False, False, True])

    def condition() -> bool:
        asked.append(len(asked))
        return len(asked) > 1

    supervisor.wait(condition, 60.0, "luck", lambda: next(signs))
    assert 2 == len(asked)
    assert None is next(signs, None)
    supervisor.stop(first="worker")
