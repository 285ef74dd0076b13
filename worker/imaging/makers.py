"""Makes the samples of one decoded image after the other, in one of two ways.

`FramedSamples`: `resize`, `patch` and the manipulations give samples of one size, `augment` changes them, and steps
follow. `SteppedSamples`: steps alone, from the decoded image to the sample. `pipeline.py` decodes, and chooses. Samples
are made in the memory of `Fields`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.order import Int64s
from penstock.protocol.philox import Float64s, uniforms
from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.spec.operation import Size, Window
from penstock.protocol.wire import Array
from penstock.sources.base import Loaded
from penstock.worker.imaging.augment.apply import Augmenter
from penstock.worker.imaging.decode import Pixels
from penstock.worker.imaging.patches import Cutter
from penstock.worker.imaging.program import Program, reduced
from penstock.worker.imaging.steps import Steps


class Maker(ABC):
    """Makes the samples of a task; for use by one thread at a time.

    `begin`, then for each item `write`, or for all of them `write_all`, and at last `finish`. Samples of the task are
    numbered by item, then by patch.
    """

    def __init__(self, plan: StreamPlan, skipped: int = 0) -> None:
        """Take a stream's plan, and how many of its leading steps images have gone through already."""
        transform = plan.settings.transform
        self._plan, self._patches = plan, plan.settings.patches
        limit = int(transform.max_megapixels * 1e6)
        images = transform.images if transform.all_views else transform.images[:1]
        #: The steps of each view; without views one, for all images.
        self._views = [Steps.of(image, plan.seed, limit, skipped) for image in images]
        self._out: Sequence[Pixels] = ()
        #: Seconds that `sources` has taken.
        self._sources_s = 0.0

    @property
    def reduction(self) -> int:
        """By how much the decoder may reduce the image that `sources` was asked for last: 1, 2, 4 or 8."""
        return 1

    def begin(self, epoch: int, items: Int64s, out: Sequence[Pixels]) -> None:
        """Draw everything that the task's samples take; `out` holds room for them, one array an image field."""
        self._out = out
        for steps in self._views:
            if steps:
                steps.begin(epoch, items, self._patches)

    def sources(self, image: Size, offset: int, epoch: int, item: int) -> Sequence[Window] | None:
        """Return the parts of an image of this size that the samples of item number `offset` follow from.

        What lies outside of them does not matter to `write`. None if it is the whole image, or if `write` fails.
        """
        start = perf_counter()
        try:
            return self._windows(image, offset, epoch, item)
        except ItemError:  # `write` raises it again
            return None
        finally:
            self._sources_s += perf_counter() - start

    def clock(self) -> float:
        """Return the time (seconds) by a clock that stands while `sources` is at work: that is no decoding."""
        return perf_counter() - self._sources_s

    @abstractmethod
    def _windows(self, image: Size, offset: int, epoch: int, item: int) -> Sequence[Window] | None:
        """Return what `sources` does. Raises ItemError if `write` would."""

    def place(self, row: int) -> Pixels | None:
        """Return where the image, or the cut of it, may be made that is the sample of row `row`; None if it is no such.

        `write` then leaves it as it is, until `finish`.
        """
        del row
        return None

    @abstractmethod
    def write(self, pixels: Pixels, offset: int, epoch: int, item: int, row: int) -> list[int]:
        """Make the samples of item number `offset` of the task, from row `row` of `out` on.

        Returns the manipulation of each image. Raises ItemError, and then the rows may hold anything.
        """

    def write_all(self, images: Pixels) -> bool:
        """Make the samples of all items from a stack of images, if it is a stack of samples; return whether it is."""
        del images
        return False

    @abstractmethod
    def finish(self, rows: Int64s) -> None:
        """End the task: row k of `out` is sample number `rows[k]`."""


