"""One run of `penstock bench`, in a process of its own: opens a stream or a generator, takes its batches, reports.

Timing covers a number of batches after the first few, which wait for processes to start and for networks to be
compiled. Without training the batches are discarded; with training they go to a small Keras network by `fit`.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from penstock.bench.cases import open_flow
from penstock.bench.loaders import LoaderSource, open_loader, open_spec
from penstock.bench.results import LOADERS
from penstock.launcher.inline import InlineFeed
from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import SpecError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.usage_monitor import Monitor
from penstock.protocol.spec.spec import only_stream
from penstock.terminal.child_process import Report, obey

#: Least time between two reports of progress (s).
_REPORT_S = 0.1


class GeneratorSource:
    """An iterator of `ImageDataGenerator`, Keras's or ours."""

    #: The highest value of an image.
    whole = 1.0

    def __init__(self, flow: Any) -> None:  # noqa: ANN401 - either library's
        """Take an iterator."""
        self._flow = flow
        #: Of an epoch.
        self.samples, self.batches, self.batch_size = int(flow.n), len(flow), int(flow.batch_size)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image."""
        return tuple(getattr(self._flow, "image_shape", None) or self._flow.x.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes."""
        labels = getattr(self._flow, "class_indices", None)
        return len(labels) if labels else int(np.max(self._flow.y)) + 1

    def __iter__(self) -> Iterator[Any]:
        """Yield batches without end."""
        while True:
            yield next(self._flow)

    def for_fit(self) -> Any:  # noqa: ANN401
        """Return the iterator itself, as scripts do."""
        return self._flow


