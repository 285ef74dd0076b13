"""`protocol/runtime/log.py`: one style of lines for all that a process says."""

import io
import json

import pytest

from penstock.protocol.runtime import log as logs


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what loggers write to, in a process that was not configured yet."""
    written = io.StringIO()
    monkeypatch.setattr(logs, "_ERRORS", written)
    monkeypatch.setattr(logs, "_styles", [])
    return written


def test_the_library_logs_in_the_style_of_its_process(said: io.StringIO) -> None:
    """In a container the trainer's own lines and those of its feed look the same: time, event, values."""
    logs.configure("trainer", "info", "plain")
    logs.library_logger("trainer", stream="train").warning("subscribing again", position=0)
    assert "warning: subscribing again stream=train position=0" == said.getvalue().strip().split(" ", 1)[1]


def test_the_library_logs_json_where_nothing_was_configured(said: io.StringIO) -> None:
    """And no terminal is there: a user's program gets lines that machines can read."""
    logs.library_logger("trainer").info("joined")
    assert "joined" == json.loads(said.getvalue())["event"]
