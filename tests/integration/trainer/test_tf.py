"""`feed.dataset()` in TensorFlow and Keras: whole batches, an epoch an iteration, whatever `model.fit` does with it."""

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import DEADLINE_S, digest, epochs, make_images, make_spec, make_stream, run_stack, take, until

from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import DeadlineError, PenstockError, RefusedError, SpecError
from penstock.trainer.client.feed import Feed

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # read when TensorFlow is loaded

import keras
import tensorflow as tf

from penstock.trainer.adapters.keras import Checkpoint

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: 40 images, in batches of 16: 3 batches, the last of 8.
ITEMS, BATCH = 40, 16
SMALL: dict[str, Any] = {
    "transform": {"resize": {"height": 8, "width": 12}},
    "patches": 1,
    "mix": 1,
    "task_items": 4,
    "batch_size": BATCH,
}

#: Two that need no larger image.
MANIPULATIONS: dict[str, Any] = {"choices": [{"kind": "jpeg", "value": 10}, {"kind": "resize", "value": 2.0}]}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 2 × 20 JPEG files."""
    return make_images(tmp_path_factory.mktemp("photos"), each=ITEMS // 2, size=32)


@pytest.fixture(scope="module")
def stack(photos: Path) -> Iterator[LocalStack]:
    """Return a running stack with some streams over the same images."""
    broken = photos / "broken"
    make_images(broken, each=ITEMS // 2, size=32)
    for number in range(0, ITEMS // 2, 2):  # 10 of 40 items: 30 samples, 2 batches an epoch
        (broken / "cat" / f"{number:04}.jpg").write_bytes(b"not an image")
    source = {"kind": "directory", "root": "photos", "path": "broken"}
    stream = make_stream(**SMALL, source={"kind": "directory", "root": "photos", "classes": ["cat", "dog"]})
    spec = make_spec(
        photos,
        train=stream,
        even=stream | {"drop_remainder": True},
        patchy=make_stream(**SMALL, source=source, failure_budget=1.0),
        spoilt=make_stream(**SMALL, source=source, failure_budget=0.05),
        empty=make_stream(**SMALL, source=source | {"classes": ["cat"]}, failure_budget=1.0) | {"drop_remainder": True},
        huge=stream | {"batch_size": ITEMS + 1, "drop_remainder": True},
        long=stream | {"batch_size": 2},
        manipulated=stream | {"transform": SMALL["transform"] | {"manipulations": MANIPULATIONS}},
        every=stream | {"transform": SMALL["transform"] | {"manipulations": MANIPULATIONS | {"every": True}}},
    )
    with run_stack(spec, workers=1, ventilator={"confirm_s": 0.5}) as running:
        yield running


@pytest.fixture
def feed(stack: LocalStack) -> Iterator[Feed]:
    """Return a feed of `train` at position 0."""
    with stack.feed("train", timeout_s=60) as one:
        yield one


def make_model(**settings: Any) -> Any:
    """Return a small compiled model that lists the items of all that it trains and is evaluated on."""

    class Recording(keras.Model):  # type: ignore[misc]
        """Takes (image, label, item), in the place of sample weights."""

        def __init__(self, *args: Any, **names: Any) -> None:
            super().__init__(*args, **names)
            self.trained: list[list[int]] = []
            self.evaluated: list[list[int]] = []

        def train_step(self, data: Any) -> Any:
            image, label, item = data
            with tf.control_dependencies([tf.numpy_function(self.note(self.trained), [item], tf.int64)]):
                return super().train_step((tf.identity(image), label))

        def test_step(self, data: Any) -> Any:
            image, label, item = data
            with tf.control_dependencies([tf.numpy_function(self.note(self.evaluated), [item], tf.int64)]):
                return super().test_step((tf.identity(image), label))

        @staticmethod
        def note(into: list[list[int]]) -> Any:
            def append(item: Any) -> Any:
                into.append(item.tolist())
                return item[0]

            return append

    inputs = keras.Input((8, 12, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = Recording(inputs, keras.layers.Dense(2)(pooled))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **settings)
    return model


def recorded(feed: Feed) -> Any:
    """Return the dataset that `make_model` takes, mapped and prefetched as users do."""
    return feed.dataset(("image", "label", "item")).map(lambda *fields: fields).prefetch(1)


def specs(feed: Feed) -> Any:
    """Return the types of a dataset's elements."""
    return feed.dataset().element_spec


def items_of(feed: Feed, first: int, last: int) -> list[list[int]]:
    """Return the items of each batch of the epochs [first, last), from a feed of its own."""
    feed.seek(first * ITEMS)
    return [batch["item"].tolist() for batch in epochs(feed, last - first)]


