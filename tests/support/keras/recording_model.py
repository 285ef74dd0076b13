"""Small Keras models that list the items they train on, and the dataset they take."""

import os
from typing import Any

from support.small_streams import ITEMS
from support.streams import epochs

from penstock.trainer.client.feed import Feed

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # read when TensorFlow is loaded
import keras
import tensorflow as tf


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


def items_of(feed: Feed, first: int, last: int) -> list[list[int]]:
    """Return the items of each batch of the epochs [first, last), from a feed of its own."""
    feed.seek(first * ITEMS)
    return [batch["item"].tolist() for batch in epochs(feed, last - first)]


def plain_model() -> Any:
    """Return a small compiled model that can be saved."""
    inputs = keras.Input((8, 12, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
