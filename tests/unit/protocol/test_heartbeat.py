"""When silence counts: only for what could be heard, and not for ever put off."""

import pytest

from penstock.protocol.heartbeat import Attention
from penstock.protocol.messages import Intervals

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)


@pytest.fixture
def attention() -> Attention:
    """Return the attention of a loop that has turned once, and read all."""
    fresh = Attention()
    assert fresh.judges(100.0, INTERVALS, all_read=True)
    return fresh


def test_silence_counts_in_turns_that_have_read_all(attention: Attention) -> None:
    """Whether there was more in the turn before does not matter."""
    assert not attention.judges(100.5, INTERVALS, all_read=False)
    assert attention.judges(101.0, INTERVALS, all_read=True)


def test_after_a_standstill_a_heartbeats_time_passes_first(attention: Attention) -> None:
    """What waits in the kernel is not there at once, so an empty socket says nothing."""
    assert not attention.judges(200.0, INTERVALS, all_read=True)
    assert not attention.judges(200.9, INTERVALS, all_read=True)
    assert attention.judges(201.0, INTERVALS, all_read=True)


def test_a_slow_turn_is_no_standstill(attention: Attention) -> None:
    """Peers speak several times in a silence: half of it without reading loses none."""
    assert attention.judges(102.5, INTERVALS, all_read=True)


def test_one_peer_that_sends_without_end_puts_off_no_loss_for_ever(attention: Attention) -> None:
    """For two silences in which something was always left, and then no longer."""
    turns = [attention.judges(100.0 + turn / 4, INTERVALS, all_read=False) for turn in range(1, 60)]
    assert [False] * 40 + [True] * 19 == turns
    assert attention.judges(115.0, INTERVALS, all_read=True)
    assert not attention.judges(115.25, INTERVALS, all_read=False)


def test_messages_that_are_left_after_a_standstill_are_waited_for_anew(attention: Attention) -> None:
    """Peers that lived during the standstill have not been heard yet, however long messages were left before it."""
    for turn in range(1, 60):
        attention.judges(100.0 + turn / 4, INTERVALS, all_read=False)
    turns = [attention.judges(200.0 + turn / 4, INTERVALS, all_read=False) for turn in range(60)]
    assert [False] * 40 + [True] * 20 == turns


def test_a_loop_that_is_always_slow_judges_after_two_silences(attention: Attention) -> None:
    """Whether it reads all or leaves messages in each turn; one slow turn among others is excused anew."""
    for all_read in (True, False):
        slow = Attention()
        slow.judges(100.0, INTERVALS, all_read=True)
        turns = [slow.judges(100.0 + 2.6 * turn, INTERVALS, all_read=all_read) for turn in range(1, 30)]
        assert [False] * 4 + [True] * 25 == turns
        assert slow.judges(176.4, INTERVALS, all_read=True)
        assert not slow.judges(180.0, INTERVALS, all_read=True)
    assert attention.judges(101.0, INTERVALS, all_read=True)


def test_a_long_standstill_after_another_one_is_excused_too(attention: Attention) -> None:
    """A machine that is suspended again at once: peers have had no time to speak, and much is to be read."""
    assert not attention.judges(200.0, INTERVALS, all_read=False)
    assert not attention.judges(900.0, INTERVALS, all_read=False)
    assert not attention.judges(900.9, INTERVALS, all_read=True)
    assert attention.judges(901.0, INTERVALS, all_read=True)


def test_intervals_that_make_each_turn_a_standstill_put_off_no_loss_for_ever() -> None:
    """A heartbeat that is nearly as long as the silence: even a loop without work turns more rarely than that."""
    attention, intervals = Attention(), Intervals(heartbeat_s=0.5, silence_s=0.7)
    turns = [attention.judges(100.0 + turn / 2, intervals, all_read=True) for turn in range(20)]
    assert all(turns[5:])
