"""Interrupts of commands: once into the work, never into the cleaning up, and always the right exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

#: A command that is interrupted where INTERRUPT stands, in a process of its own: signals are for main threads.
PROGRAM = """
import os, signal, sys
from contextlib import ExitStack, suppress
from penstock.terminal.interrupts import Interrupts, interrupted

def interrupt():
    os.kill(os.getpid(), signal.{signal})

interrupts = Interrupts()
with suppress(KeyboardInterrupt), ExitStack() as cleanup, interrupts.armed():
    cleanup.callback(print, "cleaned up")
    cleanup.callback(lambda: {cleanup})
    {work}
    print("worked")
sys.exit(interrupted(interrupts.status) if interrupts.seen else 0)
"""


def run(folder: Path, work: str = "pass", cleanup: str = "None", signal: str = "SIGINT") -> tuple[int, str]:
    """Return exit status and output of `python -m program`."""
    (folder / "program.py").write_text(PROGRAM.format(work=work, cleanup=cleanup, signal=signal), encoding="utf-8")
    command = [sys.executable, "-m", "program"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert "" == done.stderr
    return done.returncode, done.stdout.replace("\n", " ").strip()


@pytest.mark.parametrize(
    ("work", "cleanup", "expected"),
    [
        ("pass", "None", (0, "worked cleaned up")),
        ("interrupt()", "None", (130, "cleaned up")),
        ("exec('interrupt()')", "None", (130, "cleaned up")),
        ("interrupt()", "interrupt()", (130, "cleaned up")),
        ("pass", "interrupt()", (130, "worked cleaned up")),
    ],
    ids=["never", "at work", "in exec", "at work and in the cleaning up", "in the cleaning up"],
)
def test_an_interrupt_ends_the_work_and_never_the_cleaning_up(
    tmp_path: Path, work: str, cleanup: str, expected: tuple[int, str]
) -> None:
    """Whenever it comes, everything is cleaned up, there is no traceback, and the status is 130."""
    assert expected == run(tmp_path, work, cleanup)


@pytest.mark.parametrize(("signal", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_other_signals_that_ask_to_end_do_the_same(tmp_path: Path, signal: str, status: int) -> None:
    """With their own exit status."""
    assert (status, "cleaned up") == run(tmp_path, "interrupt()", signal=signal)


def test_a_signal_before_the_work_keeps_it_from_beginning(tmp_path: Path) -> None:
    """One that came before the block was entered is not lost."""
    program = "import os, signal\nfrom penstock.terminal.interrupts import Interrupts\ninterrupts = Interrupts()\n"
    program += "os.kill(os.getpid(), signal.SIGINT)\ntry:\n    with interrupts.armed(): print('worked')\n"
    program += "except KeyboardInterrupt: print('did not')\n"
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "did not\n" == done.stdout


#: A class whose making is interrupted: CPython turns that into RuntimeError, before 3.12.
HELD = """
import os, signal
from penstock.terminal.interrupts import held

class Interrupted:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGINT)

try:
    with held():
        class Owner:
            attribute = Interrupted()
        print("imported")
    print("never")
except KeyboardInterrupt:
    print("interrupted")
with held():
    print("not again")
"""


def test_an_interrupt_waits_until_what_is_imported_is_whole(tmp_path: Path) -> None:
    """It is raised once, as KeyboardInterrupt, where nothing makes another error of it; then Ctrl-C works as before."""
    (tmp_path / "program.py").write_text(HELD, encoding="utf-8")
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert ["imported", "interrupted", "not again"] == done.stdout.split("\n")[:-1]


def test_an_interrupt_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As in the background of a shell script."""
    program = HELD.replace("try:", "signal.signal(signal.SIGINT, signal.SIG_IGN)\ntry:")
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert ["imported", "never", "not again"] == done.stdout.split("\n")[:-1]