def test_a_dataset_yields_the_batches_of_the_feed(stack: LocalStack, feed: Feed) -> None:
    """The same bytes in the same order, three epochs, one an iteration, from the fields asked for."""
    fields = ("item", "image", "label")
    expected = epochs(stack.feed("train"), 3)
    dataset = feed.dataset(fields)
    got: Any = [dict(zip(fields, arrays, strict=True)) for _ in range(3) for arrays in dataset.as_numpy_iterator()]
    assert digest({name: batch[name] for name in fields} for batch in expected) == digest(got)
    feed.skip_epoch()
    assert [(epoch, ITEMS, ITEMS) for epoch in range(3)] == [(e.epoch, e.expected, e.delivered) for e in feed.epochs]


def test_the_end_of_an_epoch_does_not_wait_for_autotuning(stack: LocalStack, feed: Feed) -> None:
    """TensorFlow's tuning thread may sleep on for up to a minute when an iteration ends: there is none.

    What users let TensorFlow choose behind the dataset works without it, and who wants it can have it.
    """
    dataset, tune = feed.dataset(("item",)), tf.data.AUTOTUNE
    chosen = dataset.map(lambda item: item, num_parallel_calls=tune).prefetch(tune)
    assert [False, False] == [each.options().autotune.enabled for each in (dataset, chosen)]
    expected = [batch["item"].tolist() for batch in epochs(stack.feed("train"), 1)]
    assert expected == [item.tolist() for item in chosen.as_numpy_iterator()]
    on = tf.data.Options()
    on.autotune.enabled = True
    assert chosen.with_options(on).options().autotune.enabled


def test_without_fields_a_dataset_yields_dicts_of_all(feed: Feed) -> None:
    """As iterating the feed does."""
    first = next(iter(feed.dataset(None)))
    assert ["image", "item", "label", "patch"] == sorted(first)
    assert (BATCH, 8, 12, 3) == first["image"].shape


def test_shapes_are_static_as_far_as_they_are_known(stack: LocalStack, feed: Feed) -> None:
    """The sample's shape always, the batch's size where every batch is full; pixels stay uint8.

    The length is known too, also after `map` and `prefetch`.
    """
    image, label = specs(feed)
    assert ((None, 8, 12, 3), tf.uint8) == (tuple(image.shape), image.dtype)
    assert ((None,), tf.int32) == (tuple(label.shape), label.dtype)
    even = stack.feed("even")
    assert (BATCH, 8, 12, 3) == tuple(specs(even)[0].shape)
    assert [2, 3] == [int(recorded(each).cardinality()) for each in (even, feed)]


@pytest.mark.parametrize("fields", [("image", "lable"), (), "image"])
def test_unknown_fields_are_refused_in_words(feed: Feed, fields: Any) -> None:
    """The message quotes what was given and names what there is."""
    with pytest.raises(SpecError, match="image, label, item, patch") as caught:
        feed.dataset(fields)
    assert repr(fields) in str(caught.value)


def test_the_same_patch_under_every_manipulation_is_asked_for_by_name(stack: LocalStack) -> None:
    """There is no `image`, and the error says what there is; a stream that chooses shows one of the fields."""
    feed = stack.feed("every")
    with pytest.raises(
        SpecError, match=r"\('image', 'label'\): give a tuple of img, qf10, bicubic20, label, item, patch"
    ):
        feed.dataset()
    every: dict[str, list[Any]] = {name: [] for name in ("img", "qf10", "bicubic20", "item")}
    for arrays in feed.dataset(tuple(every)).as_numpy_iterator():
        for name, array in zip(every, arrays, strict=True):
            every[name] += list(array)
    chosen = list(stack.feed("manipulated"))
    index = np.concatenate([batch["manipulation"] for batch in chosen])
    assert [item for batch in chosen for item in batch["item"]] == every["item"]
    for row, image in enumerate(np.concatenate([batch["image"] for batch in chosen])):
        np.testing.assert_array_equal(image, every[list(every)[index[row]]][row])
    assert {0, 1, 2} == set(index.tolist())


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


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_abandoned_iteration_leaves_its_epoch_and_its_iterator_ends_in_words(
    stack: LocalStack, prefetch: int
) -> None:
    """The next iteration is the next epoch, whole.

    Who goes on with the old iterator is told so, after what that had fetched before.
    """
    dataset = stack.feed("long").dataset(("item",), prefetch=prefetch)
    old = iter(dataset)
    next(old)
    got = [item.tolist() for (item,) in dataset.as_numpy_iterator()]
    assert items_of(stack.feed("long"), 1, 2) == got
    with pytest.raises(tf.errors.OpError, match="left for a newer one"):
        list(old)


