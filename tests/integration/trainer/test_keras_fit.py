"""Keras's `fit` on `feed.dataset()`: epochs, validation, checkpoints and errors."""

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from support.streams import digest, epochs, make_spec, make_stream, run_stack, take

from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import DeadlineError, SpecError
from penstock.trainer.client.feed import Feed

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # read when TensorFlow is loaded
import keras
import tensorflow as tf
from support.keras.recording_model import items_of, make_model, plain_model, recorded
from support.small_streams import SMALL

from penstock.trainer.adapters.keras import Checkpoint

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_fit_trains_on_each_epoch_once_and_validates_on_whole_epochs(
    stack: LocalStack, feed: Feed, steps_per_execution: int
) -> None:
    """The call of the README: three epochs of training, each followed by an epoch of validation."""
    model = make_model(steps_per_execution=steps_per_execution)
    validation = stack.feed("even")
    model.fit(recorded(feed), validation_data=recorded(validation), epochs=3, verbose=0)
    assert items_of(stack.feed("train"), 0, 3) == model.trained
    assert items_of(stack.feed("even"), 0, 3) == model.evaluated
    for each in (feed, validation):
        each.skip_epoch()
        assert [0, 1, 2] == [account.epoch for account in each.epochs]
    assert 8 == validation.epochs[0].dropped


def test_a_fit_that_resumes_in_mid_epoch_trains_on_the_whole_of_every_later_epoch(
    stack: LocalStack, feed: Feed
) -> None:
    """Keras would take the length of the first, short epoch for that of all if the dataset did not declare another.

    And nothing warns that data ran out.
    """
    other = stack.feed("train")
    take(other, 2)
    feed.load_state_dict(other.state_dict())
    model = make_model()
    dataset = recorded(feed)
    with warnings.catch_warnings(record=True) as caught:
        model.fit(dataset, epochs=3, verbose=0)
    assert items_of(stack.feed("train"), 0, 3)[2:] == model.trained
    assert not [str(warning.message) for warning in caught if "ran out of data" in str(warning.message)]


def test_quarantined_items_make_epochs_shorter_and_nothing_else(stack: LocalStack) -> None:
    """An epoch of fewer batches than declared ends; the next one begins."""
    feed = stack.feed("patchy")
    model = make_model()
    model.fit(recorded(feed), epochs=3, verbose=0)
    assert [16, 14] * 3 == [len(batch) for batch in model.trained]
    assert [(40, 30, 10)] * 3 == [(e.expected, e.delivered, e.quarantined) for e in feed.epochs]


def test_validation_that_stops_midway_goes_on_with_the_next_epoch(stack: LocalStack, feed: Feed) -> None:
    """`validation_steps` leaves the rest of each epoch behind: the same number of batches, of ever other epochs."""
    validation = stack.feed("train")
    model = make_model()
    model.fit(recorded(feed), validation_data=recorded(validation), validation_steps=1, epochs=3, verbose=0)
    assert items_of(stack.feed("train"), 0, 3)[::3] == model.evaluated
    assert items_of(stack.feed("train"), 0, 3) == model.trained


def test_fewer_steps_an_epoch_than_batches_lose_nothing(stack: LocalStack, feed: Feed) -> None:
    """With `repeat()` and `steps_per_epoch`, Keras's epochs run on through ours."""
    model = make_model()
    model.fit(recorded(feed).repeat(), steps_per_epoch=2, epochs=3, verbose=0)
    assert items_of(stack.feed("train"), 0, 2) == model.trained


def test_an_exceeded_failure_budget_stops_fit_in_words(stack: LocalStack) -> None:
    """TensorFlow wraps the error; the stream, the number and the reason are still there to read."""
    with pytest.raises(tf.errors.OpError) as caught:
        make_model().fit(recorded(stack.feed("spoilt")), epochs=1, verbose=0)
    text = str(caught.value)
    assert "FailureBudgetError" in text
    assert "spoilt" in text


def test_a_deadline_stops_fit_in_words(feed: Feed, photos: Path) -> None:
    """No worker makes the batches: the message says for what it waited, and what to check."""
    del feed
    with run_stack(make_spec(photos, train=make_stream(**SMALL)), workers=0) as idle:
        starved = idle.feed("train")
        assert starved.plan.name == "train"  # the sink may be up much later than the ventilator
        starved._cursor.timeout_s = 1.0
        with pytest.raises(DeadlineError, match="at least one worker"):
            next(iter(starved))
        with pytest.raises(tf.errors.OpError, match=r"no batch for stream 'train'.* within 1.0 s"):
            make_model().fit(recorded(starved), epochs=1, verbose=0)


@pytest.mark.parametrize("stream", ["train", "even", "patchy"])
def test_a_checkpoint_between_an_epochs_last_batch_and_its_end_resumes_with_the_next_epoch(
    stack: LocalStack, stream: str, tmp_path: Path
) -> None:
    """Whether its rest is empty, dropped or quarantined: Keras's epoch number moves on with the feed."""

    class CrashError(Exception):
        pass

    class Crash(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            if batch == last:
                raise CrashError

    feed = stack.feed(stream)
    last = {"train": 2, "even": 1, "patchy": 1}[stream]
    callbacks = [Checkpoint(feed, tmp_path, every_batches=1), Crash()]
    with pytest.raises(CrashError):
        plain_model().fit(feed.dataset(), epochs=2, callbacks=callbacks, verbose=0)
    resumed = stack.feed(stream)
    again = Checkpoint(resumed, tmp_path)
    again.restore(plain_model)
    assert 1 == again.initial_epoch
    expected = epochs(stack.feed(stream), 2)[last + 1 :]
    assert digest(expected) == digest(epochs(resumed, 1))


def test_a_checkpoint_with_the_wrong_feed_is_refused_in_words(stack: LocalStack, feed: Feed, tmp_path: Path) -> None:
    """The callback notices that the feed it was given does not train the model."""
    other = Checkpoint(stack.feed("even"), tmp_path)
    with pytest.raises(SpecError, match="give it the feed that `fit` trains from"):
        plain_model().fit(feed.dataset(), epochs=1, callbacks=[other], verbose=0)
