"""`penstock up`: Ctrl-C, kills and wrong settings leave nothing behind."""

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from support.services.running import PENSTOCK, refused, running, said
from support.streams import DEADLINE_S, gone, make_spec, take, until

import penstock
from penstock.protocol.errors import SpecError
from penstock.protocol.runtime.settings import parse
from penstock.sink.settings import SinkSettings

pytestmark = pytest.mark.integration


def up(spec_file: str, folder: Path, *more: str) -> list[str]:
    """Return the command of a stack that meets in a folder, without a dashboard, whose port others may want."""
    flags = [f"--{name}=ipc://{folder}/{name}.sock" for name in ("ventilator", "results", "trainers")]
    return [PENSTOCK, "up", spec_file, "--workers", "2", "--dashboard", "", *flags, *more]


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return a process and all that it started."""
    top = psutil.Process(process.pid)
    return [top, *top.children(recursive=True)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_behind(number: signal.Signals, spec_file: str, tmp_path: Path) -> None:
    """While a trainer reads: no process and no socket file is left, the status is 0, and no traceback."""
    with (
        running(up(spec_file, tmp_path)) as [process],
        penstock.connect(f"ipc://{tmp_path}/trainers.sock") as feed,
    ):
        take(feed, 5)
        # Four services, the process that starts them, and the command; one worker is enough for five batches.
        until(lambda: 6 == len(family(process)), "all services to be there")
        processes = family(process)
        process.send_signal(number)
        assert 0 == process.wait(DEADLINE_S)
        gone(processes)
        assert "Traceback" not in said(process)
    assert [] == list(tmp_path.iterdir())


def test_ctrl_c_while_the_stack_starts_leaves_nothing_behind(spec_file: str, tmp_path: Path) -> None:
    """Also before anything is ready."""
    with running(up(spec_file, tmp_path)) as [process]:
        until(lambda: len(family(process)) > 1, "the first service")
        processes = family(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) in (0, 130)
        gone(processes)
        assert "Traceback" not in said(process)
    assert [] == list(tmp_path.iterdir())


def test_services_leave_when_their_parent_is_killed(spec_file: str, tmp_path: Path) -> None:
    """No process is left to stop them: they notice, within seconds."""
    with (
        running(up(spec_file, tmp_path)) as [process],
        penstock.connect(f"ipc://{tmp_path}/trainers.sock") as feed,
    ):
        take(feed, 3)
        children = family(process)[1:]
        process.kill()
        gone(children)


def test_up_says_in_words_why_it_cannot_run(tmp_path: Path) -> None:
    """What a service said in words is what the command says."""
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(make_spec(tmp_path / "none")))
    words = refused(*up(str(spec), tmp_path, "--run-dir", str(tmp_path / "run")))
    assert f"{tmp_path}/none" in words


def test_settings_errors_name_the_command() -> None:
    """The same words whether a command or a program asked."""
    with pytest.raises(SpecError, match="penstock sink: --silence-s '-1'"):
        parse(SinkSettings, ["--silence-s", "-1"], "sink")
