"""Changes of stored images while they are read: crops, turns, flips, and the choice among several images of a sample.

The random numbers follow from seed, epoch and row, as those of a live stream follow from its items. All of it is
vectorised over batches, in numpy.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SpecError
from penstock.protocol.order import DRAW_STORED, Int64s
from penstock.protocol.philox import uniforms
from penstock.protocol.wire import Array

Flip = Literal["", "horizontal", "vertical", "both"]
#: The uniforms of a row, in order: top and left of the cut, turn, flips, choice.
_TOP, _LEFT, _TURN, _MIRROR, _FLIP, _CHOICE, _DRAWS = range(7)
#: Axes of a batch of images that have no channels.
_GRAY_AXES = 3

Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of each image (height, width, channels) or (height, width)."""

    #: Height and width (pixels) of the part that is cut out; None: all of it.
    crop: tuple[int, int] | None = None
    crop_at: Literal["random", "center"] = "random"
    #: Turn by 0 to 3 quarter turns, counter-clockwise.
    rot90: bool = False
    #: Along which axes images are flipped, each with probability 1/2.
    flip: Flip = ""

    def __bool__(self) -> bool:
        """Return whether there is any change."""
        return self.crop is not None or self.rot90 or bool(self.flip)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a changed image. Raises SpecError if images of this shape cannot be changed so."""
        height, width = shape[:2]
        if self.crop is not None:
            if not (0 < self.crop[0] <= height and 0 < self.crop[1] <= width):
                raise SpecError(
                    f"crop = {self.crop!r}: give height and width from 1 to those of the images, {shape[:2]}"
                )
            height, width = self.crop
        if self.rot90 and height != width:
            raise SpecError(f"rot90 = True needs square images, these are {height} × {width}: give crop = (side, side)")
        return height, width, *shape[2:]

    def apply(self, images: Array, draws: Float64s, out: Array) -> None:
        """Write the changed images (n, height, width, …) to `out`; `draws` are their numbers from `draw`."""
        height, width = self.crop or (images.shape[1], images.shape[2])
        tops = self._starts(draws[:, _TOP], images.shape[1] - height)
        lefts = self._starts(draws[:, _LEFT], images.shape[2] - width)
        turns = (draws[:, _TURN] * (4 if self.rot90 else 1)).astype(np.int64)
        mirrored = draws[:, _MIRROR] < (0.5 if self.flip in ("horizontal", "both") else 0.0)
        flipped = draws[:, _FLIP] < (0.5 if self.flip in ("vertical", "both") else 0.0)
        images, out = _pixels(images), _pixels(out)
        steps = zip(tops.tolist(), lefts.tolist(), turns.tolist(), mirrored.tolist(), flipped.tolist(), strict=True)
        for index, (top, left, turn, mirror, flip) in enumerate(steps):
            part = np.rot90(images[index, top : top + height, left : left + width], turn)
            out[index] = part[:: -1 if flip else 1, :: -1 if mirror else 1]

    def _starts(self, draws: Float64s, most: int) -> Int64s:
        """Return where the part of each image starts on one axis, 0 to `most`."""
        return (draws * (most + 1)).astype(np.int64) if self.crop_at == "random" else np.full(len(draws), most // 2)


def _pixels(images: Array) -> Array:
    """Return images with a pixel's bytes as one element, which numpy moves twice as fast as three."""
    if images.ndim == _GRAY_AXES or images.shape[3] == 1:
        return images
    return images.view(f"V{images.shape[3] * images.itemsize}")[..., 0]


def draw(seed: int, epoch: int, rows: Int64s) -> Float64s:
    """Return the numbers in [0, 1) of some rows in an epoch: float64 (rows, numbers)."""
    return uniforms(seed, epoch, rows, 1, _DRAWS, DRAW_STORED)[:, 0]


def choose(draws: Float64s, choices: int) -> npt.NDArray[np.int32]:
    """Return which of the choices each row gets: all equally often."""
    chosen: npt.NDArray[np.int32] = (draws[:, _CHOICE] * choices).astype(np.int32)
    return chosen


def is_image(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Return whether rows of this shape and type are images: gray, of 1, 3 or 4 channels, as numbers."""
    return dtype.kind in "uf" and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)))  # noqa: PLR2004
