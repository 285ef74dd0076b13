"""`penstock status` on a real terminal, before a real stack: it lives, notices losses, and leaves all as it was."""

import json
import os
import re
import signal
import socket
from collections.abc import Generator
from pathlib import Path

import pytest
from support.situations import Trainer
from support.streams import make_images, make_spec, run_stack, until
from support.terminal import CTRL_C, Terminal

from penstock.commands.status import main as status
from penstock.launcher.stack import LocalStack

pytestmark = pytest.mark.integration


@pytest.fixture
def stack(tmp_path: Path) -> Generator[LocalStack]:
    """Return a stack that trains, with a damaged file."""
    photos = make_images(tmp_path / "photos", each=40)
    (photos / "cat" / "0003.jpg").write_bytes(b"no image")
    with run_stack(make_spec(photos), workers=1) as running, Trainer(running.feed(), step_s=0.05):
        yield running


def test_the_live_view_follows_the_stack_until_ctrl_c(stack: LocalStack) -> None:
    """Verdict, flow, epoch and failures, anew each second; Ctrl-C ends it, without a traceback."""
    worker = stack.children["worker-0"]
    with Terminal("status", stack.addresses.ventilator) as terminal:
        for words in (
            r"ventilator ─ .* → 1 worker ─ .* → sink ─ .* → 1 trainer",
            r"train \d+ ",
            r"\d+ items? quarantined\b.*: \d+ decode",
        ):
            terminal.wait_for(words)
        terminal.wait_for(f"/{worker.process.pid} ")
        assert "\x1b[?25l" in terminal.shown, "a cursor would run over the picture"
        until(lambda: len(set(re.findall(r"train (\d+ \W* ?[\d,]+ of)", terminal.text()))) > 2, "the epoch to go on")

        terminal.press(CTRL_C)
        assert 130 == terminal.ended()
        assert "Traceback" not in terminal.shown
        assert terminal.is_as_before()


def test_a_story_leads_through_all_processes(stack: LocalStack, capsys: pytest.CaptureFixture[str]) -> None:
    """Leased, queued, arrived, delivered: the ventilator's address is enough. A process that is silent is named."""
    worker = f"worker .*/{stack.children['worker-0'].process.pid}"
    patterns = (
        "ventilator: leased to ",
        f"{worker}: queued at ",
        "sink: result of .* arrived",
        "trainer train, rank 0: ",
    )

    def told() -> list[str]:
        status([stack.addresses.ventilator, "--json", "--story", "train/0"])
        return [f"{event['service']}: {event['what']}" for event in json.loads(capsys.readouterr().out)]

    until(lambda: all(any(re.match(each, event) for event in told()) for each in patterns), "each process's part")

    sink = stack.children["sink"].process.pid
    os.kill(sink, signal.SIGSTOP)
    try:
        assert 0 == status([stack.addresses.ventilator, "--story", "train/0"])
    finally:
        os.kill(sink, signal.SIGCONT)
    lines = capsys.readouterr().out
    assert re.search(r"^ventilator +\d+\.\d+ s ago  leased to ", lines, re.MULTILINE), lines
    assert "sink and trainers: not included (no answer within 1 s)" in lines


@pytest.mark.long
def test_a_killed_worker_goes_and_comes_back_on_the_terminal(stack: LocalStack) -> None:
    """Its successor stands there under its own name, started again once."""
    worker = stack.children["worker-0"]
    with Terminal("status", stack.addresses.ventilator) as terminal:
        terminal.wait_for(f"/{worker.process.pid} ")
        killed = worker.process.pid
        os.kill(killed, signal.SIGKILL)
        until(lambda: worker.process.pid != killed, "its successor")
        terminal.wait_for(rf"/{worker.process.pid} [^/]*/ 3 [^/]* \d+ 1 \d+ items? quarantined")


@pytest.mark.long
def test_a_ventilator_that_falls_silent_is_said_to_and_comes_back(stack: LocalStack) -> None:
    """What was known stays on the screen, with words above it; nothing has to be started again."""
    ventilator = stack.children["ventilator"].process.pid
    with Terminal("status", stack.addresses.ventilator) as terminal:
        terminal.wait_for("1 worker")
        os.kill(ventilator, signal.SIGSTOP)
        try:
            asked = stack.addresses.ventilator
            terminal.wait_for(rf"No answer from {asked} for .* what you see is from then.*\d worker")
        finally:
            os.kill(ventilator, signal.SIGCONT)
        again = terminal.shown.rfind("No answer")
        terminal.wait_for(r"quarantined.*(Worker|Trainer|Window|Sink|Read)-bound.*quarantined", again)
        terminal.press(CTRL_C)
        assert 130 == terminal.ended()
        assert terminal.is_as_before()


@pytest.mark.parametrize("command", ["status", "quarantine"])
def test_who_waits_for_an_answer_sees_that_and_may_leave(command: str, tmp_path: Path) -> None:
    """A process listens and does not answer: it says for how long, and which address it asks, on several lines.

    Ctrl-C ends it.
    """
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(f"{tmp_path}/nobody")
        mute.listen()
        with Terminal(command, f"ipc://{tmp_path}/nobody", "--wait-s", "3600", columns=40) as terminal:
            terminal.wait_for(r"0:00:0\d asking")
            terminal.wait_for(r"\s*".join("nobody"))  # on two lines, if it is there that one ends
            terminal.press(CTRL_C)
            assert 130 == terminal.ended()
            assert "Traceback" not in terminal.shown
            assert terminal.is_as_before()
