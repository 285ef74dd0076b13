"""The service `trainer`: trains a small Keras network on the stack's streams `train` and `validation`, and ends.

    python train.py SINK FOLDER

EPOCHS of the environment says how many epochs are wanted in all. Each stream has a folder of
its own in FOLDER, named by the stream's fingerprint: other images, or another spec, begin another training, and the
model of the first stays. A trainer that was killed continues from its last checkpoint.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import penstock
from penstock.protocol.errors import PenstockError, SpecError
from penstock.protocol.runtime import log as logs

#: Longest wait for the sink, or for a batch (s): a large set may take minutes to list.
PATIENCE_S = 600.0
#: Batches between two checkpoints, besides those at each epoch's end.
CHECKPOINT_BATCHES = 25
#: Epochs where EPOCHS was never said, and how many more are proposed.
EPOCHS = 3
#: Characters of the fingerprint that name a folder.
NAME = 12
#: Said of a full disk.
FULL = (
    "no space left on the disk that holds Docker's volumes: free some (`docker system df` shows what Docker uses); "
    "`docker compose up` then continues from the last checkpoint"
)

Say = Callable[..., None]


def main() -> int:
    """Train; return the exit status. What is wrong is said in one line."""
    log = logs.configure("trainer", "info", logs.style_from(os.environ.get("PENSTOCK_LOG_STYLE")))
    say, warn = log.info, log.error
    sink, folder = sys.argv[1], Path(sys.argv[2])

    def stop(number: int, _: FrameType | None) -> None:
        say("stopped: the next `docker compose up` continues from the last checkpoint")
        os._exit(128 + number)  # TensorFlow's threads take their time to end

    signal.signal(signal.SIGTERM, stop)
    try:
        train(sink, folder, say)
    except PenstockError as error:
        warn(str(error))
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC and os.strerror(errno.ENOSPC) not in str(error):
            raise
        warn(FULL)
        return 2
    return 0


def train(sink: str, folder: Path, say: Say) -> None:
    """Train as many epochs as are wanted in all; save the model. Raises PenstockError, OSError."""
    from penstock.demo.training import build  # noqa: PLC0415 - SIGTERM is handled by now
    from penstock.trainer.adapters.tf import import_tensorflow  # noqa: PLC0415

    import_tensorflow()  # takes seconds, in which the other services start
    with ExitStack() as opened:
        feeds = (penstock.connect(sink, name, timeout_s=PATIENCE_S) for name in ("train", "validation"))
        train, validation = (opened.enter_context(feed) for feed in feeds)
        run = folder / train.plan.fingerprint.rpartition(":")[2][:NAME]
        epochs = wanted(run, os.environ.get("EPOCHS", ""))
        checkpoint = penstock.keras.Checkpoint(train, run / "checkpoint", every_batches=CHECKPOINT_BATCHES)
        shape = train.schema[0].shape
        model = checkpoint.restore(lambda: build(shape, len(train.classes)))
        done = checkpoint.initial_epoch
        if done >= epochs:
            more = f"EPOCHS={done + EPOCHS} trains on, `docker compose down --volumes` starts over"
            say(f"trained for {done} epochs already: {more}")
        else:
            sizes = {"classes": len(train.classes), "batches_per_epoch": train.batches_per_epoch}
            say(f"training epochs {done + 1} to {epochs}", **sizes)
            model.fit(
                train.dataset(),
                validation_data=validation.dataset(),
                epochs=epochs,
                initial_epoch=done,
                callbacks=[checkpoint, teller(say, epochs)],
                verbose=0,
            )
            say(f"waiting for batches took {train.stats.wait_fraction:.0%} of the time")
            save(model, run / "model.keras")
    copied = f"`docker compose cp trainer:{run / 'model.keras'} .` copies it"
    say(f"done; model in {run / 'model.keras'}: {copied}; Ctrl-C (or `docker compose down`) ends the rest")


def wanted(run: Path, epochs: str) -> int:
    """Return how many epochs are wanted in all: a command that leaves EPOCHS out wants what the one before it said."""
    if epochs and not (epochs.isdecimal() and int(epochs)):
        raise SpecError(f"EPOCHS={epochs}: give a whole number, 1 or more")
    remembered = run / "epochs"
    run.mkdir(parents=True, exist_ok=True)
    if epochs:
        remembered.write_text(epochs, encoding="utf-8")
    elif remembered.exists():
        epochs = remembered.read_text(encoding="utf-8")
    return int(epochs or EPOCHS)


def save(model: Any, path: Path) -> None:  # noqa: ANN401 - Keras has no types
    """Save the model; the file appears under its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    model.save(partial)
    partial.replace(path)


def teller(say: Say, epochs: int) -> Any:  # noqa: ANN401
    """Return a Keras callback that says one line an epoch."""
    import keras  # noqa: PLC0415

    class Teller(keras.callbacks.Callback):  # type: ignore[misc]
        began = 0.0

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            del epoch, logs
            self.began = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            figures = {name: f"{value:.3f}" for name, value in (logs or {}).items()}
            say(f"epoch {epoch + 1} of {epochs}", **figures, seconds=f"{time.monotonic() - self.began:.1f}")

    return Teller()


if __name__ == "__main__":
    sys.exit(main())
