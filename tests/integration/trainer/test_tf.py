"""`feed.dataset()` in TensorFlow: whole batches, one epoch an iteration."""

import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from support.streams import DEADLINE_S, digest, epochs, until

from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import PenstockError, RefusedError, SpecError
from penstock.trainer.client.feed import Feed

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # read when TensorFlow is loaded
import tensorflow as tf
from support.keras.recording_model import items_of, recorded
from support.small_streams import BATCH, ITEMS

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def specs(feed: Feed) -> Any:
    """Return the types of a dataset's elements."""
    return feed.dataset().element_spec


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
    until(lambda: feed._cursor.turn.taken, "the older iteration to wait")
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
