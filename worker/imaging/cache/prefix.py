"""Finds the part of a transform that is the same in every epoch, from the file's bytes on, and carries it out.

That is decoding, and then `resize`; without it, the cut of a centred patch; or the leading steps that always apply and
draw no random numbers. `SteppedSamples` leaves such steps out; `FramedSamples` finds that an image has its size.
"""

import math
from typing import Any

import cv2
import numpy as np
import PIL
import simplejpeg  # type: ignore[import-untyped]
from PIL import features

from penstock.protocol.errors import ItemError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.axes import CHANNELS
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Step
from penstock.protocol.spec.transform import Transform
from penstock.protocol.version import __version__
from penstock.worker.imaging.cache.entry import FORMAT
from penstock.worker.imaging.compiled.planes import EXTENSION, LEAST_WIDTH, PlaneDecoder, Planes, planes_shape
from penstock.worker.imaging.decode import Decoder, Pixels
from penstock.worker.imaging.orientation import jpeg_orientation
from penstock.worker.imaging.partial_jpeg import MIN_PIXELS, Box
from penstock.worker.imaging.patches import Cutter
from penstock.worker.imaging.program import Program, Programmer
from penstock.worker.imaging.resize import resize

#: Counted up when the same parameters and versions would give other pixels.
_VERSION = 1
#: Only steps of these modules are known to depend on nothing but their parameters and Penstock's version.
_OWN_STEPS = "penstock.worker.imaging.operations."
#: Fields of a transform that decide what becomes of a file, whatever follows.
_DECODING = ("color", "exif_orientation", "partial_decoding", "max_megapixels")
_LIBRARIES = ("jpg", "jpg_2000", "libtiff", "webp", "avif", "zlib")
_NO_DRAWS = np.empty(0)


def fixed_steps(transform: Transform) -> int:
    """Return how many leading steps are the same in every epoch, of a transform that has neither resize nor patch."""
    if transform.framed or any(map(_may_reduce, transform.every_step)):
        return 0  # in the second case, the size at which an image is decoded depends on what is drawn
    count = 0
    for step, key in zip(transform.all_steps, transform.step_keys, strict=True):
        if not _is_fixed(step, key):
            break
        count += 1
    return count


def _may_reduce(step: Step) -> bool:
    """Return whether a step, or one that it holds, lets the decoder reduce the image."""
    return getattr(step, "dct_scaling", False) or any(map(_may_reduce, getattr(step, "steps", ())))


def _is_fixed(step: Step, key: str) -> bool:
    drawn = sum(numbers for _, numbers in step.generators(key))  # one of them decides whether the step applies
    return step.p == 1.0 and drawn == 1 and step.views == 1 and type(step).__module__.startswith(_OWN_STEPS)


def kept_size(plan: StreamPlan, image: Size, *, jpeg: bool) -> Size | None:
    """Return the size of what is kept of an image of this size; None if it is not kept, or makes no sample."""
    transform = plan.settings.transform
    if transform.resize is not None:
        return transform.resize.height, transform.resize.width
    steps = _steps_of(plan)
    if steps:
        try:
            program = _program(transform, steps, image)
        except ItemError:
            return None
        return program.size
    if _is_centred(transform):
        return transform.window.height, transform.window.width
    in_parts = jpeg and transform.partial_decoding and transform.color != "rgba" and image[0] * image[1] >= MIN_PIXELS
    return None if in_parts else image


def keeps_of_parts(plan: StreamPlan) -> bool:
    """Return whether something is kept of images of which only parts are decoded: where these are always the same."""
    return bool(_is_centred(plan.settings.transform) or _steps_of(plan))


def _steps_of(plan: StreamPlan) -> int:
    """Return how many leading steps precede what is kept: none with targets, which move with the whole image."""
    return 0 if plan.settings.targets else fixed_steps(plan.settings.transform)


def kept_bytes(plan: StreamPlan, image: Size, *, jpeg: bool, halved: bool) -> int | None:
    """Return how many bytes are kept of an image of this size, or None; `halved`: the colours of a JPEG are."""
    size, transform = kept_size(plan, image, jpeg=jpeg), plan.settings.transform
    if size is None:
        return None
    in_planes = halved and image[1] >= LEAST_WIDTH and image[0] * image[1] <= most_in_planes(transform)
    if in_planes and keeps_planes(plan):
        return math.prod(planes_shape(*image))
    return size[0] * size[1] * CHANNELS[transform.color]


def keeps_planes(plan: StreamPlan) -> bool:
    """Return whether JPEGs with halved colours are kept by their planes: where the whole decoded image is kept."""
    transform = plan.settings.transform
    whole = transform.resize is None and not _is_centred(transform)
    return EXTENSION is not None and transform.color == "rgb" and whole and not _steps_of(plan)


