"""Turns one task's items into samples, from file to arrays, and decides which failures are the item's own fault.

Everything here is a pure function of the plan, the task and the files, so
any worker, at any time, makes the same bytes. A failure of an item is an ItemError and becomes a `messages.Failure`;
any other exception is a bug in Penstock and propagates.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from penstock.protocol import messages
from penstock.protocol.errors import ItemError, PenstockError, TransformError
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan, schema_before
from penstock.protocol.records import FailureKind
from penstock.protocol.wire import Array
from penstock.sources.base import Loaded, Reader, open_reader
from penstock.sources.file_reader import FileReader
from penstock.worker.imaging.cache.images import Cache, open_cache
from penstock.worker.imaging.cache.prefix import keeps_of_parts
from penstock.worker.imaging.compiled.planes import Windows
from penstock.worker.imaging.custom import CustomTransforms
from penstock.worker.imaging.decode import Decoder, Pixels
from penstock.worker.imaging.makers import Fields, FramedSamples, Maker, SteppedSamples
from penstock.worker.imaging.normalize import LevelsRoom, Normalizer, open_normalizer
from penstock.worker.imaging.partial_jpeg import Box
from penstock.worker.imaging.targets.opening import open_targets

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

    def __init__(
        self,
        plan: StreamPlan,
        roots: Mapping[str, str | Path],
        datasets: Collection[str] = (),
        cache: Cache | None = None,
        reader: Reader | None = None,
    ) -> None:
        """Map the stream's root by `roots`; custom transforms may import `datasets`; `cache` keeps decoded images.

        `reader`: what reads the items, if it is not to be opened here. Raises SpecError if the root has no entry, or a
        transform is not installed.
        """
        #: The plan that the samples are made by.
        self.plan = plan
        self._roots = dict(roots)
        #: Reads the items.
        self.reader = reader or open_reader(plan, roots)
        #: All that reads items.
        self.readers = (self.reader,)
        transform = plan.settings.transform
        self._patches = plan.settings.patches
        self._decoder = Decoder(
            transform.color, exif_orientation=transform.exif_orientation, max_megapixels=transform.max_megapixels
        )
        resize = transform.resize
        self._in_parts = transform.partial_decoding and resize is None
        self._least = (resize.height, resize.width) if resize is not None and resize.dct_scaling else None
        self._stepped = None if transform.framed else SteppedSamples(plan)
        self._maker: Maker = self._stepped or FramedSamples(plan)
        self._cache = open_cache(plan, roots, self._decoder, cache)
        #: Whether a cache would keep something of images that are decoded in parts.
        self._keeps_of_parts = keeps_of_parts(plan)
        #: Makes samples of images from the cache, which have gone through the first steps.
        self._rest: Maker = SteppedSamples(plan, done) if self._cache and (done := self._cache.steps) else self._maker
        self._targets = open_targets(plan)
        self._shapes = transform.image_shapes
        #: One for each image of a sample; none if the worker does not normalise.
        self._normalizers: list[Normalizer] = []
        if transform.normalize is not None and transform.normalize.where == "worker":
            open_one = partial(open_normalizer, transform.normalize, source=plan.settings.source, roots=roots)
            known = {shape: open_one(shape) for shape in set(self._shapes.values())}
            self._normalizers = [known[shape] for shape in self._shapes.values()]
        self._levels = LevelsRoom(tuple(self._shapes.values()))
        #: The fields before custom transforms, which may leave others.
        self._schema = schema_before(plan.settings)
        self._custom = CustomTransforms(plan.name, transform.custom, self._schema, plan.seed, datasets)

    def serves(self, plan: StreamPlan, roots: Mapping[str, str | Path]) -> bool:
        """Return whether a pipeline of this plan, with these roots, would be equal to this one."""
        return self.plan == plan and self._roots == dict(roots)

    def run(self, task: messages.Task) -> Outcome:
        """Read the task's items and make its samples."""
        start = perf_counter()
        loaded = self.read(task)
        read_s = perf_counter() - start
        outcome = self.make(task, loaded)
        read_s += outcome.timings.read_s
        return replace(outcome, timings=outcome.timings.replaced(read_s=read_s))

    def read(self, task: messages.Task) -> Loaded:
        """Return what each item contains, or why it cannot be had."""
        if self._cache is not None and isinstance(self.reader, FileReader):
            loaded = self.reader.find_or_read(task, self._cache.find, self._cache.digest)
        else:
            loaded = self.reader.read(task)
        return self._targets.read(task, loaded, self.reader) if self._targets else loaded

    def room_bytes(self, items: int) -> int:
        """Return how much room (bytes) `make` needs for the samples of that many items."""
        return Fields.layout(self.plan.schema, items * self._patches)[1]

    def make(self, task: messages.Task, loaded: Loaded, room: Pixels | None = None) -> Outcome:
        """Make the samples of what `read` returned; `timings.read_s` is only what was waited for in here.

        `room` is memory (uint8, one-dimensional, at least `room_bytes`) that the samples are written into.
        """
        start = perf_counter()
        if room is None:
            room = np.empty(self.room_bytes(len(loaded.items)), np.uint8)
        fields = self._room_for_fields(len(loaded.items), room)
        images = fields.of(tuple(self._shapes))
        levels = self._levels.of(len(images[0])) if self._normalizers else images
        keys = self.plan.draw_keys(task.key.ordinal, task.key.which) if self.plan.groups else loaded.items
        work = _Work(task, loaded, fields, keys)
        for maker in {self._maker, self._rest}:
            maker.begin(task.epoch, keys, levels)
        if self._targets:
            self._targets.begin(task.epoch, keys)
        stack: object = loaded.contents
        if isinstance(stack, np.ndarray) and self._maker.write_all(stack):
            made = _Made(list(range(len(stack))), [0] * len(stack), [])
        else:
            made = self._make_each(work)
        rows = (np.array(made.offsets, np.int64)[:, np.newaxis] * self._patches + np.arange(self._patches)).ravel()
        self._maker.finish(rows)
        for normalizer, image, level in zip(self._normalizers, images, levels, strict=bool(self._normalizers)):
            normalizer(level[: len(rows)], image[: len(rows)])
        fields.name(loaded, made.offsets, made.manipulations, self.plan.parts_of(loaded.items))
        arrays = fields.first(len(rows))
        if self._custom:
            arrays = self._customise(work, made, arrays, room)
        read_s = loaded.waited_s
        transform_s = max(0.0, perf_counter() - start - made.decode_s - read_s)
        timings = messages.Timings(read_s=read_s, decode_s=made.decode_s, transform_s=transform_s, parts_s=made.parts_s)
        return Outcome(arrays, tuple(made.failures), timings)

    def _room_for_fields(self, items: int, room: Pixels) -> Fields:
        """Return where fields are made: in `room`, or in memory of our own if custom transforms leave others there."""
        if self._schema != self.plan.schema:
            room = np.empty(Fields.layout(self._schema, items * self._patches)[1], np.uint8)
        return Fields(self._schema, items, self._patches, room)

    def _customise(self, work: "_Work", made: "_Made", arrays: list[Array], room: Pixels) -> list[Array]:
        """Run the custom transforms; return the fields that they leave, without the items that fail here."""
        samples, out = len(arrays[0]), arrays
        if self._schema != self.plan.schema:
            out = Fields(self.plan.schema, len(work.loaded.items), self._patches, room).first(samples)
        keys = work.keys[made.offsets].tolist()
        failed = self._custom.run(work.task.epoch, arrays, self._patches, out, keys)
        for place, error in failed.items():
            offset = made.offsets[place]
            made.failures.append(_failure(work, offset, error, "custom"))
        return [array[: samples - len(failed) * self._patches] for array in out]

    def _make_each(self, work: "_Work") -> "_Made":
        """Decode, cut and move the samples of one item after the other, filling the room from the front."""
        made = _Made([], [], [])
        try:
            for offset in range(len(work.loaded.items)):
                self._make_one(work, offset, made)
        finally:  # while the images lie where they were made
            if self._cache:
                self._cache.keep()
        return made

    def _make_one(self, work: "_Work", offset: int, made: "_Made") -> None:
        place = len(made.offsets) * self._patches
        manipulations = self._write_cached(work, offset, place, made) if self._cache else None
        if manipulations is None:
            content = self._content(work, offset)
            kind: FailureKind = "read" if isinstance(content, ItemError) else "decode"
            try:
                pixels = self._decode(content, work, offset, made)
                kind = "transform"
                manipulations = self._write(self._maker, pixels, work, offset, place)
            except ItemError as error:
                made.failures.append(_failure(work, offset, error, kind))
                return  # the next item's samples take the place of what this one may have written
        made.offsets.append(offset)
        made.manipulations += manipulations

    def _write(self, maker: Maker, pixels: Pixels, work: "_Work", offset: int, place: int) -> list[int]:
        """Make the samples of one image and its targets; return the manipulation of each. Raises ItemError."""
        task, loaded = work.task, work.loaded
        manipulations = maker.write(pixels, offset, task.epoch, int(work.keys[offset]), place)
        if self._stepped is not None and self._targets:
            programs = self._stepped.programs(offset, self._stepped.size_of(offset, pixels))
            self._targets.write(task.items[offset], offset, loaded, programs, work.fields.arrays, place)
        return manipulations

    def _write_cached(self, work: "_Work", offset: int, place: int, made: "_Made") -> list[int] | None:
        """Make the samples of one item by the cache; None if it must go the way without, which also says why it fails.

        So an item fails with the same words, and at the same stage, whether there is a cache or not.
        """
        content, name, start = work.loaded.contents[offset], work.loaded.paths[offset], self._rest.clock()
        if self._cache is None or not isinstance(content, bytes):
            return None
        known = work.loaded.known[offset] if work.loaded.known else None
        try:
            windows = work.windows(self._rest, offset)
            try:
                pixels = self._cache.pixels(name, content, known, windows, self._rest.place(place))
            finally:
                made.decode_s += self._rest.clock() - start
            return None if pixels is None else self._write(self._rest, pixels, work, offset, place)
        except ItemError:
            self._cache.keep()  # another item's sample may take the place where the image lies
            return None

    def _content(self, work: "_Work", offset: int) -> "Content":
        """Return an item's content; it is read now if its image came from the cache and its samples failed."""
        known = work.loaded.known
        if known and known[offset].image is not None and isinstance(self.reader, FileReader):
            return self.reader.content(work.task.items[offset])
        return work.loaded.contents[offset]

    def _decode(self, content: "Content", work: "_Work", offset: int, made: "_Made") -> Pixels:
        """Return the image, or as much of it as its samples need; elsewhere the pixels may be anything then."""
        if isinstance(content, ItemError):
            raise content
        start, size = self._maker.clock(), None
        try:
            if not isinstance(content, bytes):
                return content
            windows = work.windows(self._maker, offset)
            size = self._decoder.size(content) if self._in_parts else None
            if size and (sources := windows(size)):
                return self._decoder.decode_parts(content, [*map(Box.of, sources)], self._maker.reduction)
            return self._decoder.decode(content, self._least, windows)
        finally:
            seconds = self._maker.clock() - start
            made.decode_s += seconds
            made.parts_s += seconds if size and not self._keeps_of_parts else 0.0


