"""Mutated messages over every socket, workers' and trainers' included: none ends a service or holds it up."""

from pathlib import Path

import pytest
from support.mutations.attack import attack_everything
from support.mutations.report import Report

pytestmark = pytest.mark.integration

SOCKETS = ["ventilator", "sink: results", "sink: trainers", "worker", "sink: ventilator", "trainer"]
#: Reasons that every socket has to give for some of a few hundred.
REASONS = {"header", "unexpected", "kind", "frames"}


def check(reports: list[Report], count: int) -> None:
    """Require that each socket got its share and refused most of it, and that no block took long to handle.

    Time is the service's processor time, which does not depend on what else the machine does.
    """
    assert SOCKETS == [report.target for report in reports]
    assert count == sum(report.sent for report in reports)
    for report in reports:
        assert report.block_cpu_s < 1, report
        assert sum(report.rejected.values()) > 0, report
        if report.target != "trainer":  # it connects again after some, and drops what is on its way to it
            assert set(report.rejected) >= REASONS, report
            assert sum(report.rejected.values()) > report.sent / 2, report


def test_mutated_messages_end_no_service(tmp_path: Path) -> None:
    """900 on every socket together; afterwards a trainer gets the same bytes as before."""
    check(list(attack_everything(900, 1, tmp_path, examples=2)), 900)


@pytest.mark.long
def test_many_mutated_messages_end_no_service(tmp_path: Path) -> None:
    """The same with 9,000; docs/security.md has the table of a million."""
    check(list(attack_everything(9_000, 2, tmp_path, examples=20)), 9_000)
