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

from penstock.protocol import messages
from penstock.protocol.errors import ItemError
from penstock.protocol.order import sample_generator
from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.wire import Array
from penstock.worker import augment, patches
from penstock.worker.decode import Decoder, Pixels
from penstock.worker.origin import Loaded, open_origin

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
        self._origin = open_origin(plan, roots)
        transform = plan.settings.transform
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
        """Read the task's items and make its samples."""
        start = perf_counter()
        loaded = self.read(task)
        read_s = perf_counter() - start
        outcome = self.make(task, loaded)
        return replace(outcome, timings=outcome.timings.model_copy(update={"read_s": read_s}))

    def read(self, task: messages.Task) -> Loaded:
        """Return what each item contains, or why it cannot be had."""
        return self._origin.read(task)

    def room_bytes(self, items: int) -> int:
        """Return how much room (bytes) `make` needs for the samples of that many items."""
        return _Fields.layout(self.plan.schema, items * self._patches)[1]

    def make(self, task: messages.Task, loaded: Loaded, room: Pixels | None = None) -> Outcome:
        """Make the samples of what `read` returned; `timings.read_s` stays 0, as only the caller knows it.

        `room` is memory (uint8, one-dimensional, at least `room_bytes`) that the samples are written into.
        """
        start, decode_s = perf_counter(), 0.0
        if room is None:
            room = np.empty(self.room_bytes(len(loaded.items)), np.uint8)
        fields, samples, failures = _Fields(self.plan.schema, len(loaded.items), self._patches, room), 0, []
        for offset, content in enumerate(loaded.contents):
            item = int(loaded.items[offset])
            try:
                if isinstance(content, ItemError):
                    raise content
                decoding = perf_counter()
                try:
                    pixels = self._decoder.decode(content) if isinstance(content, bytes) else content
                finally:
                    decode_s += perf_counter() - decoding
                stop = samples + self._patches
                self._write(pixels, task.epoch, item, fields.image[samples:stop])
            except ItemError as error:
                failures.append(_failure(task, offset, item, loaded.paths[offset], error))
                continue  # the next item's samples take the place of what this one may have written
            fields.name(samples, stop, item, int(loaded.labels[offset]))
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


#: Fields start at multiples of this many bytes: a cache line, and enough for any element type.
_ALIGNMENT = 64


class _Fields:
    """All the samples of a task in one piece of memory, filled from the front: what fails leaves no hole."""

    def __init__(self, schema: Sequence[FieldSchema], items: int, patches: int, room: Pixels) -> None:
        size = items * patches
        starts, _ = self.layout(schema, size)
        self._arrays: dict[str, Array] = {
            field.name: room[start : start + size * field.sample_bytes].view(field.dtype).reshape(size, *field.shape)
            for field, start in zip(schema, starts, strict=True)
        }
        self.image: Pixels = self._arrays["image"]
        self._arrays["patch"][:] = np.tile(np.arange(patches, dtype=np.int32), items)

    @staticmethod
    def layout(schema: Sequence[FieldSchema], samples: int) -> tuple[list[int], int]:
        """Return where each field starts, and how many bytes all of them take."""
        starts, end = [], 0
        for field in schema:
            starts.append(end)
            end += -(-samples * field.sample_bytes // _ALIGNMENT) * _ALIGNMENT
        return starts, end

    def name(self, start: int, stop: int, item: int, label: int) -> None:
        self._arrays["label"][start:stop] = label
        self._arrays["item"][start:stop] = item

    def first(self, samples: int) -> list[Array]:
        """Return the first `samples` of each field, in the schema's order."""
        return [array[:samples] for array in self._arrays.values()]


def _failure(task: messages.Task, offset: int, item: int, path: str, error: ItemError) -> messages.Failure:
    return messages.Failure(
        offset=offset if task.key.alone is None else task.key.alone,
        item=item,
        path=path,
        reason=str(error)[:_MAX_REASON],
    )
