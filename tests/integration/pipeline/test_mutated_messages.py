"""Mutated messages over every socket, workers' and trainers' included: none ends a service or holds it up."""

from pathlib import Path

import pytest
from support.mutations.attack import attack_everything
from support.mutations.faults import every_fault
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


@pytest.mark.long
def test_attacks_that_once_ended_or_swelled_services_do_no_more(tmp_path: Path) -> None:
    """One of each kind: nothing restarts, trainers get their bytes, and memory grows by little; docs/security.md."""
    found = list(every_fault(tmp_path))
    assert {1, 3, 4, 5, 6, 7, 8, 9} == {fault.number for fault in found}
    for fault in found:
        assert fault.grew_mb < (900 if fault.now == "decoded" else 100), fault
        assert fault.waited_s < 5, fault
    [budget] = [fault for fault in found if fault.number == 5]
    assert "4 of 4 runs stop, after 33, 33, 33, 33 failures in all" == budget.now
