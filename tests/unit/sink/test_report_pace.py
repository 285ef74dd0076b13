"""Reports to the ventilator are as frequent as they are needed and cheap."""

import pytest

from penstock.sink.report_pace import ReportPace


@pytest.mark.parametrize(("took_s", "pause_s"), [(0.0, 0.01), (0.0004, 0.01), (0.002, 0.04), (1.0, 0.1)])
def test_a_report_that_costs_more_is_followed_by_a_longer_pause(took_s: float, pause_s: float) -> None:
    """A pressing one comes after 10 ms, or twenty times what the last one took, and after 100 ms at the latest."""
    pace = ReportPace(5.0)
    pace.made(7.0, took_s)
    assert pytest.approx(7.0 + pause_s) == pace.due_at(pressing=True)
    assert pytest.approx(7.1) == pace.due_at(pressing=False)


def test_while_an_answer_is_owed_even_a_pressing_report_waits_a_while() -> None:
    """It would repeat the last one; but an answer may be lost, so it waits no longer than any report."""
    pace = ReportPace(5.0)
    pace.made(7.0, 0.0)
    assert pytest.approx(7.1) == pace.due_at(pressing=True, answered=False)