#: What a reader gives of an item.
Content = bytes | Pixels | ItemError


@dataclass(frozen=True, slots=True)
class _Work:
    """A task, what was read of it, and the memory that its samples are made in."""

    task: messages.Task
    loaded: Loaded
    fields: Fields
    #: What keys each item's random draws.
    keys: Int64s

    def windows(self, maker: Maker, offset: int) -> Windows:
        """Return what tells which parts of an item's image its samples follow from."""
        return partial(maker.sources, offset=offset, epoch=self.task.epoch, item=int(self.keys[offset]))


@dataclass(slots=True)
class _Made:
    """Which items became samples, in order, and what became of the others."""

    #: Place in the task of each item whose samples were made.
    offsets: list[int]
    #: Index of each image's manipulation.
    manipulations: list[int]
    failures: list[messages.Failure]
    decode_s: float = 0.0
    #: See `Timings`.
    parts_s: float = 0.0


def _failure(work: _Work, offset: int, error: PenstockError, kind: FailureKind) -> messages.Failure:
    return messages.Failure(
        offset=work.task.key.offset_of(offset),
        item=int(work.loaded.items[offset]),
        path=work.loaded.paths[offset],
        reason=str(error)[:_MAX_REASON],
        kind=kind,
        fatal=isinstance(error, TransformError),
    )
