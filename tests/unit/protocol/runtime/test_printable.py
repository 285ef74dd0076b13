"""Text of unknown origin cannot act on a terminal, in log lines either."""

import io
import sys

import pytest

from penstock.protocol.runtime.log import configure, library_logger
from penstock.protocol.runtime.printable import printable, say

HOSTILE = "cat/\x1b[2J\x9b31m\r\u202e.jpg"
SPELT = r"cat/\x1b[2J\x9b31m\r\u202e.jpg"


def test_what_cannot_be_printed_is_spelt_out() -> None:
    """Letters of every script stay, and so do lines where they are wanted."""
    assert SPELT == printable(HOSTILE)
    assert "ä 猫 ✓" == printable("ä 猫 ✓")
    assert "a\nb\\t" == printable("a\nb\t", keep="\n")
    assert r"\udcff" == printable("\udcff")


def test_lines_of_ours_stay_and_names_in_them_are_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    """As the last words of `penstock write` are printed."""
    say(f"{HOSTILE}:\n2 samples")
    assert f"{SPELT}:\n2 samples\n" == capsys.readouterr().out


def test_a_log_line_for_people_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in what happened nor in its facts; a traceback keeps its lines."""
    log = configure("worker", "info", "console")
    log.info(HOSTILE, path=HOSTILE)
    try:
        int(HOSTILE)
    except ValueError:
        log.error("failed", exc_info=True)  # noqa: G201 - ours has no `exception`
    text = capsys.readouterr().err
    assert 2 <= text.count(SPELT)
    assert "Traceback (most recent call last):\n" in text
    assert not {"\x1b[2J", "\x9b", "\r", "\u202e"} & {text[place : place + 4] for place in range(len(text))}
    assert "\x9b" not in text


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_log_line_that_cannot_be_written_is_dropped(monkeypatch: pytest.MonkeyPatch, stream: str | None) -> None:
    """A program whose standard error is closed goes on."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed if stream else None)
    library_logger("feed").info("joined")
