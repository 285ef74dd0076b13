"""What the cluster runs in ends with the tests, however these end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from kubernetes.cluster import PROGRAMS
from support.streams import gone

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

#: Makes namespaces within namespaces, with a program in each, and tells their processes.
PROGRAM = """
import os, sys
from pathlib import Path
import psutil
from kubernetes.namespaces import Namespaces
folder, pause = map(Path, sys.argv[1:])
with Namespaces("outer", folder, pause, os.environ["PATH"]) as outer:
    outer.start("sleep", "1000")
    with Namespaces("inner", folder, pause, os.environ["PATH"], inside=outer) as inner:
        inner.start("sleep", "1000", name="sleep-2")
        inner.run("mount", "-t", "tmpfs", "tmpfs", "/mnt")
        print(*(each.pid for each in psutil.Process().children(recursive=True)), flush=True)
        try:
            sys.stdin.read()
        except KeyboardInterrupt:
            pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left(number: signal.Signals, root: Path, programs: None, tmp_path: Path) -> None:
    """Ctrl-C or a kill of who made it: every process of it ends, and no mount was ever seen outside."""
    del programs
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(PROGRAMS / "bin" / "pause")]
    environment = {**os.environ, "PYTHONPATH": str(root / "tests")}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as made:
        assert made.stdout is not None
        inside = [psutil.Process(int(pid)) for pid in made.stdout.readline().split()]
        assert 2 == [each.name() for each in inside].count("sleep")
        assert "tmpfs /mnt " not in Path("/proc/mounts").read_text(encoding="utf-8")
        made.send_signal(number)
        gone(inside)
