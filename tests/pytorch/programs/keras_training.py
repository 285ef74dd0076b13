"""Trains by Keras on the backend of KERAS_BACKEND: whole, cut off and resumed. `keras_training.py ADDRESS FOLDER`."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

import penstock
from penstock.trainer.adapters.keras import Checkpoint

EPOCHS = 3


class Cut(BaseException):
    """The end of a process that is killed, as far as Keras sees it."""


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes the steps of each epoch, and cuts the training off after some."""

    def __init__(self, cut: int) -> None:
        """Take how many steps to leave."""
        super().__init__()
        self.cut, self.steps = cut, list[int]()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin to count."""
        del epoch, logs
        self.steps.append(0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count."""
        del batch, logs
        self.steps[-1] += 1
        if sum(self.steps) == self.cut:
            raise Cut


def build() -> Any:
    """Return a small model, which is not built before it sees a batch."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    )
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def train(address: str, folder: Path, cut: int) -> dict[str, Any]:
    """Train from the last checkpoint, or anew; return the steps of each epoch, the items and the weights."""
    with penstock.connect(address, "train") as feed:
        checkpoint, watch = Checkpoint(feed, folder, every_batches=4), Watch(cut)
        model = checkpoint.restore(build)
        began = int(feed.state_dict()["position"])
        with suppress(Cut):
            model.fit(
                feed.keras(),
                epochs=EPOCHS,
                initial_epoch=checkpoint.initial_epoch,
                callbacks=[checkpoint, watch],
                verbose=0,
            )
        weights = [np.asarray(weight, np.float64).ravel().tolist() for weight in model.get_weights()]
        return {"began": began, "steps": watch.steps, "weights": weights, "position": feed.position}


def main(address: str, folder: str) -> None:
    """Write what three trainings did."""
    place = Path(folder)
    runs = [("whole", -1), ("cut", 22), ("cut", -1)]
    (place / "done.json").write_text(
        json.dumps([train(address, place / name, cut) for name, cut in runs]), encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
