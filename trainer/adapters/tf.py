"""A feed's batches as a `tf.data.Dataset`: whole batches, one epoch an iteration.

Keras asks a dataset for its cardinality. Without one it takes the first epoch's length for the length of all epochs:
after a resume in mid-epoch it would skip the rest of every later epoch. So the dataset declares the batches of a whole
epoch, in the graph, where `map` and `prefetch` keep it. It may still end early, as the rest of an epoch or an epoch
with quarantined items does.
"""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.protocol.errors import PenstockError
from penstock.trainer.adapters.batches import BatchSource
from penstock.trainer.adapters.fields import choose_fields
from penstock.trainer.adapters.frameworks import TENSORFLOW, import_framework

if TYPE_CHECKING:
    import tensorflow as tf


def import_tensorflow() -> Any:
    """Return the module. Raises PenstockError that says how to install it."""
    return import_framework("tensorflow", "TensorFlow", TENSORFLOW)


def dataset(
    feed: BatchSource, fields: tuple[str, ...] | None = ("image", "label"), *, prefetch: int = 2
) -> "tf.data.Dataset[Any]":
    """Return a dataset of a feed's batches: tuples of `fields` in that order, or dicts of all fields for None.

    Each iteration is one epoch, the first from the feed's position on. An iteration that ends early (an exception,
    `take`, `validation_steps`) abandons its epoch: the next iteration begins with the next epoch. Under a
    `tf.distribute` strategy Keras reads a first batch before it trains: training starts with the feed's second epoch.

    Shapes are static; so is the number of samples if every batch is full (`drop_remainder`). `prefetch` is in batches,
    on top of the feed's own; 0 for none. TensorFlow adds none by itself, so end heavy maps of your own with `prefetch`.
    tf.data's autotuning is off, because an epoch's end might wait for it; a later `with_options` turns it on again.
    TensorFlow raises the feed's errors as its own, with our text in them.
    """
    tf = import_tensorflow()
    # Keras says this if an epoch is shorter than declared; it is wrong here: nothing is interrupted.
    warnings.filterwarnings("ignore", "Your input ran out of data; interrupting training", UserWarning)
    chosen = choose_fields(feed, fields)
    batch = feed.batch_size if feed.drop_remainder else None
    specs = tuple(tf.TensorSpec((batch, *field.shape), field.dtype) for field in chosen)
    names = tuple(field.name for field in chosen)

    def generate() -> Iterator[tuple[Any, ...]]:
        try:
            for arrays in feed.next_epoch(timed=False):
                yield tuple(arrays[name] for name in names)
        except PenstockError as error:  # TensorFlow quotes the traceback: keep it short, so that the text stands out
            raise error.with_traceback(None) from None

    batches = tf.data.Dataset.from_generator(generate, output_signature=specs)
    if prefetch:
        batches = batches.prefetch(prefetch)
    batches = _declare_length(tf, batches, feed)
    options = tf.data.Options()
    # The end of an iteration wakes the tuning thread, which may check a moment too early (a race in TensorFlow: its
    # CancellationManager calls back before it counts as cancelled) and sleep again: training stalls for up to 60 s.
    options.autotune.enabled = False
    # An injected prefetch would fetch ahead, and its waiting would count as the program's.
    options.experimental_optimization.inject_prefetch = False
    return _finish(tf, batches, feed, names if fields is None else None).with_options(options)


def _declare_length(tf: Any, batches: Any, feed: BatchSource) -> Any:
    """Return `batches` with the cardinality of a whole epoch; they still end when the epoch does.

    `assert_cardinality` would fail for a shorter epoch. `choose_from_datasets` counts as endless if one of its inputs
    is, even one that is never chosen, and `take` of an endless dataset has a known length.
    """
    length = feed.batches_per_epoch

    def ask(_: Any) -> Any:
        feed.stats.ask()  # runs on the thread that asks for a batch, at that moment
        return np.int64(0)

    def choice(index: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(ask, [index], tf.int64), ())

    def nothing(_: Any) -> Any:
        return tuple(tf.zeros([size or 0 for size in spec.shape], spec.dtype) for spec in batches.element_spec)

    plain = tf.autograph.experimental.do_not_convert  # nothing here needs AutoGraph, which writes files
    choices = tf.data.Dataset.range(length).map(plain(choice))
    never = tf.data.Dataset.from_tensors(0).map(plain(nothing)).repeat()
    return tf.data.Dataset.choose_from_datasets([batches, never], choices, stop_on_empty_dataset=False).take(length)


def _finish(tf: Any, batches: Any, feed: BatchSource, names: tuple[str, ...] | None) -> Any:
    """Stop the clock that `ask` started, and shape the elements."""

    def receive() -> Any:
        feed.stats.receive()
        return np.int64(0)

    def element(*arrays: Any) -> Any:
        received = tf.numpy_function(receive, [], tf.int64)
        with tf.control_dependencies([received]):
            arrays = tuple(tf.identity(array) for array in arrays)
        return arrays if names is None else dict(zip(names, arrays, strict=True))

    return batches.map(tf.autograph.experimental.do_not_convert(element))