class SteppedSamples(Maker):
    """Makes samples by steps alone: the image of each, or its views."""

    def __init__(self, plan: StreamPlan, skipped: int = 0) -> None:
        """Take a stream's plan, and how many of its leading steps images have gone through already."""
        super().__init__(plan, skipped)
        #: The programs of one item's samples; and for which item of the task and size of its image they were made.
        self._programs: list[list[Program]] = []
        self._made_for: tuple[int, Size] | None = None

    def begin(self, epoch: int, items: Int64s, out: Sequence[Pixels]) -> None:
        """Draw for the steps."""
        super().begin(epoch, items, out)
        self._made_for = None

    def _windows(self, image: Size, offset: int, epoch: int, item: int) -> Sequence[Window] | None:
        del epoch, item
        return [program.window for programs in self.programs(offset, image) for program in programs]

    def write(self, pixels: Pixels, offset: int, epoch: int, item: int, row: int) -> list[int]:
        """Run each program."""
        del epoch, item
        image = self.size_of(offset, pixels)
        reduction = 1 if image == pixels.shape[:2] else self.reduction
        for out, programs in zip(self._out, self.programs(offset, image), strict=True):
            for patch, program in enumerate(programs):
                program.write(pixels, out[row + patch], reduction)
        return [0] * self._patches

    def finish(self, rows: Int64s) -> None:
        """Do nothing: `write` leaves finished samples."""

    @property
    def reduction(self) -> int:
        """As much as every program permits."""
        return min(program.reduction for programs in self._programs for program in programs)

    def size_of(self, offset: int, pixels: Pixels) -> Size:
        """Return the size of the image of item number `offset`, which its decoder may have reduced."""
        size = pixels.shape[0], pixels.shape[1]
        if self._made_for is not None and self._made_for[0] == offset:
            image = self._made_for[1]
            if self.reduction > 1 and size == reduced(image, self.reduction):
                return image
        return size

    def programs(self, offset: int, image: Size) -> list[list[Program]]:
        """Return, for each view, the program of each sample of item number `offset`, an image of this size.

        Raises ItemError.
        """
        if self._made_for != (offset, image):
            samples = range(offset * self._patches, (offset + 1) * self._patches)
            self._programs = [[steps.program(sample, image) for sample in samples] for steps in self._views]
            self._made_for = offset, image
        return self._programs


class FramedSamples(Maker):
    """Makes samples that have one size before the steps."""

    def __init__(self, plan: StreamPlan) -> None:
        """Take a stream's plan."""
        super().__init__(plan)
        [self._steps] = self._views
        transform, window = plan.settings.transform, plan.settings.transform.window
        self._cutter = Cutter(plan.settings, plan.seed)
        #: Height, width and channels of a sample before the steps.
        self._shape = window.height, window.width, transform.image_shape[2]
        self._resized_by_steps = self._shape != transform.image_shape
        self._augmenter = Augmenter(transform.augment, self._shape)
        #: Whether a sample is the whole image, at most resized.
        self._whole = transform.patch is None and not self._cutter.columns
        #: Whether it is that, or the centre of it, and may be made before the others of its item: there are none.
        centred = transform.patch is not None and transform.patch.kind == "center" and not self._cutter.columns
        self._alone = (self._whole or centred) and plan.settings.patches == 1 and not self._augmenter.moves
        self._draws: Float64s = np.empty((0, 0, 0))
        #: Where samples are made before the steps: in their place, unless the steps change their size.
        self._framed: Sequence[Pixels] = ()
        self._room: Pixels = np.empty(0, np.uint8)
        #: What `place` returned last.
        self._placed: Pixels | None = None
        self._programs: dict[int, Program] = {}

    def begin(self, epoch: int, items: Int64s, out: Sequence[Pixels]) -> None:
        """Draw for the patches, the manipulations, the augmentation and the steps."""
        super().begin(epoch, items, out)
        cut, changed = self._cutter.columns, self._augmenter.columns
        draws = uniforms(self._plan.seed, epoch, items, self._patches, cut + changed)
        self._augmenter.begin(draws[..., cut:].reshape(len(items) * self._patches, changed))
        self._draws = draws[..., :cut]
        self._programs.clear()
        self._placed = None
        self._framed = self._room_before_steps(len(out), len(out[0])) if self._resized_by_steps else out

    def _windows(self, image: Size, offset: int, epoch: int, item: int) -> Sequence[Window] | None:
        return self._cutter.sources(image, epoch, item, self._draws[offset])

    def place(self, row: int) -> Pixels | None:
        """Return the row itself if nothing moves images, or cuts other parts of them in each epoch."""
        self._placed = self._framed[0][row] if self._alone and len(self._framed) == 1 else None
        return self._placed

    def write(self, pixels: Pixels, offset: int, epoch: int, item: int, row: int) -> list[int]:
        """Cut and move each patch."""
        manipulations, first = [], offset * self._patches
        for sample in range(first, first + self._patches) if self._steps else ():
            self._programs[sample] = self._steps.program(sample, self._shape[:2])
        if pixels is self._placed:
            return [0]
        for index, (cut, manipulation) in enumerate(self._cutter.cuts(pixels, epoch, item, self._draws[offset])):
            patch, image = divmod(index, len(self._framed))
            self._augmenter.write(cut, first + patch, self._framed[image][row + patch])
            manipulations.append(manipulation)
        return manipulations

    def write_all(self, images: Pixels) -> bool:
        """Move all images at once if they have the size of samples."""
        if not self._whole or images.shape[1:] != self._shape:
            return False
        try:
            for sample in range(len(images)) if self._steps else ():
                self._programs[sample] = self._steps.program(sample, self._shape[:2])
        except ItemError:  # `write` tells which item it is
            return False
        self._augmenter.write_all(images, self._framed[0])
        return True

    def finish(self, rows: Int64s) -> None:
        """Change the levels as `augment` asks, and run the steps."""
        for framed, out in zip(self._framed, self._out, strict=True):
            self._augmenter.finish(rows, framed[: len(rows)])
            for row, sample in enumerate(rows.tolist() if self._steps else ()):
                program = self._programs[sample]
                if self._resized_by_steps:
                    program.write(framed[row], out[row])
                elif program.actions:  # in place: no move may read what it has written
                    np.copyto(out[row], program.run(framed[row]))

    def _room_before_steps(self, images: int, samples: int) -> list[Pixels]:
        size = images * samples * math.prod(self._shape)
        if size > self._room.size:
            self._room = np.empty(size, np.uint8)
        return list(self._room[:size].reshape(images, samples, *self._shape))


