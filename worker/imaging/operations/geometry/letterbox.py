"""Resizing into a frame, at the same aspect ratio."""

from collections.abc import Sequence
from typing import Literal

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Filter, Pad, Scale
from penstock.worker.imaging.operations.parameters import Fill, Sides


class Letterbox(Step):
    """Resize the image to the largest size that fits into `size` at its aspect ratio, and pad the rest evenly.

    Sides are rounded half to even; of an odd margin the smaller half is above or to the left. Draws no numbers.
    """

    op: Literal["letterbox"]
    """Name of the operation."""
    size: Sides
    """Height and width of the result in pixels; a single number gives both."""
    enlarge: bool = True
    """Whether smaller images are enlarged; false: they are only padded."""
    fill: Fill = (114,)
    """Level of the padding: one for all channels, or one for each."""
    filter: Filter = "bilinear"
    """Filter of Pillow's `resize`."""

    def size_after(self, image: Size | None) -> Size | None:
        """Return `size`."""
        del image
        return self.size

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the resampling and the padding."""
        del draws
        factor = min(self.size[0] / image[0], self.size[1] / image[1])
        if not self.enlarge:
            factor = min(factor, 1.0)
        height, width = (max(1, round(side * factor)) for side in image)
        down, right = self.size[0] - height, self.size[1] - width
        padding = Pad(down // 2, right // 2, down - down // 2, right - right // 2, "constant", self.fill)
        return Scale((height, width), self.filter), padding
