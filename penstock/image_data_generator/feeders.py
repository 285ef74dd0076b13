"""Feeders give an image iterator its pixels: images of an array unchanged, or images made in this process.

A feeder returns the images of a batch of an epoch, and their items. All feeders of one source and seed give
the same bytes, whatever the number of workers. `workers.py` has the feeder that uses worker processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import FailureBudgetError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.order import Geometry, Int64s
from penstock.protocol.philox import uniforms
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.augment import Augment
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import Loaded
from penstock.worker.imaging.augment.apply import change_randomly
from penstock.worker.imaging.augment.parameters import columns
from penstock.worker.imaging.pipeline import Pipeline

Images = npt.NDArray[Any]
#: The stream's name in the spec, which the user never sees, and the root that paths are relative to: absolute ones are.
STREAM, ROOT = "train", "files"


class Feeder(Protocol):
    """The source of an iterator's batches; for one thread at a time."""

    def batch(self, epoch: int, index: int) -> tuple[Images, Int64s]:
        """Return the images (samples, height, width, channels) of a batch of an epoch, and their items (int64)."""
        ...

    def close(self) -> None:
        """Stop what runs; the next `batch` starts it again."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """Which items make which batch: the stream's own order, the same in every process."""

    seed: int
    samples: int
    batch_size: int
    shuffle: bool

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return -(-self.samples // self.batch_size)

    def items(self, epoch: int, index: int) -> Int64s:
        """Return the items of a batch."""
        if not self.samples:
            return np.empty(0, np.int64)
        start = index * self.batch_size
        return self._geometry.order(epoch, range(start, min(start + self.batch_size, self.samples)))

    def epoch(self, epoch: int) -> Int64s:
        """Return all items of an epoch."""
        return self._geometry.order(epoch, range(self.samples)) if self.samples else np.empty(0, np.int64)

    @property
    def _geometry(self) -> Geometry:
        return Geometry(
            seed=self.seed, items=self.samples, patches=1, mix=1, task_items=self.batch_size, shuffle=self.shuffle
        )


class Unchanged:
    """Images of an array as they are."""

    def __init__(self, images: Images, order: Order) -> None:
        """Take images (count, height, width, channels) of any type."""
        self._images, self._order = images, order

    def batch(self, epoch: int, index: int) -> tuple[Images, Int64s]:
        """Return copies."""
        items = self._order.items(epoch, index)
        return self._images[items], items

    def close(self) -> None:
        """Do nothing."""


#: Changes images (samples, height, width, channels); a row of uniforms for each.
Change = Callable[[Images, npt.NDArray[np.float64]], Images]


class Changed:
    """Batches of another feeder, changed in this process by a function, for changes that workers cannot make."""

    def __init__(self, feeder: Feeder, order: Order, columns: int, change: Change) -> None:
        """Take the function, and how many uniforms it is given: the same that a worker would draw."""
        self._feeder, self._order, self._columns, self._change = feeder, order, columns, change

    def batch(self, epoch: int, index: int) -> tuple[Images, Int64s]:
        """Return the changed images."""
        images, items = self._feeder.batch(epoch, index)
        draws = uniforms(self._order.seed, epoch, items, 1, self._columns)[:, 0]
        return self._change(images, draws), items

    def close(self) -> None:
        """Close the other one."""
        self._feeder.close()


def change_by(settings: Augment) -> tuple[int, Change]:
    """Return the number of uniforms, and a function that changes float images as workers change 8-bit ones."""
    return columns(settings), lambda images, draws: change_randomly(images, settings, draws)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The images to change at random: files, or 8-bit images of an array."""

    #: The spec's transform.
    transform: Mapping[str, Any]
    #: For workers: the spec's source, with objects (`images`, `frame`) as `penstock.local` takes them.
    source: Mapping[str, Any]
    #: For this process, one of these: the path of an item below the root;
    path: Callable[[int], str] | None = None
    #: all images (count, height, width, channels).
    images: npt.NDArray[np.uint8] | None = None


def stream_of(transform: Mapping[str, Any], order: Order, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec's stream, as a mapping."""
    return {
        "source": {"root": ROOT, "allow_outside": True, **source},
        "transform": dict(transform),
        "shuffle": order.shuffle,
        "batch_size": order.batch_size,
        "failure_budget": 0.0,  # as in Keras: an image that cannot be read ends the run with an error
    }


def unreadable(path: str, reason: str) -> FailureBudgetError:
    """Return the error for an image that cannot be read, the same in workers and in this process."""
    return FailureBudgetError(f"/{path}: {reason}. Repair the file, or leave it out")


class InProcessFeeder:
    """Makes batches in this process, with the pipeline of a worker."""

    def __init__(self, source: Source, order: Order) -> None:
        """Start nothing yet."""
        self._source, self._order = source, order
        self._pipeline: Pipeline | None = None

    def batch(self, epoch: int, index: int) -> tuple[Images, Int64s]:
        """Make the batch. Raises FailureBudgetError, naming the file, if an image cannot be read."""
        if self._pipeline is None:
            self._pipeline = _pipeline(self._source.transform, self._order)
        wanted = self._order.items(epoch, index)
        task, loaded = self._task(epoch, wanted)
        outcome = self._pipeline.make(task, loaded or self._pipeline.read(task))
        for failure in outcome.failures:
            raise unreadable(failure.path, failure.reason)
        fields = dict(zip((field.name for field in self._pipeline.plan.schema), outcome.arrays, strict=True))
        return fields["image"], wanted

    def close(self) -> None:
        """Forget the pipeline."""
        self._pipeline = None

    def _task(self, epoch: int, wanted: Int64s) -> tuple[Task, Loaded | None]:
        """Return a batch as a worker's task and, of an array, what it reads."""
        numbers, path, images = wanted.tolist(), self._source.path, self._source.images
        paths = [path(number) if path else str(number) for number in numbers]
        items = tuple(Item(item=item, path=path, label=0) for item, path in zip(numbers, paths, strict=True))
        task = Task(key=TaskKey(stream=STREAM, ordinal=0), attempt=0, epoch=epoch, items=items)
        if images is None:
            return task, None
        return task, Loaded(items=wanted, labels=np.zeros(len(wanted), np.int32), paths=paths, contents=images[wanted])


def _pipeline(transform: Mapping[str, Any], order: Order) -> Pipeline:
    """Return a pipeline for any files below the root; a source of files is not opened before it is read."""
    stream = stream_of(transform, order, {"kind": "directory"})
    spec = parse_spec({"seed": order.seed, "streams": {STREAM: stream}})
    plan = StreamPlan(
        name=STREAM, seed=order.seed, settings=spec.streams[STREAM], items=order.samples, classes=(), fingerprint=""
    )
    return Pipeline(plan, {ROOT: "/"})
