"""One task's items to samples: owns the path from file to arrays, and which failures are the item's own fault.

Refuses to know sockets, leases and threads. Everything here is a pure function of the plan, the task and the files, so
any worker, at any time, makes the same bytes. A failure of an item is an ItemError and becomes a `messages.Failure`;
any other exception is a bug of ours and leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from penstock.protocol import messages
from penstock.protocol.errors import ItemError, SpecError
from penstock.protocol.order import sample_generator
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array
from penstock.worker import augment, patches
from penstock.worker.decode import Decoder, Pixels
from penstock.worker.read import read_file

#: Longest reason (characters) that a message may carry.
_MAX_REASON = 4096


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task."""

    #: One array a field of the schema, samples first: by item, then by patch; failed items are left out.
    arrays: list[Array]
    failures: tuple[messages.Failure, ...]
    timings: messages.Timings


class Pipeline:
    """Makes the samples of one stream. `read` may run on one thread while `make` runs on another."""

    def __init__(self, plan: StreamPlan, roots: Mapping[str, str | Path]) -> None:
        """Map the stream's root by `roots`; raises SpecError if it has no entry."""
        #: The plan that the samples are made by.
        self.plan = plan
        source, transform = plan.settings.source, plan.settings.transform
        if source.root not in roots:
            known = ", ".join(sorted(roots)) or "none"
            raise SpecError(
                f"stream {plan.name!r} reads root {source.root!r}, which has no folder here (mapped: {known}): "
                f"give --root {source.root}=/path"
            )
        self._root = Path(roots[source.root])
        self._allow_outside = source.allow_outside
        self._max_file_bytes = int(transform.max_file_mb * 1e6)
        self._seed = plan.seed
        self._patches = plan.settings.patches
        self._transform = transform
        self._decoder = Decoder(
            transform.color, exif_orientation=transform.exif_orientation, max_megapixels=transform.max_megapixels
        )
        self._draws = augment.draws(transform.augment) or (
            transform.patch is not None and transform.patch.kind == "random"
        )

    def run(self, task: messages.Task) -> Outcome:
        """Read the task's files and make its samples."""
        start = perf_counter()
        blobs = self.read(task)
        read_s = perf_counter() - start
        outcome = self.make(task, blobs)
        return replace(outcome, timings=outcome.timings.model_copy(update={"read_s": read_s}))

    def read(self, task: messages.Task) -> list[bytes | ItemError]:
        """Return each item's bytes, or why they cannot be had."""
        return [self._read(item) for item in task.items]

    def _read(self, item: messages.Item) -> bytes | ItemError:
        try:
            return read_file(self._root, item.path, self._max_file_bytes, allow_outside=self._allow_outside)
        except ItemError as error:
            return error

    def make(self, task: messages.Task, blobs: Sequence[bytes | ItemError]) -> Outcome:
        """Make the samples of what `read` returned; `timings.read_s` stays 0, as only the caller knows it."""
        start, decode_s = perf_counter(), 0.0
        fields, samples, failures = _Fields(task, self._transform.image_shape, self._patches), 0, []
        for offset, (item, blob) in enumerate(zip(task.items, blobs, strict=True)):
            try:
                if isinstance(blob, ItemError):
                    raise blob
                decoding = perf_counter()
                try:
                    pixels = self._decoder.decode(blob)
                finally:
                    decode_s += perf_counter() - decoding
                stop = samples + self._patches
                self._write(pixels, task.epoch, item.item, fields.image[samples:stop])
            except ItemError as error:
                failures.append(_failure(task, offset, item, error))
                continue  # the next item's samples take the place of what this one may have written
            fields.name(samples, stop, item)
            samples = stop
        timings = messages.Timings(decode_s=decode_s, transform_s=max(0.0, perf_counter() - start - decode_s))
        return Outcome(fields.first(samples), tuple(failures), timings)

    def _write(self, pixels: Pixels, epoch: int, item: int, out: Pixels) -> None:
        """Write all the samples of one image into `out` (patches, height, width, channels)."""
        transform = self._transform
        patch = transform.patch
        if patch is None:
            assert transform.resize is not None  # noqa: S101 - Transform has at least one of them
            patches.resize(pixels, transform.resize, out[0])
            augment.apply(out[0], transform.augment, self._generator(epoch, item, 0), out[0])
            return
        if transform.resize is not None:
            whole = np.empty((transform.resize.height, transform.resize.width, pixels.shape[2]), np.uint8)
            patches.resize(pixels, transform.resize, whole)
            pixels = whole
        slack_y, slack_x = patches.slack(pixels, patch)
        for index, sample in enumerate(out):
            rng = self._generator(epoch, item, index)
            if patch.kind == "random":
                assert rng is not None  # noqa: S101 - _draws
                y, x = patches.random_offset(slack_y, slack_x, rng)
            elif patch.kind == "grid":
                y, x = patches.grid_offset(slack_y, slack_x, patch, index)
            else:
                y, x = patches.center_offset(slack_y, slack_x)
            augment.apply(pixels[y : y + patch.height, x : x + patch.width], transform.augment, rng, sample)

    def _generator(self, epoch: int, item: int, patch: int) -> np.random.Generator | None:
        return sample_generator(self._seed, epoch, item, patch) if self._draws else None


class _Fields:
    """Room for all the samples of a task, filled from the front: what fails leaves no hole and costs no copy."""

    def __init__(self, task: messages.Task, image_shape: tuple[int, int, int], patches: int) -> None:
        size = len(task.items) * patches
        self.image: Pixels = np.empty((size, *image_shape), np.uint8)
        self._label: npt.NDArray[np.int32] = np.empty(size, np.int32)
        self._item: npt.NDArray[np.int64] = np.empty(size, np.int64)
        self._patch: npt.NDArray[np.int32] = np.tile(np.arange(patches, dtype=np.int32), len(task.items))

    def name(self, start: int, stop: int, item: messages.Item) -> None:
        self._label[start:stop] = item.label
        self._item[start:stop] = item.item

    def first(self, samples: int) -> list[Array]:
        """Return the first `samples` of each field, in the schema's order."""
        return [self.image[:samples], self._label[:samples], self._item[:samples], self._patch[:samples]]


def _failure(task: messages.Task, offset: int, item: messages.Item, error: ItemError) -> messages.Failure:
    return messages.Failure(
        offset=offset if task.key.alone is None else task.key.alone,
        item=item.item,
        path=item.path,
        reason=str(error)[:_MAX_REASON],
    )
