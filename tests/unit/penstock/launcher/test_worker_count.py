"""How many workers a local stack runs: what may be said, and what is refused."""

import numpy as np
import pytest

from penstock.launcher.worker_count import WorkerCount
from penstock.protocol.errors import SpecError
from penstock.protocol.runtime.cores import usable_cores

CORES = len(usable_cores())


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (None, WorkerCount(CORES)),
        (3, WorkerCount(3)),
        (0, WorkerCount(0)),
        (np.int64(2), WorkerCount(2)),
        ("4", WorkerCount(4)),
        ("auto", WorkerCount(CORES, (1, CORES))),
        ((1, 1), WorkerCount(1, (1, 1))),
        ([0, 1], WorkerCount(1, (0, 1))),
        ("900-1000", WorkerCount(900, (900, 1000))),
        (("1", "2"), None),
        ((2, 1), None),
        ((0, 0), None),
        ((1, 2, 3), None),
        ("many", None),
        ("-1", None),
        (-1, None),
        (2.5, None),
        (True, None),
        ((1, True), None),
    ],
)
def test_a_number_of_workers_is_read_or_refused(given: object, count: WorkerCount | None) -> None:
    """A number, "auto" and bounds are read, as text too; all else is refused with the value quoted."""
    if count is None:
        with pytest.raises(SpecError, match="workers = "):
            WorkerCount.of(given)
    else:
        assert count == WorkerCount.of(given)


def test_a_stack_that_scales_by_itself_starts_with_one_worker_per_core_within_its_bounds() -> None:
    """No more than the most, and no fewer than the least."""
    assert CORES == WorkerCount.of((1, CORES + 50)).first
    assert CORES + 3 == WorkerCount.of((CORES + 3, CORES + 50)).first


def test_the_ventilator_gets_the_bounds() -> None:
    """Only a stack that scales by itself has some."""
    assert {"workers_least": 2, "workers_most": 8} == WorkerCount.of("2-8").settings
    assert {} == WorkerCount.of(2).settings
