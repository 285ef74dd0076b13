"""`penstock autoscale`: when the command is run, and what is refused."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from penstock.commands.autoscale import AutoscaleSettings, Follower, _run, main, serve
from penstock.protocol.errors import SpecError
from penstock.protocol.snapshot import Scaling


def test_the_command_is_due_when_another_number_is_wanted() -> None:
    """Not while the number is unknown, and not again while the workers that were asked for are on their way."""
    follower = Follower(0, 0)
    assert follower.due(Scaling(), 2, 0.0) is None
    assert follower.due(Scaling(wanted=2), 2, 1.0) is None
    assert 4 == follower.due(Scaling(wanted=4), 2, 2.0)
    follower.done(4, 3.0, failed=False)
    assert follower.due(Scaling(wanted=4), 3, 4.0) is None
    assert 5 == follower.due(Scaling(wanted=5), 3, 5.0)
    follower.done(5, 6.0, failed=False)
    assert follower.due(Scaling(wanted=5), 5, 7.0) is None


def test_workers_that_are_on_their_way_are_taken_back() -> None:
    """Four were asked for, two are here and two wait in a queue: where two are enough, the engine is told so.

    It is told until its command succeeds, and once.
    """
    follower = Follower(0, 0)
    follower.done(4, 0.0, failed=False)
    assert 2 == follower.due(Scaling(wanted=2), 2, 1.0)
    follower.done(2, 2.0, failed=True)
    assert 2 == follower.due(Scaling(wanted=2), 2, 10.0)
    follower.done(2, 11.0, failed=False)
    assert follower.due(Scaling(wanted=2), 2, 500.0) is None


def test_the_command_is_run_again_where_the_workers_do_not_come() -> None:
    """Nodes may have come meanwhile, or somebody has stopped workers by hand."""
    follower = Follower(0, 0)
    follower.done(4, 0.0, failed=False)
    assert follower.due(Scaling(wanted=4), 2, 119.0) is None
    assert 4 == follower.due(Scaling(wanted=4), 2, 121.0)


def test_a_command_that_fails_is_run_again_after_growing_pauses() -> None:
    """The pauses double up to a minute, and begin anew after a success."""
    follower, now, pauses = Follower(0, 0), 0.0, []
    for _ in range(8):
        assert 4 == follower.due(Scaling(wanted=4), 2, now)
        follower.done(4, now, failed=True)
        assert follower.due(Scaling(wanted=4), 2, follower.retry_at - 0.01) is None
        pauses.append(follower.retry_at - now)
        now = follower.retry_at
    assert [2, 4, 8, 16, 32, 60, 60, 60] == pauses
    follower.done(4, now, failed=False)
    assert 2 == follower.pause_s


def test_bounds_hold() -> None:
    """Whatever the ventilator wants."""
    follower = Follower(2, 6)
    assert 6 == follower.due(Scaling(wanted=9), 3, 0.0)
    assert 2 == follower.due(Scaling(wanted=0), 3, 0.0)
    assert follower.due(Scaling(wanted=9), 6, 0.0) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"apply": "docker service scale app_worker=4"}, r"--apply 'docker .*': write \{workers\} where"),
        ({"apply": "run 'it {workers}"}, r"--apply .*: No closing quotation"),
        ({"apply": "run {workers}", "least": 5, "most": 2}, r"--most 2 is below --least 5"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, object], says: str) -> None:
    """Before anything is asked or run."""
    with pytest.raises(SpecError, match=says):
        serve(AutoscaleSettings(address="tcp://127.0.0.1:1", **given))  # type: ignore[arg-type]


def test_the_command_line_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command there is nothing to run."""
    assert 2 == main([])
    assert "--apply" in capsys.readouterr().err


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """It is the user's mistake, and no reason to try again."""
    with pytest.raises(SpecError, match=r"--apply: .*none' cannot be run"):
        _run([str(tmp_path / "none")], 5.0)
    code = "import sys; print('quota exceeded', file=sys.stderr); sys.exit(3)"
    assert "ended with status 3: quota exceeded" in _run([sys.executable, "-c", code], 30.0)
    assert "took longer than 0 s" in _run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)


def test_workers_that_a_command_leaves_in_the_background_are_not_waited_for(tmp_path: Path) -> None:
    """They inherit where it prints, as from a script with `penstock worker … &`; the command itself has succeeded."""
    pid = tmp_path / "pid"
    try:
        assert "" == _run(["sh", "-c", 'sleep 600 & echo $! > "$0"', str(pid)], 30.0)
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("where", "number", "says"),
    [
        ((subprocess, "run"), errno.EAGAIN, "'run' cannot be run: Resource temporarily unavailable"),
        ((tempfile, "TemporaryFile"), errno.ENOSPC, "'run' prints needs temporary files: No space left on device"),
    ],
)
def test_a_busy_machine_is_no_mistake_of_the_user(
    monkeypatch: pytest.MonkeyPatch, where: tuple[object, str], number: int, says: str
) -> None:
    """The command is run again after a pause where there is no room for its process, or for what it prints."""

    def no_room(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*where, no_room)
    assert says in _run(["run", "4"], 5.0)


def test_what_it_prints_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what it does, in words; an option that changes nothing would promise something."""
    with pytest.raises(SystemExit, match="2"):
        main(["--apply", "run {workers}", "--json"])
    assert "unrecognized arguments: --json" in capsys.readouterr().err
