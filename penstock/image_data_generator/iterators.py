"""The iterators that `ImageDataGenerator` returns: endless, indexable, and accepted by Keras's `fit`.

They define an iterator's public attributes and assemble a feeder's images into batches. The feeders produce the pixels.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from penstock.image_data_generator.epochs import Turns
from penstock.image_data_generator.feeders import Feeder, Order
from penstock.image_data_generator.files import ENDINGS
from penstock.image_data_generator.saving import Saver
from penstock.image_data_generator.settings import ImageSettings
from penstock.image_data_generator.standardize import standardize_batch
from penstock.image_data_generator.targets import Targets
from penstock.protocol.errors import ArgumentError, ArgumentTypeError
from penstock.protocol.order import Int64s

Images = npt.NDArray[Any]
_NOT_ELSEWHERE = "it has worker processes of its own; leave `use_multiprocessing` out, and give workers = N to `flow`"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an iterator."""

    generator: ImageSettings
    order: Order
    feeder: Feeder
    targets: Targets
    saver: Saver
    #: The seed argument, unchanged.
    seed: int | None
    #: Worker processes; 0: none.
    workers: int
    #: Divisor of the levels: see `arrays.py`.
    divisor: float = 1.0


class ImageIterator:
    """Batches without end, in a new order every epoch; also a sequence of an epoch's batches.

    A batch is `images`, `(images, labels)` or `(images, labels, weights)`; images are floats (samples, height, width,
    channels), or channels first if the generator is set so. `next` goes on for ever, `len` is the number of batches of
    an epoch, and `iterator[i]` is batch i of the current epoch. May be shared by threads. `close`, leaving a `with`
    block, forgetting the iterator and the end of the program stop its worker processes.
    """

    #: Suffixes of image files, under Keras's name.
    white_list_formats: ClassVar[tuple[str, ...]] = ENDINGS

    def __init__(self, parts: Parts) -> None:
        """Start nothing yet."""
        super().__init__()
        order = parts.order
        self.image_data_generator = parts.generator
        #: Samples of an epoch, under Keras's two names.
        self.n = self.samples = order.samples
        self.batch_size, self.shuffle, self.seed = order.batch_size, order.shuffle, parts.seed
        self.data_format, self.dtype = parts.generator.data_format, parts.generator.dtype
        saver = parts.saver
        self.save_to_dir, self.save_prefix, self.save_format = saver.folder, saver.prefix, saver.suffix
        self.worker_processes = parts.workers
        #: Batches handed out since the iterator was made.
        self.total_batches_seen = 0
        self._parts = parts
        self._turns = Turns(order.batches)
        #: Held while a batch is made: threads take turns.
        self.lock = threading.RLock()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        """Show the sizes and the position."""
        where = f"{self.worker_processes} worker processes" if self.worker_processes else "this process"
        return (
            f"<{type(self).__name__} of {self.n} samples in batches of {self.batch_size}, made by {where}, at batch "
            f"{self.batch_index} of epoch {self.epoch}>"
        )

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self._turns.batches

    def __iter__(self) -> Self:
        """Return the iterator itself: it never ends."""
        return self

    def __next__(self) -> Any:
        """Return the next batch."""
        with self.lock:
            self._check()
            return self._batch(*self._turns.next())

    def next(self) -> Any:
        """Return the next batch: what Keras 2 called it."""
        return next(self)

    def __getitem__(self, index: Any) -> Any:
        """Return batch `index` of the current epoch; in Keras's `fit`, the epoch's next batch (see `epochs.py`).

        Raises ArgumentError, a ValueError, if the epoch has no such batch.
        """
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise ArgumentTypeError(f"batch {index!r} was asked for: give a whole number")
        with self.lock:
            self._check()
            return self._batch(*self._turns.at(int(index)))

    def __reduce__(self) -> str:
        """Refuse to be pickled. Raises ArgumentTypeError."""
        raise ArgumentTypeError(f"{self!r} cannot be sent to another process: {_NOT_ELSEWHERE}")

    def __enter__(self) -> Self:
        """Return the iterator itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @property
    def num_batches(self) -> int:
        """Batches of an epoch. Keras reads this right before each pass; no other reader does."""
        with self.lock:
            self._turns.announce()
        return self._turns.batches

    @property
    def workers(self) -> int:
        """One, whatever is set: Keras's threads would only wait for each other here. See `worker_processes`."""
        return 1

    @workers.setter
    def workers(self, value: Any) -> None:
        _ignored("workers", value)

    @property
    def use_multiprocessing(self) -> bool:
        """False, whatever is set: Keras's processes cannot use an iterator."""
        return False

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: Any) -> None:
        _ignored("use_multiprocessing", value)

    @property
    def batch_index(self) -> int:
        """Which batch of its epoch `next` returns next."""
        return self._turns.index

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return self._turns.epoch

    @property
    def index_array(self) -> Int64s:
        """The samples in the order of the current epoch."""
        return self._parts.order.epoch(self._turns.epoch)

    @property
    def index_generator(self) -> Iterator[Int64s]:
        """Yields the samples of each batch to come, which is not made then: each counts as handed out."""
        while True:
            with self.lock:
                epoch, index = self._turns.next()
                self.total_batches_seen += 1
            yield self._parts.order.items(epoch, index)

    def reset(self) -> None:
        """Begin a new epoch with the next batch; nothing changes if one has just begun."""
        with self.lock:
            self._turns.reset()

    def on_epoch_begin(self) -> None:
        """Do nothing: Keras calls this."""

    def on_epoch_end(self) -> None:
        """Begin a new epoch, if this one was indexed by hand."""
        with self.lock:
            self._turns.end_epoch()

    def close(self) -> None:
        """Stop the worker processes and wait until they are gone; the next batch would start them again.

        Does nothing in a forked process: the workers are its parent's.
        """
        if os.getpid() != self._pid:
            return
        self._parts.feeder.close()  # first without the lock: another thread may hold it while it waits for a batch
        with self.lock:
            self._parts.feeder.close()

    def _batch(self, epoch: int, index: int) -> Any:
        parts = self._parts
        images, items = parts.feeder.batch(epoch, index)
        self.total_batches_seen += 1
        batch = self._standardized(images)
        if parts.saver.folder:
            shown = np.moveaxis(batch, 1, -1) if self.data_format == "channels_first" else batch
            parts.saver.save(shown, items, parts.order.seed, epoch)
        return parts.targets.join(batch, items)

    def _standardized(self, images: Images) -> Images:
        """Return the images normalised, as floats, with the channels where the generator wants them."""
        parts, generator = self._parts, self.image_data_generator
        if self.data_format == "channels_first":
            images = np.moveaxis(images, -1, 1)
        batch = images.astype(self.dtype)
        if parts.divisor != 1.0:
            batch /= parts.divisor
        if generator.standardizes_itself:
            return np.stack([generator.standardize(image) for image in batch]).astype(self.dtype, copy=False)
        return standardize_batch(generator, batch).astype(self.dtype, copy=False)

    def _check(self) -> None:
        if not self.n:
            raise ArgumentError(f"{self!r} has no samples: look at the folder, `classes`, `subset` and the file names")
        if os.getpid() != self._pid:
            raise ArgumentError(
                f"{self!r} was made in process {self._pid} and is used in {os.getpid()}: {_NOT_ELSEWHERE}"
            )


def _ignored(name: str, value: Any) -> None:
    warnings.warn(f"{name} = {value!r} is ignored: give workers = N to the generator or to `flow`", stacklevel=3)


class NumpyArrayIterator(ImageIterator):
    """Batches of arrays: what `ImageDataGenerator.flow` returns."""

    def __init__(self, parts: Parts, x: Images) -> None:
        """Show the arrays under Keras's names."""
        super().__init__(parts)
        targets = parts.targets
        self.x, self.y, self.x_misc, self.sample_weight = x, targets.y, list(targets.inputs), targets.weights