def test_an_older_iteration_that_waits_in_another_thread_ends(stack: LocalStack) -> None:
    """It neither takes a batch of the newer one nor waits for its deadline."""
    feed = Feed("ipc:///tmp/penstock-nowhere.sock", timeout_s=10 * DEADLINE_S)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            next(iter(feed))
        except PenstockError as error:
            errors.append(error)

    older = threading.Thread(target=wait, daemon=True)
    older.start()
    until(feed._cursor.turn.locked, "the older iteration to wait")
    newer = threading.Thread(target=wait, daemon=True)
    newer.start()
    older.join(DEADLINE_S)
    assert not older.is_alive()
    assert "left for a newer one" in str(errors[0])
    feed.close()
    newer.join(DEADLINE_S)
    assert not newer.is_alive()
    assert isinstance(errors[1], RefusedError)
    del stack


ITERATE = [list, lambda feed: list(feed.dataset())]


@pytest.mark.parametrize("iterate", ITERATE, ids=["plainly", "in tf.data"])
def test_batches_larger_than_an_epoch_are_refused_in_words(stack: LocalStack, iterate: Any) -> None:
    """Fewer samples than a batch, with `drop_remainder`: words, not an endless loop."""
    with pytest.raises(RefusedError, match=r"batch_size = 41.*smaller"):
        iterate(stack.feed("huge"))


@pytest.mark.parametrize("iterate", ITERATE, ids=["plainly", "in tf.data"])
def test_epochs_that_give_no_batch_are_an_error(stack: LocalStack, iterate: Any) -> None:
    """Quarantine leaves fewer samples than a batch: words, not an endless loop."""
    with pytest.raises((SpecError, tf.errors.OpError), match="a whole epoch gives no batch: 20 samples"):
        iterate(stack.feed("empty"))


def test_an_exceeded_failure_budget_stops_fit_in_words(stack: LocalStack) -> None:
    """TensorFlow wraps the error; the stream, the number and the reason are still there to read."""
    with pytest.raises(tf.errors.OpError) as caught:
        make_model().fit(recorded(stack.feed("spoilt")), epochs=1, verbose=0)
    text = str(caught.value)
    assert "FailureBudgetError" in text
    assert "spoilt" in text


def test_a_deadline_stops_fit_in_words(feed: Feed, photos: Path) -> None:
    """Nobody makes the batches: the message says for what it waited, and what to check."""
    del feed
    with run_stack(make_spec(photos, train=make_stream(**SMALL)), workers=0) as idle:
        starved = idle.feed("train")
        assert starved.plan.name == "train"  # the sink may be up much later than the ventilator
        starved._cursor.timeout_s = 1.0
        with pytest.raises(DeadlineError, match="at least one worker"):
            next(iter(starved))
        with pytest.raises(tf.errors.OpError, match=r"no batch for stream 'train'.* within 1.0 s"):
            make_model().fit(recorded(starved), epochs=1, verbose=0)


def test_waiting_is_what_the_program_waits_not_what_tf_data_asks_ahead(stack: LocalStack, feed: Feed) -> None:
    """A slow program waits for nothing, though a thread of tf.data waits for every batch."""
    del stack
    began = time.perf_counter()
    for _ in feed.dataset():
        time.sleep(0.2)  # the work of a training step
    elapsed = time.perf_counter() - began
    first_wait = elapsed - 3 * 0.2
    assert feed.stats.wait_s <= first_wait
    assert feed.stats.busy_s >= 2 * 0.2  # the third batch is still in hand
    assert (3, ITEMS) == (feed.stats.batches, feed.stats.samples)


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


def plain_model() -> Any:
    """Return a small compiled model that can be saved."""
    inputs = keras.Input((8, 12, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_a_checkpoint_with_the_wrong_feed_is_refused_in_words(stack: LocalStack, feed: Feed, tmp_path: Path) -> None:
    """The callback notices that the feed it was given does not train the model."""
    other = Checkpoint(stack.feed("even"), tmp_path)
    with pytest.raises(SpecError, match="give it the feed that `fit` trains from"):
        plain_model().fit(feed.dataset(), epochs=1, callbacks=[other], verbose=0)


def test_a_missing_tensorflow_is_an_error_that_names_the_extra() -> None:
    """For the dataset and for the callback; everything else goes on without."""
    program = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "import penstock\n"
        "from penstock.protocol.errors import PenstockError\n"
        "uses = (lambda: penstock.connect('ipc:///tmp/x').dataset(),"
        "        lambda: __import__('penstock.trainer.adapters.keras'))\n"
        "for use in uses:\n"
        "    try: use()\n"
        "    except PenstockError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert 2 == done.stdout.count("pip install 'penstock[tf-cpu]'")


def test_arrays_are_the_programs_own(feed: Feed) -> None:
    """A training loop may write to what it gets."""
    for batch in feed:
        batch["image"] += 1
        assert batch["image"].flags.writeable
        assert np.uint8 == batch["image"].dtype
