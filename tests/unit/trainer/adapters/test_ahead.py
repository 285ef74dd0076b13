"""Batches that are prepared ahead: the state is that of the batch that the loop got, however many were fetched."""

import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from penstock.protocol.errors import AbandonedError, SpecError
from penstock.trainer.adapters.ahead import Ahead
from penstock.trainer.hdf5.feed import Hdf5Feed

ROWS, SIZE = 50, 4


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Hdf5Feed]:
    """Return a feed of 13 batches an epoch, each row once."""
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["image"] = np.arange(ROWS * 12, dtype=np.uint8).reshape(ROWS, 2, 2, 3)
        file["row"] = np.arange(ROWS)
    with Hdf5Feed(tmp_path / "rows.h5", batch_size=SIZE, seed=3) as feed:
        yield feed


def rows(batch: dict[str, Any]) -> list[int]:
    """Return what tells a batch."""
    found: list[int] = batch["row"].tolist()
    return found


def whole(feed: Hdf5Feed, epochs: int) -> list[list[int]]:
    """Return the batches of some epochs, and go back to the beginning."""
    found = [rows(batch) for _ in range(epochs) for batch in feed]
    feed.seek(0)
    return found


@pytest.mark.parametrize("depth", [1, 5, 100])
def test_a_state_is_that_of_the_batch_that_was_yielded(feed: Hdf5Feed, depth: int) -> None:
    """After each batch, the first and the last of an epoch included: resuming goes on with the very next one."""
    expected = whole(feed, 2)
    ahead = Ahead(feed, rows, depth)
    for count in range(1, len(expected) // 2 + 1):
        ahead.stop()
        feed.seek(0)
        states = [ahead.state_dict() for _ in islice(ahead, count)]
        ahead.stop()
        feed.load_state_dict(states[-1])
        assert expected[count] == next(iter(ahead))


def test_a_broken_off_epoch_goes_on_with_the_next_batch(feed: Hdf5Feed) -> None:
    """What was prepared and not yielded comes again."""
    expected = whole(feed, 1)
    ahead = Ahead(feed, rows, 4)
    got: list[list[int]] = []
    while len(got) < len(expected):
        got += islice(ahead, 3)
    assert expected == got


def test_epochs_end_and_follow_one_another(feed: Hdf5Feed) -> None:
    """One iteration is one epoch; the clock counts the loop's waiting only."""
    expected = whole(feed, 2)
    feed.stats.batches = 0
    ahead = Ahead(feed, rows, 3)
    assert expected == [*ahead, *ahead]
    assert len(expected) == feed.stats.batches
    assert feed.position == 2 * ROWS


def test_an_error_comes_after_the_batches_before_it(feed: Hdf5Feed) -> None:
    """Whether it is the feed's or that of the preparation; and the thread has ended then."""
    expected = whole(feed, 1)
    made: list[list[int]] = []

    def prepare(batch: dict[str, Any]) -> list[int]:
        if len(made) == 3:
            raise OverflowError("the device is full")
        made.append(rows(batch))
        return made[-1]

    ahead, got = Ahead(feed, prepare, 8), list[list[int]]()

    def loop() -> None:
        for batch in ahead:
            got.append(batch)

    with pytest.raises(OverflowError, match="the device is full"):
        loop()
    assert expected[:3] == got
    made.clear()
    assert expected[3] == next(iter(ahead))


def test_a_newer_iteration_ends_an_older_one(feed: Hdf5Feed) -> None:
    """The older one says so; the newer one goes on with the batch after the last that the older one yielded."""
    expected = whole(feed, 1)
    ahead = Ahead(feed, rows, 2)
    older = iter(ahead)
    assert expected[0] == next(older)
    newer = iter(ahead)
    assert expected[1] == next(newer)
    with pytest.raises(AbandonedError, match="one place at a time"):
        next(older)
    assert expected[2] == next(newer)


def test_an_epoch_can_be_chosen(feed: Hdf5Feed) -> None:
    """Another epoch begins at its first batch; the one that was resumed in its middle is not begun again."""
    expected = whole(feed, 2)
    feed.begin_epoch(1)
    assert expected[13] == rows(next(iter(feed)))
    feed.begin_epoch(1)
    assert expected[14] == rows(next(iter(feed)))
    feed.begin_epoch(0)
    assert expected[0] == rows(next(iter(feed)))
    with pytest.raises(SpecError, match="epoch = -1"):
        feed.begin_epoch(-1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on Unix only")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_is_refused_in_words_instead_of_waiting(feed: Hdf5Feed) -> None:
    """In the middle of an epoch and for a new one, since the thread stays behind; the parent goes on."""
    expected = whole(feed, 1)
    ahead = Ahead(feed, rows, 2)
    batches = iter(ahead)
    assert expected[0] == next(batches)
    if (fork := os.fork()) == 0:
        signal.alarm(60)  # ends a wait
        refused = 0
        try:
            for use in (batches, ahead):
                with pytest.raises(SpecError, match="connect after the fork"):
                    next(iter(use))
                refused += 1
            ahead.stop()
        finally:
            os._exit(refused)
    assert 2 == os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    assert expected[1:] == list(batches)
