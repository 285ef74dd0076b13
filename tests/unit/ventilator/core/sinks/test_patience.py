"""Which tasks wait a moment for the reports of other sinks, so that they are made once."""

from penstock.ventilator.core.sinks.patience import NOWHERE, Patience, Reach, reach_of

#: Far longer than a task waits.
LATER = 60.0


def test_a_task_beyond_the_window_of_a_sink_that_is_near_waits_for_its_report() -> None:
    """Up to where both windows reach, tasks are leased at once; what waits may go once the other sink has come up."""
    patience = Patience()
    reaches = [Reach(0, 12), Reach(0, 8)]
    assert ((8, 12),) == patience.waiting(((0, 12),), ((0, 12),), reaches, 0.0)
    assert () == patience.waiting(((8, 12),), ((8, 12),), [Reach(0, 12), Reach(4, 12)], 0.1)


def test_no_task_waits_for_long() -> None:
    """The other sink may stand still; each task counts its own time."""
    patience = Patience()
    reaches = [Reach(0, 12), Reach(0, 8)]
    assert ((8, 12),) == patience.waiting(((8, 12),), ((0, 12),), reaches, 0.0)
    reaches = [Reach(0, 14), Reach(0, 8)]
    assert ((8, 14),) == patience.waiting(((8, 14),), ((0, 14),), reaches, 0.4)
    assert ((12, 14),) == patience.waiting(((8, 14),), ((0, 14),), reaches, 0.6)
    assert () == patience.waiting(((8, 14),), ((0, 14),), reaches, LATER)


def test_a_task_of_which_no_sink_wants_samples_waits() -> None:
    """Its samples are those of ranks whose sink has not asked yet, or that are not there."""
    patience = Patience()
    assert ((2, 4),) == patience.waiting(((0, 6),), ((0, 2), (4, 6)), [Reach(0, 6)], 0.0)
    assert () == patience.waiting(((2, 4),), ((0, 2), (4, 6)), [Reach(0, 6)], LATER)


def test_a_sink_that_reads_elsewhere_is_not_waited_for() -> None:
    """Another job is epochs behind: the windows do not overlap, and nothing waits."""
    assert () == Patience().waiting(((100, 112),), ((100, 112),), [Reach(100, 112), Reach(0, 8)], 0.0)


def test_a_sink_alone_waits_for_nobody() -> None:
    """All that it wants samples of is leased at once."""
    assert () == Patience().waiting(((0, 12),), ((0, 12),), [Reach(0, 12)], 0.0)


def test_the_reach_of_a_sink_is_what_it_reports() -> None:
    """Tasks whose outcome it does not know and those of which it lacks samples; with neither, it keeps its end."""
    reach = reach_of(((2, 4), (6, 8)), ((1, 3),), NOWHERE)
    assert Reach(1, 8) == reach
    assert Reach(8, 8) == reach_of((), (), reach)
