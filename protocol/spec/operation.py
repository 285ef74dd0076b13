"""Defines what an operation is: a change of an image, its settings, the random numbers it draws and how it is applied.

There are two kinds. A `Manipulation` changes a whole image and labels the samples that are cut from it. A `Step`
changes one sample at random. Each operation is one module of `worker/imaging/operations/`, and `operation_table.py`
lists them. The sink and the trainer read specs too and have no image library installed, so an operation's module
imports OpenCV, Pillow and the like inside the functions that apply it.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from penstock.protocol.spec.model import Model, Name

Pixels = npt.NDArray[np.uint8]
Float64s = npt.NDArray[np.float64]

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of an image that becomes a patch: row and column of its first pixel, height and width."""

    y: int
    x: int
    height: int
    width: int

    def of(self, pixels: Pixels) -> Pixels:
        """Return this part of an image, as a view."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]


def literal(model: type[BaseModel], field: str) -> str:
    """Return the one value that a field of type Literal can have."""
    return str(get_args(model.model_fields[field].annotation)[0])


class Kernel(Protocol):
    """Computes the patches of one manipulation."""

    def source(self, image: Size, window: Window, /) -> Window:
        """Return the part of the unchanged image, whose size is given, that a patch is computed from."""
        ...

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        """Return a patch of the manipulated image; `window` counts in pixels before a turn. Raises ItemError."""
        ...


class Unchanged:
    """Cuts patches of the unchanged image; the base of kernels whose patches depend on the same pixels."""

    def source(self, _: Size, window: Window, /) -> Window:
        """Return the patch's own place."""
        return window

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        """Return the patch, as a view."""
        return window.of(pixels)


class Manipulation(Model):
    """A labelled change of a whole image. It draws nothing: `Manipulations` draws which one a sample shows.

    A subclass adds a field `kind: Literal["…"]` and its parameters.
    """

    weight: float = Field(default=1.0, gt=0, le=1e6)
    """How often it is chosen, relative to the other weights."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, such as `gamma08`; the name of its image field if the spec asks for every manipulation."""

    @abstractmethod
    def kernel(self) -> Kernel:
        """Return what computes its patches. An image library is imported here, or later."""

    def size(self, image: Size) -> Size:
        """Return the size that an image has after the manipulation, before any turn."""
        return image

    def unturned(self, patch: Size) -> Size:
        """Return the size of the part, cut before any turn, that becomes a patch of this size."""
        return patch

    def least(self, patch: Size) -> Size:
        """Return the smallest size of an image that yields a patch of this size."""
        return self.unturned(patch)

    def cell(self, patch: Size, _: Size, /) -> Size:
        """Return the size of a part of an image that holds such a patch wherever that part lies in the image."""
        return self.unturned(patch)


class Step(Model):
    """A random change of one sample, applied in the order in which the spec lists the steps.

    A subclass adds a field `op: Literal["…"]` and its parameters. `uniforms` numbers of [0, 1) are drawn for every
    sample, whether the step is applied or not, from a generator of the step's own: its key, the seed, the epoch, the
    item and the patch determine it. So no step's numbers depend on which other steps there are.
    """

    p: float = Field(default=1.0, ge=0.0, le=1.0)
    """Probability that a sample is changed; 0 to 1."""
    key: Name | None = None
    """Names the step's random numbers. Default: its `op`, and its number among the steps of that `op` that have no
    key. With a key, the numbers stay the same wherever the step stands."""

    @property
    def name(self) -> str:
        """Its `op`."""
        return literal(type(self), "op")

    @property
    def uniforms(self) -> int:
        """How many uniform numbers `apply` takes."""
        return 0

    @abstractmethod
    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the changed sample (height, width, channels): the same shape, uint8, maybe `pixels` itself.

        `pixels` is C-contiguous and may be changed in place; `draws` holds `uniforms` numbers. Whatever cannot be done
        is refused when the spec is read: this must not fail.
        """