def most_in_planes(transform: Transform) -> int:
    """Return the most pixels of an image that is kept by its planes."""
    most = int(transform.max_megapixels * 1e6)
    return min(most, MIN_PIXELS - 1) if transform.partial_decoding else most


def _is_centred(transform: Transform) -> bool:
    """Return whether a sample is the centre of the decoded image, and nothing chooses among manipulations of it."""
    centred = transform.patch is not None and transform.patch.kind == "center"
    return centred and transform.resize is None and transform.manipulations is None


def _program(transform: Transform, steps: int, image: Size) -> Program:
    """Return what the leading steps do to an image of this size. Raises ItemError."""
    programmer = Programmer(image, int(transform.max_megapixels * 1e6))
    for step in transform.all_steps[:steps]:
        programmer.add(step.actions(programmer.size, _NO_DRAWS))
    return programmer.program()


def versions() -> list[str]:
    """Return the versions of everything that turns a file into pixels."""
    found = [f"{name} {features.version(name)}" for name in _LIBRARIES]
    return [__version__, PIL.__version__, simplejpeg.__version__, cv2.__version__, np.__version__, *found]


class Prefix:
    """The deterministic part of one stream's transform; for use by one thread at a time."""

    def __init__(self, plan: StreamPlan, decoder: Decoder) -> None:
        """Take a stream's plan and the decoder to use."""
        transform = plan.settings.transform
        self._transform, self._decoder = transform, decoder
        #: Number of leading steps that it holds.
        self.steps = _steps_of(plan)
        size = transform.resize
        self._least = (size.height, size.width) if size is not None and size.dct_scaling else None
        self._cutter = Cutter(plan.settings, plan.seed) if _is_centred(transform) else None
        self._in_parts = transform.partial_decoding and size is None
        self._oriented = transform.exif_orientation
        self._planes = PlaneDecoder(most_in_planes(transform)) if keeps_planes(plan) else None

    @property
    def lasts(self) -> bool:
        """Whether what it makes stays as it is when the next image is made."""
        return self._transform.resize is not None or self._cutter is not None

    @property
    def keeps_all(self) -> bool:
        """Whether something is kept of every image, also of large JPEGs."""
        return not self._in_parts or self._cutter is not None or self.steps > 0

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that decides its pixels, besides the file; and how they are kept."""
        transform = self._transform
        told: dict[str, Any] = {"version": _VERSION, "format": FORMAT, "versions": versions()}
        told |= {name: getattr(transform, name) for name in _DECODING}
        if transform.resize is not None:
            told["resize"] = transform.resize.model_dump(mode="json")
        if self._cutter is not None and transform.patch is not None:
            told["patch"] = transform.patch.model_dump(mode="json")
        if self._planes is not None:
            told["planes"] = EXTENSION.LIBRARY
        told["steps"] = [step.model_dump(mode="json") for step in transform.all_steps[: self.steps]]
        return told

    def make(self, content: bytes, place: Pixels | None = None) -> Pixels | Planes | None:
        """Return what a file's bytes become; None if that takes more work than its samples do without a cache.

        That is so for large JPEGs of which other parts are decoded in every epoch. Unless it `lasts`, the pixels stay
        valid until the next call; if it does, they are made in `place`, if that has their shape. Raises ItemError.
        """
        if self._planes is not None and not (self._oriented and jpeg_orientation(content) != 1):
            planes = self._planes.decode(content)
            if planes is not None:
                return planes
        image = self._decoder.size(content) if self._in_parts else None
        if image is None:
            pixels = self._decoder.decode(content, self._least)
            return self._finish(pixels, self._program((pixels.shape[0], pixels.shape[1])), place)
        program = self._program(image)
        if self._cutter is not None:
            windows = self._cutter.sources(image, 0, 0, _NO_DRAWS.reshape(1, 0))
        elif program is not None:
            windows = [program.window]
        else:
            return None
        if windows is None:
            return self._finish(self._decoder.decode(content), program, place)
        boxes = [*map(Box.of, windows)]
        return self._finish(self._decoder.decode_parts(content, boxes), program, place)

    def _program(self, image: Size) -> Program | None:
        return _program(self._transform, self.steps, image) if self.steps else None

    def _finish(self, pixels: Pixels, program: Program | None, place: Pixels | None = None) -> Pixels:
        if program is not None:
            return program.run(pixels)
        if self._cutter is not None:
            [(cut, _)] = self._cutter.cuts(pixels, 0, 0, _NO_DRAWS.reshape(1, 0))
            out = _room(place, cut.shape)
            np.copyto(out, cut)
            return out
        size = self._transform.resize
        if size is None:
            return pixels
        out = _room(place, (size.height, size.width, pixels.shape[2]))
        resize(pixels, size, out)
        return out


def _room(place: Pixels | None, shape: tuple[int, ...]) -> Pixels:
    return place if place is not None and place.shape == shape else np.empty(shape, np.uint8)
