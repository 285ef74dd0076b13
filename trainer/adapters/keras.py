"""Keras callbacks: `Checkpoint` saves a model together with the feed's position; `Steps` times training steps.

A checkpoint holds the position *trained on*: tf.data has usually fetched some batches more. A model file appears under
its name only when it is complete, and the state file, which names the model, is replaced last. So a process may be
killed at any moment: the folder then holds a model and a position that belong together, or nothing.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.protocol.errors import SpecError
from penstock.trainer.adapters.batches import ResumableSource
from penstock.trainer.adapters.frameworks import TENSORFLOW, missing_framework

try:
    import keras
except ImportError as missing:
    raise missing_framework("Keras", TENSORFLOW, missing) from missing

if TYPE_CHECKING:
    from penstock.protocol.runtime.usage_monitor import Monitor

_STATE = "state.json"
#: Prefixes of a complete model file, and of a file that is still being written.
_MODEL, _PARTIAL = "model-", "partial-"


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that was loaded."""

    #: The model, compiled, with the states of its optimizer and of its random generators (dropout).
    model: Any
    #: The feed's state, for `Feed.load_state_dict`.
    feed: Mapping[str, Any]
    #: Keras's number of the epoch to continue with, unless `began` says otherwise.
    epoch: int
    #: For a checkpoint in mid-epoch: the feed's epoch in which Keras's epoch began, if the epochs of both are equally
    #: long; else None.
    began: int | None


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves the model and the position it was trained up to, at each epoch's end and every `every_batches` batches.

    The same program, started again after a crash, continues with the very next batch after the last one saved. The
    dataset may be mapped and prefetched on its way to `fit`; shuffling, filtering, caching or rebatching it there
    loses the positions. After a resume in mid-epoch, Keras's own averages of that epoch start again, and other
    callbacks keep no state. Trainers that share a stream need one checkpoint: the one of any rank fits all.

    Examples:
        >>> checkpoint = Checkpoint(feed, "checkpoints", every_batches=200)  # doctest: +SKIP
        >>> model = checkpoint.restore(build_model)
        >>> model.fit(feed.dataset(), epochs=10, initial_epoch=checkpoint.initial_epoch, callbacks=[checkpoint])
    """

    def __init__(self, feed: ResumableSource, directory: str | Path, *, every_batches: int | None = None) -> None:
        """Save to `directory`, which is created, at each epoch's end and every `every_batches` trained batches."""
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
        """Return the checkpoint in a folder, or None if there is none. `custom_objects` go to Keras.

        Raises SpecError if the state file is damaged, or the model that it names is missing.
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
        """Return the saved model, and move the feed to its position; without a checkpoint, return `build()`."""
        saved = self.load(self.directory, custom_objects=custom_objects)
        if saved is None:
            return build()
        self.feed.load_state_dict(saved.feed)
        self.initial_epoch = saved.epoch
        if saved.began is not None and self.feed.upcoming_epoch() > saved.began:
            self.initial_epoch += 1  # killed between an epoch's last batch and its end
        return saved.model

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Track the batches that this `fit` will fetch."""
        del logs
        self._fetched, self._position, self._unsaved = self.feed.track(), None, 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start counting the epoch's batches."""
        del logs
        self._epoch, self._step, self._began = epoch, 0, None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count the batches trained on: with `steps_per_execution`, several at once."""
        del logs
        for _ in range(min(batch + 1 - self._step, len(self._fetched))):  # an epoch's last execution may be short
            self._position = self._fetched.popleft()
            self._unsaved += 1
            if self._began is None:
                self._began = self.feed.epoch_of(self._position - 1)
        self._step = batch + 1
        if self._position is None:
            raise SpecError(
                f"Checkpoint: no batch of {self.feed!r} was trained on; give it the feed that `fit` trains from"
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
        """Write a file so that its name never shows a part of it, not even after a power cut."""
        partial = self.directory / f"{_PARTIAL}{name}"
        write(partial)
        _sync(partial)
        partial.replace(self.directory / name)
        _sync(self.directory)


class Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports every training step to a `penstock.Monitor`; fetching a batch counts as part of its step."""

    def __init__(self, monitor: "Monitor") -> None:
        """Take a monitor; enter it before `fit`."""
        super().__init__()
        self.monitor = monitor

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a step."""
        del batch, logs
        self.monitor.begin()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """End the step."""
        del batch, logs
        self.monitor.end()


def _seeds(model: Any) -> list[Any]:
    """Return the states of a model's random generators: they are variables to Keras, which saves only weights."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
