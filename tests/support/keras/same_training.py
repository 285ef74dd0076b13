"""Trains twice, from a live stream and from the file written from it: `same_training.py SPEC FILE`.

Writes JSON to its output: of both, the losses of all batches, exactly, and a digest of the weights in the end.
"""

import hashlib
import json
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # read when TensorFlow is loaded

import keras
import tensorflow as tf

import penstock
from penstock.trainer import Hdf5Feed

EPOCHS = 2


def build() -> Any:
    """Return the same small network every time: its weights and its dropout follow from the seed."""
    keras.utils.set_random_seed(5)
    return keras.Sequential(
        [
            keras.Input((24, 24, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.2, seed=3),
            keras.layers.Dense(2),
        ]
    )


def train(feed: Any) -> dict[str, Any]:
    """Train on a feed's epochs; return the losses, as hexadecimal numbers, and the weights' digest."""
    model, optimizer = build(), keras.optimizers.Adam(0.01)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def train_on(image: Any, label: Any) -> Any:
        with tf.GradientTape() as tape:
            loss: Any = loss_of(label, model(image, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    step: Any = tf.function(train_on, reduce_retracing=True)
    dataset = feed.dataset()
    losses = [float(step(image, label)).hex() for _ in range(EPOCHS) for image, label in dataset]
    weights = hashlib.sha256(b"".join(variable.numpy().tobytes() for variable in model.weights))
    return {"losses": losses, "weights": weights.hexdigest()}


def main(spec: str, file: str) -> None:
    """Train from both."""
    tf.config.experimental.enable_op_determinism()
    with penstock.local(spec, workers=2) as stack:
        live = train(stack.feed("train"))
    with Hdf5Feed(file, recorded=True) as feed:
        stored = train(feed)
    sys.stdout.write(json.dumps({"live": live, "stored": stored}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
