"""The demo's training process: a small Keras network fed by a running stack.

`penstock demo` starts it and reads its progress as JSON lines from its standard output; TensorFlow's own output goes to
standard error. It ends when its standard input closes, which happens when `penstock demo` has ended.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import penstock
from penstock.terminal.child_process import Report, obey
from penstock.trainer.adapters.tf import import_tensorflow
from penstock.trainer.client.feed import Feed

#: Least time between two reports of batches (s).
_REPORT_S = 0.05


def main() -> None:
    """Import TensorFlow, wait for the order, train, report."""
    obey(_train, _prepare)


def _prepare(report: Report) -> None:
    began = time.perf_counter()
    version = import_tensorflow().__version__
    report("imported", version=version, seconds=time.perf_counter() - began)


def _train(order: Mapping[str, Any], report: Report) -> None:
    """Train as ordered: `address`, `epochs`."""
    feeds = {name: penstock.connect(order["address"], name) for name in ("train", "validation")}
    train, held_out = feeds["train"], feeds["validation"]
    model = build(train.schema[0].shape, len(train.classes))
    meter = Meter(train, report)
    report("training", parameters=model.count_params(), batches=train.batches_per_epoch, classes=train.classes)
    data, checked = train.dataset(), held_out.dataset()
    history = model.fit(data, validation_data=checked, epochs=order["epochs"], verbose=0, callbacks=[callback(meter)])
    for feed in feeds.values():
        feed.skip_epoch()  # the last account may be on its way yet
    accounts = {name: [account.model_dump() for account in feed.epochs] for name, feed in feeds.items()}
    first = min(train.plan.settings.batch_size, accounts["train"][0]["delivered"])
    report(
        "done",
        samples=sum(account["delivered"] for account in accounts["train"]) - first,
        trained_s=meter.trained_s,
        waited_s=meter.waited_s,
        classes=len(train.classes),
        accuracy=history.history["val_accuracy"][-1],
        accounts=accounts,
    )


def build(shape: Sequence[int], classes: int, *, whole: float = 255.0) -> Any:  # noqa: ANN401 - Keras has no types
    """Return a small compiled network for images of `shape` (height, width, channels), of values from 0 to `whole`."""
    import keras  # noqa: PLC0415 - takes seconds

    keras.utils.set_random_seed(7)
    levels = "uint8" if whole == 255.0 else "float32"  # noqa: PLR2004 - the highest of 8 bits
    layers: list[Any] = [keras.Input(tuple(shape), dtype=levels), keras.layers.Rescaling(2 / whole, offset=-1)]
    for filters, size, strides in ((16, 5, 2), (32, 3, 1), (64, 3, 1)):
        layers += [
            keras.layers.Conv2D(filters, size, strides, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.8),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(padding="same"),
        ]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])
    return model


class Meter:
    """Times training: without validation, and without the first step, which compiles."""

    def __init__(self, feed: Feed, report: Report) -> None:
        """Start at zero."""
        self.feed, self.report = feed, report
        self.trained_s = self.waited_s = 0.0
        self._began: float | None = None
        self._waited = 0.0
        self._epoch = self._reported = 0.0

    def start(self) -> None:
        """Note that training continues."""
        self._began, self._waited = time.perf_counter(), self.feed.stats.wait_s

    def stop(self) -> None:
        """Note that training pauses."""
        if self._began is not None:
            self.trained_s += time.perf_counter() - self._began
            self.waited_s += self.feed.stats.wait_s - self._waited
            self._began = None

    def epoch_began(self, epoch: int) -> None:
        """Report the progress."""
        self.report("epoch", epoch=epoch)
        self._epoch = time.perf_counter()
        if epoch > 0:
            self.start()

    def batch_ended(self, epoch: int, batch: int, logs: Mapping[str, float]) -> None:
        """Report the progress now and then."""
        now = time.perf_counter()
        if epoch == batch == 0:
            self.start()
            self._epoch = now
        if now - self._reported < _REPORT_S and batch + 1 < self.feed.batches_per_epoch:
            return
        self._reported = now
        batches = batch + 1 - (epoch == 0)
        rate = batches * self.feed.plan.settings.batch_size / max(now - self._epoch, 1e-9)
        waited = self.waited_s + (self.feed.stats.wait_s - self._waited if self._began else 0.0)
        total = self.trained_s + (now - self._began if self._began else 0.0)
        self.report("batch", epoch=epoch, batch=batch + 1, rate=rate, waits=waited / max(total, 1e-9), **logs)


def callback(meter: Meter) -> Any:  # noqa: ANN401
    """Return a Keras callback that works the meter."""
    import keras  # noqa: PLC0415

    class Callback(keras.callbacks.Callback):  # type: ignore[misc]
        """Reports the progress of Keras's `fit`."""

        epoch = 0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ANN401
            del logs
            self.epoch = epoch
            meter.epoch_began(epoch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401
            meter.batch_ended(self.epoch, batch, logs or {})

        def on_test_begin(self, logs: Any = None) -> None:  # noqa: ANN401
            del logs
            meter.stop()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ANN401
            meter.report("epoch_end", epoch=epoch, **(logs or {}))

    return Callback()


if __name__ == "__main__":
    main()
