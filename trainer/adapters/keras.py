"""Keras callbacks: one saves a model and the feed's position side by side, and takes both up again after a crash.

Owns the folder of a checkpoint. What counts is what was *trained on*: tf.data has usually fetched some batches more.
A model file becomes visible only when it is whole, and the state file, which names it, is replaced last: whatever
moment a process is killed at, the folder holds a pair that belongs together, or none.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.protocol.errors import PenstockError, SpecError

try:
    import keras
except ImportError as missing:
    raise PenstockError(
        f"Keras is needed and cannot be imported ({missing}): pip install 'penstock[tf-cpu]', or 'penstock[tf]' with "
        "CUDA"
    ) from missing

if TYPE_CHECKING:
    from penstock.protocol.runtime.usage_monitor import Monitor
    from penstock.trainer.feed.batch_feed import BatchFeed

_STATE = "state.json"
#: Prefixes of a model that is whole, and of a file that is being written.
_MODEL, _PARTIAL = "model-", "partial-"


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that was loaded."""

    #: The model, compiled, with the states of its optimizer and of its random generators (dropout).
    model: Any
    #: The feed's state: what `Feed.load_state_dict` takes.
    feed: Mapping[str, Any]
    #: Keras's number of the epoch to go on with, unless `began` says otherwise.
    epoch: int
    #: In mid-epoch: the feed's epoch that Keras's epoch began in, if each of the two is one of the other; else None.
    began: int | None


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves the model and the position that it was trained up to, at each epoch's end and every so many batches.

    The same program, started again after a crash, goes on with the very next batch after the last one saved. The
    dataset may be mapped and prefetched on its way to `fit`; if batches are shuffled, filtered, cached or cut anew
    there, positions are lost. Keras's own averages of an epoch begin again after a resume in mid-epoch, and other
    callbacks keep no state. Trainers that share a stream save one checkpoint between them: that of one rank fits all.

    Examples:
        >>> checkpoint = Checkpoint(feed, "checkpoints", every_batches=200)  # doctest: +SKIP
        >>> model = checkpoint.restore(build_model)
        >>> model.fit(feed.dataset(), epochs=10, initial_epoch=checkpoint.initial_epoch, callbacks=[checkpoint])
    """

    def __init__(self, feed: "BatchFeed[Any]", directory: str | Path, *, every_batches: int | None = None) -> None:
        """Save to `directory`, which is made; every `every_batches` trained batches beside each epoch's end."""
        super().__init__()
        if every_batches is not None and every_batches < 1:
            raise SpecError(f"every_batches = {every_batches}: give 1 or more, or None for the ends of epochs only")
        self.feed, self.directory, self.every_batches = feed, Path(directory), every_batches
        #: The epoch to give to `fit`; set by `restore`.
        self.initial_epoch = 0
        #: Position trained on; None before the first batch.
        self._position: int | None = None
        self._fetched: deque[int] = deque()
        self._epoch = self._step = self._unsaved = 0
        self._began: int | None = None

    @staticmethod
    def load(directory: str | Path, *, custom_objects: Mapping[str, Any] | None = None) -> Saved | None:
        """Return what a folder holds, or None without a checkpoint in it. `custom_objects` go to Keras.

        Raises SpecError if the state file is not one, or the model that it names is missing.
        """
        path = Path(directory) / _STATE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            name, feed, epoch, began, seeds = (state[key] for key in ("model", "feed", "epoch", "began", "seeds"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpecError(f"{path}: not a checkpoint's state: {error!r}; remove the folder to begin anew") from error
        file = Path(directory) / name
        if not file.is_file():
            raise SpecError(f"{path} names {name!r}, which is not there; bring it back, or remove the folder")
        model = keras.saving.load_model(file, custom_objects=custom_objects)
        for variable, value in zip(_seeds(model), seeds, strict=True):
            variable.assign(value)
        return Saved(model, feed, epoch, began)

    def restore(self, build: Callable[[], Any], *, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Return the saved model, with the feed moved to where it was trained up to; without one, `build()`."""
        saved = self.load(self.directory, custom_objects=custom_objects)
        if saved is None:
            return build()
        self.feed.load_state_dict(saved.feed)
        self.initial_epoch = saved.epoch
        if saved.began is not None and self.feed.upcoming_epoch() > saved.began:
            self.initial_epoch += 1  # killed between an epoch's last batch and its end
        return saved.model

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Follow the batches that this `fit` will fetch."""
        del logs
        self._fetched, self._position, self._unsaved = self.feed.track(), None, 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count from here."""
        del logs
        self._epoch, self._step, self._began = epoch, 0, None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count what was trained on: with `steps_per_execution`, several batches at once."""
        del logs
        for _ in range(min(batch + 1 - self._step, len(self._fetched))):  # an epoch's last execution may be short
            self._position = self._fetched.popleft()
            self._unsaved += 1
            if self._began is None:
                self._began = self.feed.plan.epoch_of(self._position - 1)
        self._step = batch + 1
        if self._position is None:
            raise SpecError(
                f"Checkpoint: nothing of {self.feed!r} was trained on; give it the feed that `fit` trains from"
            )
        if self.every_batches and self._unsaved >= self.every_batches:
            whole = (self.params or {}).get("steps") == self.feed.batches_per_epoch
            self._save(self._epoch, self._began if whole else None)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save."""
        del logs
        if self._position is not None:
            self._save(epoch + 1, None)

    def _save(self, epoch: int, began: int | None) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        numbers = [file.stem.removeprefix(_MODEL) for file in self.directory.glob(f"{_MODEL}*.keras")]
        number = max([int(number) for number in numbers if number.isdecimal()], default=0) + 1
        name = f"{_MODEL}{number:08}.keras"
        feed = self.feed.state_dict() | {"position": self._position}
        model: Any = self.model
        seeds = [variable.numpy().tolist() for variable in _seeds(model)]
        state = {"model": name, "feed": feed, "epoch": epoch, "began": began, "seeds": seeds}
        self._put(name, model.save)
        self._put(_STATE, lambda path: path.write_text(json.dumps(state), encoding="utf-8"))
        for pattern in (f"{_MODEL}*.keras", f"{_PARTIAL}*"):
            for file in self.directory.glob(pattern):
                if file.name != name:
                    file.unlink(missing_ok=True)
        self._unsaved = 0

    def _put(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file so that its name only ever stands for the whole of it, also after a power cut."""
        partial = self.directory / f"{_PARTIAL}{name}"
        write(partial)
        _sync(partial)
        partial.replace(self.directory / name)
        _sync(self.directory)


class Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells a `usage_monitor.Monitor` of every training step; fetching a batch counts as part of its step."""

    def __init__(self, monitor: "Monitor") -> None:
        """Take a monitor that is, or will be, entered."""
        super().__init__()
        self.monitor = monitor

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a step."""
        del batch, logs
        self.monitor.begin()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """End it."""
        del batch, logs
        self.monitor.end()


def _seeds(model: Any) -> list[Any]:
    """Return the states of a model's random generators: Keras counts them as variables, and saves the weights only."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
