"""Which batch a request of an image iterator gets: by hand, by `next`, and in the passes of Keras."""

import pytest

from penstock.image_data_generator.epochs import Turns
from penstock.protocol.errors import ArgumentError


def passed(turns: Turns, indices: list[int]) -> list[tuple[int, int]]:
    """Return what a pass of Keras gets that asks for these indices."""
    turns.announce()
    return [turns.at(index) for index in indices]


def test_next_goes_on_with_the_next_epoch() -> None:
    """An epoch's last batch is followed by the first of the next one."""
    turns = Turns(2)
    assert [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)] == [turns.next() for _ in range(5)]


def test_indexing_by_hand_stays_in_the_epoch() -> None:
    """The same index is the same batch, in any order, until the epoch is ended."""
    turns = Turns(3)
    assert [(0, 2), (0, 0), (0, 2), (0, 2)] == [turns.at(index) for index in (2, 0, 2, -1)]
    turns.end_epoch()
    turns.end_epoch()
    assert (1, 2) == turns.at(2)


@pytest.mark.parametrize("index", [3, 100, -4])
def test_an_index_outside_the_epoch_is_refused_with_its_value(index: int) -> None:
    """The error quotes the index, says what there is, and is a ValueError as in Keras."""
    with pytest.raises(ValueError, match=f"batch {index} was asked for, and an epoch has 3: 0 to 2") as caught:
        Turns(3).at(index)
    assert isinstance(caught.value, ArgumentError)


def test_reset_begins_a_new_epoch_unless_one_has_just_begun() -> None:
    """Resetting twice is resetting once."""
    turns = Turns(3)
    turns.reset()
    assert (0, 0) == turns.next()
    turns.reset()
    turns.reset()
    assert (1, 0) == turns.next()


def test_a_pass_of_keras_gets_an_epoch_in_order_whatever_it_asks_for() -> None:
    """Keras shuffles the indices; each pass still gets every batch of one epoch, in the workers' order."""
    turns = Turns(3)
    assert [(0, 0), (0, 1), (0, 2)] == passed(turns, [2, 0, 1])
    turns.end_epoch()
    assert [(1, 0), (1, 1), (1, 2)] == passed(turns, [1, 2, 0])


def test_looking_at_two_batches_does_not_use_the_epoch_up() -> None:
    """Keras takes two batches for their shapes, resets, and begins: training starts with the first batch of epoch 0."""
    turns = Turns(3)
    assert [(0, 0), (0, 1)] == passed(turns, [0, 1])
    turns.announce()
    turns.end_epoch()  # Keras's reset
    assert [(0, 0), (0, 1), (0, 2)] == passed(turns, [1, 0, 2])


@pytest.mark.parametrize("ahead", [2, 3, 4])
def test_how_far_keras_reads_ahead_makes_no_difference(ahead: int) -> None:
    """Two steps of four are taken, two or more batches were read: the next pass is the next epoch."""
    turns = Turns(4)
    passed(turns, list(range(ahead)))
    turns.end_epoch()
    assert [(1, 0), (1, 1)] == passed(turns, [0, 1])


def test_epochs_of_a_few_steps_go_on_within_a_pass() -> None:
    """With `steps_per_epoch`, Keras ends its epochs in mid-pass: no batch is left out or repeated."""
    turns = Turns(4)
    taken = passed(turns, [3, 1])
    turns.end_epoch()
    taken += [turns.at(index) for index in (0, 2)]
    turns.end_epoch()
    assert [(0, 0), (0, 1), (0, 2), (0, 3)] == taken
    assert [(1, 0)] == passed(turns, [2])


def test_a_pass_ends_where_the_script_takes_over() -> None:
    """After `next` or `reset`, indices mean what they say again."""
    turns = Turns(4)
    passed(turns, [0])
    assert (0, 1) == turns.next()
    assert (0, 3) == turns.at(3)
    passed(turns, [0])
    turns.reset()
    assert (1, 3) == turns.at(3)
