"""The middle of the image."""

from collections.abc import Sequence
from typing import Literal

from penstock.protocol.spec.operation import Size, Window
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Crop, Pad
from penstock.worker.imaging.operations.parameters import Fill, Sides


class CenterCrop(Step):
    """Cut the middle of the image, as torchvision's CenterCrop: sides that are too short are padded first.

    Of an odd margin, half a pixel is rounded to the even number. Draws no numbers.
    """

    op: Literal["center_crop"]
    """Name of the operation."""
    size: Sides
    """Height and width of the result in pixels; a single number gives both."""
    fill: Fill = (0,)
    """Level of the padding: one for all channels, or one for each."""

    def size_after(self, image: Size | None) -> Size | None:
        """Return `size`."""
        del image
        return self.size

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the padding, if any is needed, and the crop."""
        del draws
        height, width = self.size
        down, right = max(0, height - image[0]), max(0, width - image[1])
        padded = image[0] + down, image[1] + right
        crop = Crop(Window(round((padded[0] - height) / 2), round((padded[1] - width) / 2), height, width))
        if not (down or right):
            return (crop,)
        return Pad(down // 2, right // 2, down - down // 2, right - right // 2, "constant", self.fill), crop
