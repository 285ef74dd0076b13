"""Bicubic resizing as a manipulation; `bicubic.py` computes the pixels of a patch."""

from typing import Literal

from pydantic import Field

from penstock.protocol.spec.operation import Kernel, Manipulation, Pixels, Size, Window
from penstock.worker.imaging.operations.names import digits


class Rescale(Manipulation):
    """Bicubic resizing, as Pillow's BICUBIC does it (it widens with the reduction: antialias)."""

    kind: Literal["resize"]
    """Kind of the manipulation."""
    value: float = Field(ge=0.05, le=20, allow_inf_nan=False)
    """The factor; both sides become side × factor, rounded half up, at least 1 pixel."""

    @property
    def name(self) -> str:
        """Short name, such as `bicubic05`."""
        return f"bicubic{digits(self.value)}"

    def kernel(self) -> Kernel:
        """Return what computes its patches."""
        return _Bicubic(self)

    def size(self, image: Size) -> Size:
        """Return the size that an image has after the manipulation."""
        return self._side(image[0]), self._side(image[1])

    def least(self, patch: Size) -> Size:
        """Return the smallest size of an image that yields a patch of this size."""
        return self._least(patch[0]), self._least(patch[1])

    def cell(self, patch: Size, image: Size, /) -> Size:
        """Return the size of a part of an image that holds such a patch wherever that part lies in the image."""
        return self._cell(patch[0], image[0]), self._cell(patch[1], image[1])

    def _side(self, pixels: int) -> int:
        return max(1, int(pixels * self.value + 0.5))

    def _least(self, pixels: int) -> int:
        if pixels == 1:
            return 1
        side = max(1, int((pixels - 0.5) / self.value) - 1)  # rounding makes this a guess, and never too large
        while self._side(side) < pixels:
            side += 1
        return side

    def _cell(self, patch: int, side: int) -> int:
        after = self._side(side)
        return patch if after == side else min(side, -(-(patch + 1) * side // after))


class _Bicubic:
    def __init__(self, settings: Rescale) -> None:
        self._settings = settings

    def source(self, image: Size, window: Window, /) -> Window:
        from penstock.worker.imaging.bicubic import source_span

        size = self._settings.size(image)
        top, bottom = source_span(image[0], size[0], window.y, window.height)
        left, right = source_span(image[1], size[1], window.x, window.width)
        return Window(top, left, bottom - top, right - left)

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        from penstock.worker.imaging.bicubic import resize_part

        image = pixels.shape[0], pixels.shape[1]
        size = self._settings.size(image)
        if size == image:
            return window.of(pixels)
        return resize_part(pixels, size, window.y, window.x, window.height, window.width)
