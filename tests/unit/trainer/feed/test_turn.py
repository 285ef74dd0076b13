"""The lock under which batches are taken: moves wait for their turn, and never for the thread that they run on."""

import threading

import pytest

from penstock.trainer.feed.turn import Turn


def test_a_move_is_made_at_once_where_nothing_is_taken() -> None:
    """Without a thread in the block, a move has happened when `run` returns."""
    turn, made = Turn(), list[int]()
    turn.run(lambda: made.append(1))
    assert [1] == made


def test_a_move_on_the_thread_that_takes_is_made_at_the_end_of_the_block() -> None:
    """The collector may ask for it inside the block; it waits, is made once, and the last one asked for counts."""
    turn, made = Turn(), list[int]()
    with turn:
        turn.run(lambda: made.append(1))
        turn.run(lambda: made.append(2))
        assert [] == made
    assert [2] == made
    with turn:
        pass
    assert [2] == made


def test_a_move_on_another_thread_waits_for_the_block() -> None:
    """It is made after the block, on the thread that asked."""
    turn, made = Turn(), list[str]()
    with turn:
        other = threading.Thread(
            target=turn.run, args=(lambda: made.append(threading.current_thread().name),), name="other"
        )
        other.start()
        other.join(0.05)
        assert [] == made
    other.join(10.0)
    assert ["other"] == made


def test_a_move_that_raises_leaves_the_block() -> None:
    """Also if the move that waited raises: the next one is made."""
    turn, made = Turn(), list[int]()
    with pytest.raises(ZeroDivisionError), turn:
        turn.run(lambda: made.append(1 // len(made)))
    turn.run(lambda: made.append(1))
    assert ([1], False) == (made, turn.taken)