class StreamSource:
    """A stream of a spec, by a stack or in this process."""

    def __init__(self, plan: StreamPlan, epoch: Callable[[int], Iterator[Mapping[str, Any]]]) -> None:
        """Take the batches of any epoch from `epoch`."""
        self.plan, self._epoch = plan, epoch
        self.whole = 255.0 if plan.schema[0].dtype == "uint8" else 1.0
        self.samples = plan.geometry.samples_per_epoch
        self.batches, self.batch_size = plan.batches_per_epoch(1), plan.settings.batch_size
        if not self.batches:
            raise SpecError(
                f"stream {plan.name!r}: an epoch of {self.samples} samples is less than one batch of {self.batch_size}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image. Raises SpecError if a small network cannot take it."""
        image = self.plan.schema[0]
        if image.axes != "hwc":
            raise SpecError(
                f"--train: images of stream {self.plan.name!r} have shape {image.shape}, axes {image.axes!r}: the "
                "network takes height, width, channels; leave --train out"
            )
        return image.shape

    @property
    def classes(self) -> int:
        """Number of classes. Raises SpecError without any."""
        label = next((field for field in self.plan.schema if field.name == "label"), None)
        if not self.plan.classes or label is None or label.shape or not np.issubdtype(label.dtype, np.integer):
            raise SpecError(f"--train: stream {self.plan.name!r} has no classes to learn; leave --train out")
        return len(self.plan.classes)

    def __iter__(self) -> Iterator[Any]:
        """Yield batches without end."""
        for epoch in count():
            yield from self._epoch(epoch)

    def for_fit(self) -> Any:  # noqa: ANN401
        """Return a generator: the same way into `fit` with workers and without."""
        return ((batch["image"], batch["label"]) for batch in self)


#: The source of batches.
Source = GeneratorSource | StreamSource | LoaderSource


@dataclass(slots=True)
class Stopwatch:
    """Times `batches` batches after the first `warm_up`, and reports the progress."""

    warm_up: int
    batches: int
    monitor: Monitor
    report: Report
    done: int = 0
    first_s: float = 0.0
    began_s: float = 0.0
    ended_s: float = 0.0
    _told: float = 0.0

    def lap(self) -> bool:
        """Count a batch; return whether that was the last one."""
        self.done += 1
        now = self.monitor.now()
        self.first_s = self.first_s or now
        if self.done == self.warm_up:
            self.began_s = now
        over = self.done >= self.warm_up + self.batches
        if over:
            self.ended_s = now
        if over or now - self._told > _REPORT_S:
            self._told = now
            self.report("batch", done=self.done, total=self.warm_up + self.batches)
        return over


def carry_out(order: Mapping[str, Any], report: Report) -> None:
    """Do one run: see `bench.Order`."""
    warnings.simplefilter("ignore")
    with Monitor(order["interval_s"]) as monitor, ExitStack() as cleanup:
        source = _open(order, cleanup)
        batches = order["batches"] or math.ceil(order["epochs"] * source.batches)
        watch = Stopwatch(order["warm_up"], batches, monitor, report)
        if order["train"] and not isinstance(source, LoaderSource):
            _train(source, watch)
        else:
            _drain(source, watch)
        taken = _samples(source, watch.warm_up, watch.warm_up + batches)
    report("done", **_facts(monitor, watch, taken))


def _open(order: Mapping[str, Any], cleanup: ExitStack) -> Source:
    if order["case"]:
        flow = open_flow(order["case"], order["library"], order["workers"], Path(order["data"]))
        cleanup.callback(getattr(flow, "close", lambda: None))
        return GeneratorSource(flow)
    spec = only_stream(open_spec(order["spec"]), order["stream"])
    if order["library"] in LOADERS:
        return open_loader(order["library"], spec, order["roots"], order["workers"])
    if not order["workers"]:
        feed = InlineFeed(spec, order["roots"])
        return StreamSource(feed.plan, feed.epoch)
    stack = cleanup.enter_context(LocalStack(spec, workers=order["workers"], roots=spec.known_roots(order["roots"])))
    fed = stack.feed(next(iter(spec.streams)))
    cleanup.enter_context(fed)
    return StreamSource(fed.plan, lambda _: iter(fed))


def _drain(source: Source, watch: Stopwatch) -> None:
    for _ in watch.monitor.watch(source):
        if watch.lap():
            return


def _train(source: GeneratorSource | StreamSource, watch: Stopwatch) -> None:
    import keras  # noqa: PLC0415 - takes seconds

    from penstock.demo.training import build  # noqa: PLC0415 - needs TensorFlow
    from penstock.trainer.adapters.keras import Steps  # noqa: PLC0415 - the same

    class Lap(keras.callbacks.Callback):  # type: ignore[misc]
        """Stops the training when enough was timed."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401
            del batch, logs
            if watch.lap():
                model: Any = self.model
                model.stop_training = True

    model = build(source.shape, source.classes, whole=source.whole)
    # Without steps_per_epoch a generator's epoch would never end; an iterator of Keras knows its own.
    total = watch.warm_up + watch.batches
    data = source.for_fit()
    steps = None if hasattr(data, "__len__") else source.batches
    epochs = math.ceil(total / source.batches)
    model.fit(data, epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=[Steps(watch.monitor), Lap()])


def _samples(source: Source, first: int, last: int) -> int:
    """Return how many samples batches `first` to `last` hold, an epoch's last one being what is left of it."""

    def before(batch: int) -> int:
        epochs, rest = divmod(batch, source.batches)
        whole = min(source.samples, source.batches * source.batch_size)
        return epochs * whole + min(rest * source.batch_size, source.samples)

    return before(last) - before(first)


def _facts(monitor: Monitor, watch: Stopwatch, samples: int) -> dict[str, Any]:
    steps = [step for step in monitor.steps if watch.began_s <= step.time_s <= watch.ended_s]
    until = watch.ended_s + monitor.interval_s
    times = [step.wait_s + step.run_s for step in steps] or [0.0]
    return {
        "samples": samples,
        "batches": watch.batches,
        "duration_s": watch.ended_s - watch.began_s,
        "first_batch_s": watch.first_s,
        "began_s": watch.began_s,
        "ended_s": watch.ended_s,
        "step_median_ms": float(np.median(times)) * 1e3,
        "step_p95_ms": float(np.percentile(times, 95)) * 1e3,
        "usage": [row for number, row in enumerate(monitor.rows()) if number == 0 or row["time_s"] <= until],
    }


def main() -> None:
    """Wait for the order."""
    obey(carry_out)


if __name__ == "__main__":
    main()
