"""Penstock's commands as processes: start them, end them, read their words and their health."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.streams import DEADLINE_S, INTERVALS

pytestmark = pytest.mark.integration

PENSTOCK = str(Path(sys.executable).with_name("penstock"))
FAST = [f"--{name.replace('_', '-')}={value}" for name, value in INTERVALS.items()]


@contextmanager
def running(*commands: Sequence[str], env: dict[str, str] | None = None) -> Generator[list["subprocess.Popen[str]"]]:
    """Run commands side by side, each in a session of its own as in a terminal; none is left behind."""
    processes = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | (env or {}),
        )
        for command in commands
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()


def said(process: "subprocess.Popen[str]") -> str:
    """Return all that a process said, which has ended."""
    assert process.stdout
    return process.stdout.read()


def refused(*command: str, env: dict[str, str] | None = None) -> str:
    """Run a command that cannot run; return its words, which are no traceback, and check its status."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | (env or {})
    )
    assert 2 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    return "\n".join(line for line in done.stderr.splitlines() if not line.startswith("{"))


def ask(port: int) -> tuple[int, dict[str, Any]]:
    """Return status and content of a health check over TCP; (0, {}) without an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=DEADLINE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


#: A ventilator on a machine that is busy with other things while it makes its pages.
