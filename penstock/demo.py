"""`penstock demo`: the whole pipeline on real JPEG files, training a small Keras network, in about a minute.

Owns the demo's model, display and summary. Everything it feeds on is what any program would use: a spec, `LocalStack`,
`feed.dataset()`.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from penstock.protocol.errors import PenstockError
from penstock.protocol.service import run
from penstock.protocol.settings import Settings
from penstock.samples import make_samples
from penstock.stack import LocalStack
from penstock.trainer.client import Feed
from penstock.verdict import judge

#: Side of the square images that the network sees (pixels).
_SIDE = 64
#: Files a class that are drawn: to train on and held out.
_DRAWN, _DRAWN_QUICK = (240, 60), (40, 12)
#: Seconds that an orderly stop may take after Ctrl-C before the process leaves at once.
_GRACE_S = 3.0
_INTERRUPTED = 130


class DemoSettings(Settings):
    """Trains a small network on generated or your own images and says who waited for whom."""

    data: str | None = None
    """Folder with your images, a folder a class; a fifth of each class is held out. Default: a set is drawn."""
    epochs: int = Field(default=5, ge=1)
    """Epochs to train."""
    workers: int | None = Field(default=None, ge=1)
    """Worker processes; default: one a core."""
    batch_size: int = Field(default=32, ge=1)
    """Samples in a batch."""
    quick: bool = False
    """Draw a smaller set."""


def spec_of(folder: Path, settings: DemoSettings) -> dict[str, Any]:
    """Return the demo's spec: `folder` is the user's, or holds `train` and `held-out`."""

    def stream(path: str, subset: str, *, train: bool) -> dict[str, Any]:
        source: dict[str, Any] = {"kind": "directory", "root": "images", "path": path}
        if settings.data:
            source |= {"validation_split": 0.2, "subset": subset}
        transform = {"resize": {"height": _SIDE, "width": _SIDE}, "augment": {"horizontal_flip": train}}
        return {"source": source, "transform": transform, "batch_size": settings.batch_size, "shuffle": train}

    paths = ("", "") if settings.data else ("train", "held-out")
    return {
        "seed": 7,
        "roots": {"images": str(folder)},
        "streams": {
            "train": stream(paths[0], "training", train=True),
            "validation": stream(paths[1], "validation", train=False),
        },
    }


def build(classes: int) -> Any:  # noqa: ANN401 - Keras has no types
    """Return a small compiled network for uint8 images."""
    import keras  # noqa: PLC0415 - takes seconds

    keras.utils.set_random_seed(7)
    layers: list[Any] = [keras.Input((_SIDE, _SIDE, 3), dtype="uint8"), keras.layers.Rescaling(1 / 127.5, offset=-1)]
    for filters in (16, 32, 64):
        layers += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
        ]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])
    return model


def train(model: Any, feed: Feed, held_out: Feed, epochs: int, console: Console) -> float:  # noqa: ANN401 - Keras
    """Train with a live display; return the accuracy on the held-out images."""
    import keras  # noqa: PLC0415 - takes seconds

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[facts]}"),
    )

    class Display(keras.callbacks.Callback):  # type: ignore[misc]
        """Moves the bar of the epoch."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, float]) -> None:
            del logs
            self.began, self.samples = time.perf_counter(), feed.stats.samples
            self.bar = progress.add_task(f"epoch {epoch + 1}/{epochs}", total=feed.batches_per_epoch, facts="")

        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            rate = (feed.stats.samples - self.samples) / (time.perf_counter() - self.began)
            facts = f"{rate:5,.0f} images/s  waits {feed.stats.wait_fraction:4.0%}  accuracy {logs['accuracy']:.2f}"
            progress.update(self.bar, completed=batch + 1, facts=facts)

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            del epoch
            facts = f"accuracy {logs['accuracy']:.2f}, held out {logs['val_accuracy']:.2f}"
            progress.update(self.bar, facts=facts)

    with Progress(*columns, console=console) as progress:
        history = model.fit(
            feed.dataset(),
            validation_data=held_out.dataset(),
            epochs=epochs,
            verbose=0,
            shuffle=False,
            callbacks=[Display()],
        )
    return float(history.history["val_accuracy"][-1])


