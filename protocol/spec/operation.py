"""Defines what all operations share, and the first of their two kinds.

A `Manipulation` changes a whole image and labels the samples that are cut from it. A `Step` (`step.py`) changes one
sample at random. Each operation is one module below `worker/imaging/operations/`, and `operation_table.py` lists
them. The sink and the trainer read specs too and have no image library installed, so an operation's module
imports OpenCV, Pillow and the like inside the functions that apply it.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from penstock.protocol.spec.model import Model

Pixels = npt.NDArray[np.uint8]

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
