"""`Hdf5Feed` under tf.data and Keras: the same batches, and a training that is resumed from a checkpoint."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from support.hdf5.files import write_file
from support.streams import epochs

from penstock.trainer import Hdf5Feed
from penstock.trainer.adapters.keras import Checkpoint

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 50 small images."""
    return write_file(tmp_path_factory.mktemp("files") / "set.h5", 50)


def open_feed(file: Path) -> Hdf5Feed:
    """Return a feed whose epoch has several windows: 8 batches, the last of one sample."""
    return Hdf5Feed(file, batch_size=7, run_mb=0.002, window_mb=0.008)


def test_a_dataset_gives_the_feeds_batches(file: Path) -> None:
    """Whole batches with static shapes, one epoch an iteration, its length declared."""
    expected = [batch["item"].tolist() for batch in epochs(open_feed(file), 2)]
    with open_feed(file) as feed:
        dataset = feed.dataset(("image", "item"))
        assert 8 == len(dataset)
        spec: Any = dataset.element_spec
        assert (12, 12, 3) == spec[0].shape[1:]
        got = [item.tolist() for _ in range(2) for _, item in dataset.as_numpy_iterator()]
    assert expected == got


def test_training_goes_on_after_a_crash_with_the_very_next_batch(file: Path, tmp_path: Path) -> None:
    """A checkpoint holds what was trained on, not what was read ahead."""

    class CrashError(Exception):
        pass

    class Crash(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            if batch == 3:
                raise CrashError

    def build() -> Any:
        inputs = keras.Input((12, 12, 3), dtype="uint8")
        pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(3)(pooled))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    with open_feed(file) as feed:
        callbacks = [Checkpoint(feed, tmp_path, every_batches=2), Crash()]
        with pytest.raises(CrashError):
            build().fit(feed.dataset(), epochs=2, callbacks=callbacks, verbose=0)
    with open_feed(file) as feed:
        again = Checkpoint(feed, tmp_path)
        model = again.restore(build)
        assert (0, 28) == (again.initial_epoch, feed.position)
        expected = epochs(open_feed(file), 1)[4]
        assert np.array_equal(expected["item"], next(iter(feed))["item"])
        feed.seek(28)
        model.fit(feed.dataset(), epochs=2, callbacks=[again], verbose=0)
        assert 100 == feed.position
