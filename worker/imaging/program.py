"""Combines the actions of a sample's steps, and carries them out.

What is combined gives the pixels of the single actions, one after the other, to the last bit:

- Crops and mirrorings before anything else become one window of the image and at most one mirroring. So only this
  window has to be decoded.
- Later neighbours: two crops become one, two mirrorings become one or none, and two tables of levels become one.

Resamplings are not merged: a result of two in a row has the pixels of two.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Pixels, Size, Window
from penstock.protocol.spec.step import Action, Change, Levels, Move
from penstock.worker.imaging.operations.geometry.moves import Crop, Mirror, Pad, Scale

_COLORS = 3


@dataclass(frozen=True, slots=True)
class Program:
    """What is done to an image to make one sample of it."""

    #: The part of the image that the sample is made of.
    window: Window
    #: What is done to this part, in order.
    actions: tuple[Action, ...]
    #: Height and width of the sample, and of the image.
    size: Size
    image: Size

    @property
    def moves(self) -> tuple[Move, ...]:
        """Everything that moves pixels, in order: what masks, boxes and points have to follow."""
        return (Crop(self.window), *(action for action in self.actions if isinstance(action, Move)))

    @property
    def reduction(self) -> int:
        """By how much a JPEG may be reduced by its decoder (1, 2, 4 or 8), where a step permits that.

        No side of the window becomes shorter by it than the resampling makes it.
        """
        first = self.actions[0] if self.actions else None
        if isinstance(first, Scale) and first.dct_scaling:
            for reduction in (8, 4, 2):
                if self.window.height >= reduction * first.to[0] and self.window.width >= reduction * first.to[1]:
                    return reduction
        return 1

    def run(self, image: Pixels) -> Pixels:
        """Return the sample, maybe as a view of the image, which stays as it is. Raises ItemError."""
        return self._run(image, self.actions)

    def write(self, image: Pixels, out: Pixels, reduction: int = 1) -> None:
        """Write the sample into `out`, which has its shape; the last moves write there themselves. Raises ItemError.

        `image` is given at 1/`reduction` of its size, of which `self.reduction` is a multiple.
        """
        if reduction > 1:
            first = self.actions[0]
            assert isinstance(first, Scale)  # noqa: S101 - else `reduction` is 1
            np.copyto(out, _applied(self.actions[1:], first.of_reduced(image, self.window, reduction)))
        elif self.actions and isinstance(last := self.actions[-1], Move):
            before = self.actions[:-1]
            if isinstance(last, Pad) and last.has_one_color and before and isinstance(other := before[-1], Move):
                other.write(self._run(image, before[:-1]), last.inner(out))
                last.frame(out)
            else:
                last.write(self._run(image, before), out)
        else:
            np.copyto(out, self._run(image, self.actions))

    def _run(self, image: Pixels, actions: Sequence[Action]) -> Pixels:
        return _applied(actions, self.window.of(image))


class Programmer:
    """Takes the actions of one sample after the other and combines them."""

    def __init__(self, image: Size, max_pixels: int) -> None:
        """Take the size of the image, and the most pixels that a step may make."""
        self.size = self._image = image
        self._max_pixels = max_pixels
        self._window = Window(0, 0, *image)
        self._mirror = Mirror(horizontal=False, vertical=False)
        self._actions: list[Action] = []

    def add(self, actions: Iterable[Action]) -> None:
        """Append actions. Raises ItemError if one would make too large an image."""
        for action in actions:
            if isinstance(action, Move):
                self._check(action.size(self.size))
            match action:
                case Crop(window):
                    self._crop(window)
                case Mirror():
                    self._turn(action)
                case Levels(table) if self._actions and isinstance(last := self._actions[-1], Levels):
                    self._actions[-1] = Levels(table[last.table])
                case _:
                    self._settle()
                    self._actions.append(action)
            if isinstance(action, Move):
                self.size = action.size(self.size)

    def program(self) -> Program:
        """Return what has been added."""
        self._settle()
        return Program(self._window, tuple(self._actions), self.size, self._image)

    def _check(self, size: Size) -> None:
        if size[0] * size[1] > max(self._max_pixels, self.size[0] * self.size[1]):
            raise ItemError(
                f"a step would make {size[0]} × {size[1]} pixels (height × width) of {self.size[0]} × {self.size[1]}, "
                f"past the limit of {self._max_pixels / 1e6:g} megapixels (transform.max_megapixels)"
            )

    def _crop(self, window: Window) -> None:
        if not self._actions:
            self._window = _part(self._window, _mirrored(window, self.size, self._mirror))
        elif isinstance(last := self._actions[-1], Crop):
            self._actions[-1] = Crop(_part(last.window, window))
        else:
            self._actions.append(Crop(window))

    def _turn(self, mirror: Mirror) -> None:
        if not self._actions:
            self._mirror = _both(self._mirror, mirror)
            return
        if isinstance(last := self._actions[-1], Mirror):
            mirror = _both(last, mirror)
            self._actions.pop()
        if mirror.horizontal or mirror.vertical:
            self._actions.append(mirror)

    def _settle(self) -> None:
        """End the part of the program that only chooses a window."""
        if not self._actions and (self._mirror.horizontal or self._mirror.vertical):
            self._actions.append(self._mirror)
            self._mirror = Mirror(horizontal=False, vertical=False)


def reduced(size: Size, reduction: int) -> Size:
    """Return the size of an image that its decoder reduces: what is left over makes a pixel."""
    return -(-size[0] // reduction), -(-size[1] // reduction)


def _applied(actions: Iterable[Action], pixels: Pixels) -> Pixels:
    for action in actions:
        pixels = action.pixels(pixels) if isinstance(action, Move) else _colors_changed(action, pixels)
    return pixels


def _part(outer: Window, inner: Window) -> Window:
    """Return a window that is given relative to another one."""
    return Window(outer.y + inner.y, outer.x + inner.x, inner.height, inner.width)


def _mirrored(window: Window, image: Size, mirror: Mirror) -> Window:
    """Return where a window of the mirrored image lies in the image."""
    y = image[0] - window.y - window.height if mirror.vertical else window.y
    x = image[1] - window.x - window.width if mirror.horizontal else window.x
    return Window(y, x, window.height, window.width)


def _both(one: Mirror, other: Mirror) -> Mirror:
    return Mirror(horizontal=one.horizontal != other.horizontal, vertical=one.vertical != other.vertical)


def _colors_changed(action: Levels | Change, pixels: Pixels) -> Pixels:
    """Change the colours of an image, and leave its alpha as it is."""
    if pixels.shape[2] <= _COLORS:
        return _changed(action, pixels)
    return np.concatenate([_changed(action, pixels[..., :_COLORS]), pixels[..., _COLORS:]], axis=2)


def _changed(action: Levels | Change, pixels: Pixels) -> Pixels:
    if isinstance(action, Levels):
        looked_up = cv2.LUT(pixels, action.table).reshape(pixels.shape)  # OpenCV drops the axis of a single channel
        return looked_up.astype(np.uint8, copy=False)
    changed = action.function(pixels)
    if changed.shape != pixels.shape or changed.dtype != pixels.dtype:
        raise TypeError(
            f"a step made {changed.dtype}{changed.shape} of {pixels.dtype}{pixels.shape}: it must keep both"
        )
    return changed
