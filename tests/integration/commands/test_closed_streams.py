"""Commands whose standard streams are closed, full, or left by their reader: no traceback, no lost file."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.streams import make_images

from penstock.cli import COMMANDS

pytestmark = pytest.mark.integration

#: Redirections of a shell, and what the exit status is then.
CLOSED = {">&-": 0, "2>&-": 0, "<&-": 0, "<&- >&- 2>&-": 0, ">/dev/full": 1}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a spec's file."""
    folder = tmp_path_factory.mktemp("closed")
    photos = make_images(folder / "photos", each=3)
    file = folder / "spec.toml"
    source = 'source = {kind = "directory", root = "photos"}\nbatch_size = 4'
    resize = "transform = {resize = {height = 8, width = 8}}"
    file.write_text(f'roots = {{photos = "{photos}"}}\n[streams.train]\n{source}\n{resize}\n', encoding="utf-8")
    return file


def penstock(redirect: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command under a shell's redirection."""
    command = ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize("redirect", CLOSED)
def test_check_ends_well_whatever_stream_is_closed(spec: Path, redirect: str) -> None:
    """A full disk is told in words; what is closed on purpose is no error."""
    done = penstock(redirect, "check", str(spec))
    assert "Traceback" not in done.stdout + done.stderr
    assert CLOSED[redirect] == done.returncode
    if redirect == ">/dev/full":
        assert "penstock: standard output: No space left on device\n" == done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_ends_in_a_traceback_without_streams(command: str) -> None:
    """Its help, and its refusal of an unknown flag, go nowhere."""
    for redirect, argument, expected in ((">&-", "--help", 0), ("2>&-", "--no-such-flag", 2)):
        done = penstock(redirect, command, argument)
        assert "Traceback" not in done.stdout + done.stderr
        assert expected == done.returncode


def test_a_file_is_written_by_a_stack_without_streams(spec: Path, tmp_path: Path) -> None:
    """No service's socket or file gets the number of a closed stream and is printed into."""
    output = tmp_path / "o.h5"
    done = penstock("<&- >&- 2>&-", "write", str(spec), "-o", str(output), "--workers", "1")
    assert 0 == done.returncode
    inspected = penstock("", "inspect", str(output), "--json")
    assert '"samples": 6' in inspected.stdout


def test_a_reader_that_leaves_early_ends_the_command_quietly(spec: Path) -> None:
    """As `head` does."""
    done = penstock("| head -n 1", "check", str(spec))
    assert "stream train" in done.stdout
    assert "" == done.stderr