def summarise(stack: LocalStack, feeds: dict[str, Feed], seconds: float, accuracy: float, console: Console) -> None:
    """Print what the run came to."""
    feed = feeds["train"]
    spent = stack.status()["ventilator"].get("streams", {}).get("train", {}).get("spent", {})
    facts = Table(show_header=False, title="what it came to", title_justify="left")
    facts.add_row(
        "images trained on", f"{feed.stats.samples:,} in {seconds:.1f} s: {feed.stats.samples / seconds:,.0f} a second"
    )
    facts.add_row("who waited for whom", judge(feed.stats.wait_fraction, spent, stack.workers).sentence)
    chance = 1 / len(feed.classes)
    facts.add_row("accuracy, held out", f"{accuracy:.3f} (chance: {chance:.3f}, {len(feed.classes)} classes)")
    console.print(facts)
    table = Table(
        "stream", "epoch", "delivered", "+ quarantined", "+ dropped", "= expected", title="every sample accounted for"
    )
    for name, each in feeds.items():
        for end in each.epochs:
            counts = (end.delivered, end.quarantined, end.dropped, end.expected)
            table.add_row(name, str(end.epoch), *(f"{count:,}" for count in counts))
    console.print(table)
    if stack.quarantine.exists() and stack.quarantine.stat().st_size:
        console.print("[yellow]quarantined:[/]")
        console.print(stack.quarantine.read_text(encoding="utf-8"), markup=False, highlight=False)


@contextmanager
def _interruptible(console: Console) -> Iterator[None]:
    """Make Ctrl-C stop everything in order, and by force if that takes too long; never with a traceback."""

    interrupted = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupted.set()
        threading.Thread(target=_leave_late, daemon=True).start()
        raise KeyboardInterrupt

    def _leave_late() -> None:
        time.sleep(_GRACE_S)
        os._exit(_INTERRUPTED)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    except BaseException:
        if not interrupted.is_set():  # TensorFlow may turn the interrupt into an error of its own
            raise
        console.show_cursor()
        console.print("\ninterrupted: everything is stopped")
        _leave(_INTERRUPTED)


def _leave(status: int) -> None:
    """End the process without TensorFlow's own teardown, which may wait for threads that are blocked."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve(settings: DemoSettings) -> int:
    """Run the demo; return the exit status."""
    console = Console()
    with _interruptible(console), tempfile.TemporaryDirectory(prefix="penstock-demo-") as scratch:
        folder = Path(settings.data).absolute() if settings.data else Path(scratch)
        if not settings.data:
            with console.status("drawing a set of JPEG files"):
                _draw(folder, *(_DRAWN_QUICK if settings.quick else _DRAWN))
        with LocalStack(spec_of(folder, settings), workers=settings.workers) as stack:
            console.print(
                f"penstock demo: {stack.workers} workers, images from {settings.data or 'a set drawn just now'}"
            )
            with console.status("importing TensorFlow"):
                _import_tensorflow()
            feeds = {name: stack.feed(name) for name in ("train", "validation")}
            model = build(len(feeds["train"].classes))
            began = time.perf_counter()
            accuracy = train(model, feeds["train"], feeds["validation"], settings.epochs, console)
            summarise(stack, feeds, time.perf_counter() - began, accuracy, console)
    return 0


def _draw(folder: Path, train: int, held_out: int) -> None:
    for _ in make_samples(folder, train=train, held_out=held_out):
        pass


def _import_tensorflow() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up notes are not ours to show
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow  # noqa: F401, ICN001, PLC0415 - takes seconds
    except ImportError as error:
        raise PenstockError(
            f"the demo trains with TensorFlow, which is not installed ({error}): pip install 'penstock[tf-cpu]'"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock demo`."""
    status = run(DemoSettings, serve, "demo", arguments)
    _leave(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
