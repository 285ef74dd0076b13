"""What is said while a file is written, and in the end."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from penstock.commands.write_display import Display, summary

STATUS: dict[str, Any] = {
    "state": "writing",
    "why": "",
    "output": "patches.h5",
    "stream": "train",
    "samples": 500,
    "position": 600,
    "in_flight": 100,
    "total": 2000,
    "quarantined": 0,
    "held_up_by_writer": False,
}


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        """Begin at 100 s."""
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the display's clock."""
    clock = Clock()
    monkeypatch.setattr("penstock.commands.write_display.time", clock)
    return clock


def test_plain_lines_come_now_and_then_with_rate_and_time_left(clock: Clock) -> None:
    """At every change of state, and every ten seconds: what a log file can hold."""
    said = StringIO()
    with Display("patches.h5", Console(file=said, force_terminal=False)) as display:
        display.show({})
        for _ in range(50):
            clock.now += 0.5
            display.show(STATUS | {"samples": 500 + int(100 * (clock.now - 100)), "position": 1400})
        display.show(STATUS | {"state": "finishing", "together": 0.5, "samples": 2000, "position": 2000})
    lines = said.getvalue().splitlines()
    assert "listing the source: 0 samples" == lines[0]
    assert "writing patches.h5: 550 samples, 70 %" == lines[1]
    assert "writing patches.h5: 1,550 samples, 70 %, 6 s left, 100 samples/s" == lines[2]
    assert "putting patches.h5 together: 2,000 samples, 100 %" in lines[-1]
    assert 5 == len(lines)


def test_a_slow_and_a_full_disk_are_named(clock: Clock) -> None:
    """Who looks at the bar knows why it stands."""
    said = StringIO()
    with Display("patches.h5", Console(file=said, force_terminal=False)) as display:
        display.show(STATUS | {"held_up_by_writer": True})
        clock.now += 11
        display.show(STATUS | {"why": "patches.h5: No space left on device"})
    assert "writing patches.h5 (the disk is slow): 500 samples" in said.getvalue()
    assert "waiting: patches.h5: No space left on device" in said.getvalue()


def test_a_terminal_gets_a_bar(clock: Clock) -> None:
    """With share and rate."""
    said = StringIO()
    with Display("patches.h5", Console(file=said, force_terminal=True, width=100)) as display:
        display.show(STATUS)
        clock.now += 5
        display.show(STATUS | {"samples": 1000, "position": 1100})
        display._bar.refresh()
    assert "50 %" in said.getvalue()
    assert "100 samples/s" in said.getvalue()


def test_the_summary_says_counts_size_rate_and_ratio() -> None:
    """And where the quarantined items are named; only what this run wrote counts for the rate."""
    status = STATUS | {"samples": 2000, "bytes": 4_000_000, "sample_bytes": 6000, "resumed": 1000, "quarantined": 3}
    lines = summary(status, 10.0).splitlines()
    assert "patches.h5: 2,000 samples of stream 'train'" == lines[0]
    assert "4.0 MB on disk, 12.0 MB of samples: compression ratio 3.00" == lines[1]
    assert "1,000 of them in 10.0 s: 100 samples/s" == lines[2]
    assert lines[3].startswith("3 items quarantined")
    assert "finished already" in summary(status | {"found_finished": True}, 1.0)
    assert "1,900 of them in 1.0 s" in summary(status | {"found_finished": True}, 1.0, 100), (
        "its sink came back at the end"
    )


def test_a_sink_that_comes_back_does_not_run_backwards(clock: Clock) -> None:
    """The rate is taken anew, and what was there before this command is remembered."""
    said = StringIO()
    with Display("patches.h5", Console(file=said, force_terminal=False)) as display:
        display.show(STATUS | {"resumed": 500})
        clock.now += 11
        display.show({"state": "opening"})
        clock.now += 11
        display.show(STATUS | {"samples": 400, "resumed": 400})
        clock.now += 11
        display.show(STATUS | {"samples": 1500, "resumed": 400})
        assert 500 == display.found
    assert "-" not in said.getvalue()
    assert "100 samples/s" in said.getvalue()