#: Fields start at multiples of this many bytes: a cache line, and enough for any element type.
_ALIGNMENT = 64


class Fields:
    """All the samples of a task in one piece of memory, filled from the front: what fails leaves no hole."""

    def __init__(self, schema: Sequence[FieldSchema], items: int, patches: int, room: Pixels) -> None:
        size = items * patches
        starts, _ = self.layout(schema, size)
        #: Every field by its name, whole.
        self.arrays: dict[str, Array] = {
            field.name: room[start : start + size * field.sample_bytes].view(field.dtype).reshape(size, *field.shape)
            for field, start in zip(schema, starts, strict=True)
        }
        self._patches = patches
        self.arrays["patch"][:] = np.tile(np.arange(patches, dtype=np.int32), items)

    @staticmethod
    def layout(schema: Sequence[FieldSchema], samples: int) -> tuple[list[int], int]:
        """Return where each field starts, and how many bytes all of them take."""
        starts, end = [], 0
        for field in schema:
            starts.append(end)
            end += -(-samples * field.sample_bytes // _ALIGNMENT) * _ALIGNMENT
        return starts, end

    def of(self, names: Sequence[str]) -> list[Array]:
        """Return the fields of these names, whole."""
        return [self.arrays[name] for name in names]

    def name(self, loaded: Loaded, offsets: list[int], manipulations: list[int], parts: Int64s | None = None) -> None:
        """Fill in the fields that say what each sample is, of the items at these offsets of the task.

        `parts`: of a mixture, the part that each item of the task comes from.
        """
        size = len(offsets) * self._patches
        self.arrays["label"][:size] = np.repeat(loaded.labels[offsets], self._patches)
        self.arrays["item"][:size] = np.repeat(loaded.items[offsets], self._patches)
        if parts is not None:
            self.arrays["source"][:size] = np.repeat(parts[offsets], self._patches)
        if "manipulation" in self.arrays:
            self.arrays["manipulation"][:size] = manipulations

    def first(self, samples: int) -> list[Array]:
        """Return the first `samples` of each field, in the schema's order."""
        return [array[:samples] for array in self.arrays.values()]
