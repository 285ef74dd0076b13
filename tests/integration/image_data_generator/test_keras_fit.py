"""Keras trains on `ImageDataGenerator`, in `fit` and in a whole old script, as with its own class."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.keras.worker_flows import WILD, from_folder

from penstock import ImageDataGenerator

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left_over")]
SCRIPT = Path(__file__).resolve().parents[2] / "support" / "keras" / "script.py"


def make_model() -> Any:
    """Return a small compiled model, always with the same weights."""
    keras = pytest.importorskip("keras", reason="NOT TESTED: Keras is not installed")
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((40, 44, 3)),
        keras.layers.Conv2D(4, 3, 2),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


def test_keras_trains_alike_with_workers_and_without(photos: Path) -> None:
    """`fit` with validation, class weights, and a few steps an epoch; `evaluate`; `predict` in the files' order."""
    results = []
    for workers in (0, 2):
        model = make_model()
        generator = ImageDataGenerator(**WILD)
        with from_folder(photos, workers) as train:
            held_out = generator.flow_from_directory(
                photos / "validation", (40, 44), batch_size=8, shuffle=False, seed=1, workers=workers
            )
            history = model.fit(train, validation_data=held_out, epochs=2, verbose=0)
            history = [*history.history.values()]
            model.fit(train, epochs=3, steps_per_epoch=2, class_weight={0: 1.0, 1: 2.0}, verbose=0)
            scores = model.evaluate(held_out, verbose=0)
            predictions = model.predict(held_out, verbose=0)
            held_out.close()
        assert (22, 2) == predictions.shape
        results.append([*np.ravel(history), *scores, *predictions.ravel()])
    assert results[0] == results[1]


def test_every_epoch_of_fit_is_one_epoch_of_the_iterator() -> None:
    """Every sample once an epoch, the first epoch from the first batch on, though Keras shuffles what it asks for."""
    keras = pytest.importorskip("keras", reason="NOT TESTED: Keras is not installed")

    class Seen(keras.layers.Layer):  # type: ignore[misc,name-defined]
        """Notes what passes through."""

        batches: list[Any]

        def call(self, x: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras's signature
            if training:
                self.batches.append(np.asarray(x)[:, 0])
            return x

    seen = Seen()
    seen.batches = []
    model = keras.Sequential([keras.Input((1,)), seen, keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    images = np.zeros((44, 4, 4, 1), np.uint8)

    given = (images, np.arange(44.0))
    iterator, expected = (ImageDataGenerator().flow(given, np.zeros(44), batch_size=8, seed=2) for _ in range(2))

    class Numbers(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        """Passes all that Keras asks for on, and only the numbers back."""

        def __getitem__(self, index: int) -> Any:
            (_, numbers), labels = iterator[index]
            return numbers[:, np.newaxis], labels

        @property
        def num_batches(self) -> int:
            return int(iterator.num_batches)

        def on_epoch_end(self) -> None:
            iterator.on_epoch_end()

    model.fit(Numbers(), epochs=3, verbose=0)
    numbers = np.concatenate(seen.batches)
    assert 3 * 44 == len(numbers)
    assert np.array_equal(np.concatenate([next(expected)[0][1] for _ in range(18)]), numbers)


def test_an_exception_in_fit_leaves_no_process_behind(photos: Path) -> None:
    """A callback raises; the iterator is forgotten, and its processes go."""
    keras = pytest.importorskip("keras", reason="NOT TESTED: Keras is not installed")

    class Fails(keras.callbacks.Callback):  # type: ignore[misc,name-defined]
        """Raises in the second batch."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            if batch == 1:
                raise ArithmeticError("no more")

    with pytest.raises(ArithmeticError), from_folder(photos, 2) as iterator:
        make_model().fit(iterator, epochs=2, verbose=0, callbacks=[Fails()])


def test_an_old_script_runs_after_changing_its_import(photos: Path, tmp_path: Path) -> None:
    """As it is with Keras's class, and with ours: both find the same classes, files, labels, statistics and shapes."""
    old = "from tensorflow.keras.preprocessing.image import ImageDataGenerator\n"
    text = SCRIPT.read_text(encoding="utf-8")
    assert 1 == text.count(old)
    scripts = {}
    for name, new in (("old", old), ("new", "from penstock import ImageDataGenerator\n")):
        (tmp_path / f"{name}.py").write_text(text.replace(old, new), encoding="utf-8")
        command = [sys.executable, str(tmp_path / f"{name}.py"), str(photos), str(tmp_path / f"{name}.json")]
        scripts[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    reports = []
    for name, script in scripts.items():
        said, errors = script.communicate(timeout=300)
        assert 0 == script.returncode, said + errors
        reports.append((json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")), said))
    assert reports[0] == reports[1]
