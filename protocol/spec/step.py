"""Defines a step: a random change of one sample, described by actions that the worker can combine before it acts.

A step sees the size of the image and its random numbers, never the pixels, and answers with actions. So a worker knows
all actions of a sample before it decodes the file: it decodes the region that they need, and joins neighbours into one
(`worker/imaging/program.py`). There are three kinds of action:

- `Move` moves pixels about: a crop, a resampling, a flip. Masks, boxes and keypoints have to move with the image.
- `Levels` looks each level up in a table.
- `Change` is any other function of the pixels that leaves the geometry alone.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from pydantic import Field

from penstock.protocol.spec.model import Model, Name
from penstock.protocol.spec.operation import Pixels, Size, literal

Float64s = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]
"""Places (n, 2) in an image, x and y in pixels from its upper left corner: the first pixel's centre is (0.5, 0.5)."""


class Move(ABC):
    """An action that moves pixels about, and says where targets go: masks, boxes, points."""

    __slots__ = ()

    @abstractmethod
    def size(self, image: Size) -> Size:
        """Return the size of the result for an image of this size."""

    @abstractmethod
    def pixels(self, image: Pixels) -> Pixels:
        """Return the moved image (height, width, channels), in new memory or as a view; `image` stays as it is."""

    def write(self, image: Pixels, out: Pixels) -> None:
        """Write the moved image into `out`, which has its shape; the rows of `out` may have gaps between them."""
        np.copyto(out, self.pixels(image))

    @abstractmethod
    def mask(self, mask: Pixels, outside: int) -> Pixels:
        """Return the moved mask (height, width), each pixel the nearest one's class; `outside` where there is none."""

    @abstractmethod
    def points(self, points: Points, image: Size) -> Points:
        """Return where points of an image of this size, which lie in its `shown` part, are in the result.

        NaN for those that the result does not show.
        """

    @property
    def reflects(self) -> bool:
        """Whether the result is a mirror image."""
        return False

    def shown(self, image: Size) -> Points:
        """Return the part of an image of this size that the result shows, as the corners of a convex polygon."""
        return corners_of(0.0, 0.0, image[1], image[0])

    def polygon(self, corners: Points, image: Size) -> Points:
        """Return what becomes of a convex polygon, which lies in the `shown` part; none left: no corners."""
        return self.points(corners, image)


def corners_of(left: float, top: float, right: float, bottom: float) -> Points:
    """Return the corners of a rectangle, clockwise from the upper left."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


@dataclass(frozen=True, slots=True)
class Levels:
    """An action that replaces each level by its entry in a table."""

    #: The new levels, 256.
    table: Pixels


@dataclass(frozen=True, slots=True)
class Change:
    """An action on pixels that leaves the geometry alone."""

    #: Takes an image (height, width, 1 or 3 channels; maybe not contiguous) that it must not modify, and returns one of
    #: the same shape and type, maybe the same. Alpha is kept from it.
    function: Callable[[Pixels], Pixels]


Action = Move | Levels | Change


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
        """How many uniform numbers `actions` takes."""
        return 0

    def size_after(self, image: Size | None) -> Size | None:
        """Return the size that the step makes of an image; None if sizes differ from image to image.

        Called when the spec is read. Raises ValueError if the step cannot be applied to images of this size.
        """
        return image

    def size_drawn(self, image: Size | None) -> Size | None:
        """Return the size that is there after the step, which is applied or not: None if the two differ.

        Raises ValueError as `size_after`.
        """
        after = self.size_after(image)
        return after if self.p == 1.0 or after == image else None

    @property
    def views(self) -> int:
        """How many different views the step makes of an image, one a patch: the stream's `patches` is a multiple."""
        return 1

    @property
    def hides_moves(self) -> bool:
        """Whether a `Change` of the step moves pixels, so that targets could not follow the image."""
        return False

    def of_patch(self, patch: int) -> "Step":
        """Return the step that makes the view of this patch of an image."""
        del patch
        return self

    def generators(self, key: str) -> list[tuple[str, int]]:
        """Return the generators that the step with this key draws from: the key of each, and how many numbers.

        All numbers in a row are the one that decides whether the step is applied, and then `uniforms` for `actions`.
        """
        return [(key, 1 + self.uniforms)]

    @abstractmethod
    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return what is done to an image of this size, in order; `draws` holds `uniforms` numbers.

        Depends on nothing else. Raises ItemError if it cannot be done to an image of this size.
        """


def keys_of(steps: Iterable[Step], above: str = "") -> list[str]:
    """Return what names each step's random numbers: its `key`, or its `op` and its number among those without one.

    Without a `key`, the name of a step inside of another begins with `above`, the other's key.
    """
    counts: Counter[str] = Counter()
    keys = []
    for step in steps:
        keys.append(step.key or f"{above}{step.name}#{counts[step.name]}")
        counts[step.name] += step.key is None
    return keys


class PixelStep(Step):
    """A step that changes the pixels and leaves the geometry alone."""

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the change."""
        del image
        return (Change(partial(self.apply, draws=draws)),)

    @abstractmethod
    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the changed image: same shape and type; `pixels` must stay as they are, and may be a view.

        There are 1 or 3 channels (never alpha). This must not fail.
        """


class LevelStep(Step):
    """A step that replaces each level by its entry in a table; neighbouring ones become a single table."""

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the table as an action."""
        del image
        return (Levels(self.table(draws)),)

    @abstractmethod
    def table(self, draws: Float64s) -> Pixels:
        """Return the new level (uint8) of each of the 256 levels."""
