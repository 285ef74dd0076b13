"""One segment and its loans, in processes that fork."""

import os

from penstock.protocol.transport.segments import Loan, Segment


def test_a_forked_process_releases_no_loan_of_its_parent() -> None:
    """The child's copy of a loan goes with the child; the parent's arrays are still in use."""
    segment = Segment.create(1000)
    segment.generation = 7
    held = [Loan(segment, 7, releases=True)]
    pid = os.fork()
    if pid == 0:
        held.clear()  # as the collector does, or the end of a function
        os._exit(0 if segment.released == 0 else 1)
    assert 0 == os.waitpid(pid, 0)[1]
    assert 0 == segment.released
    held.clear()
    assert 7 == segment.released
