"""A training program that a test can kill and start again: `python training.py SPEC FOLDER EPOCHS STEPS`.

Owns a model that writes down the items of every batch that it trains on, at the moment that it does. Whatever the test
does to this process, `FOLDER/trained` tells what happened; `FOLDER/weights`, written last, is a digest of the weights.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import tensorflow as tf

import penstock
from penstock.trainer.adapters.keras import Checkpoint

#: Trained batches between two checkpoints.
EVERY = 3


@keras.saving.register_keras_serializable("penstock.tests")
class Recording(keras.Model):  # type: ignore[misc]
    """Writes a line for each batch: its items, in order."""

    file = Path(os.devnull)

    def train_step(self, data: Any) -> Any:
        """Train on (image, label); the items come where Keras expects sample weights."""
        image, label, items = data
        with tf.control_dependencies([tf.numpy_function(self.record, [items], tf.int64)]):
            return super().train_step((tf.identity(image), label))

    def record(self, items: Any) -> Any:
        """Append a line; it survives the death of this process."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(" ".join(map(str, items.tolist())) + "\n")
        return items[0]


def build() -> Any:
    """Return a small network with something random in it (dropout) and an optimizer with a state (Adam)."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((24, 24, 3), dtype="uint8")
    hidden = keras.layers.Rescaling(1 / 255)(inputs)
    hidden = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(hidden)
    hidden = keras.layers.Dropout(0.3, seed=3)(keras.layers.GlobalAveragePooling2D()(hidden))
    return Recording(inputs, keras.layers.Dense(2)(hidden))


def main(spec: str, folder: Path, epochs: int, steps_per_execution: int) -> None:
    """Train, going on where a predecessor was killed."""
    tf.config.experimental.enable_op_determinism()
    Recording.file = folder / "trained"
    with penstock.local(spec, workers=1) as stack:
        feed = stack.feed("train")
        checkpoint = Checkpoint(feed, folder / "checkpoint", every_batches=EVERY)

        def build_compiled() -> Any:
            model = build()
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile("adam", loss, steps_per_execution=steps_per_execution)
            return model

        model = checkpoint.restore(build_compiled)
        dataset = feed.dataset(("image", "label", "item")).map(lambda *fields: fields).prefetch(2)
        model.fit(dataset, epochs=epochs, initial_epoch=checkpoint.initial_epoch, callbacks=[checkpoint], verbose=0)
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()))
    (folder / "weights").write_text(digest.hexdigest(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
