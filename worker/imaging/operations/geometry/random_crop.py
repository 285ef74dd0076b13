"""A part of the image at a random place."""

from collections.abc import Sequence
from typing import Literal

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size, Window
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Crop, Pad, PadMode
from penstock.worker.imaging.operations.geometry.pad import Margins
from penstock.worker.imaging.operations.parameters import Fill, Sides, whole


class RandomCrop(Step):
    """Cut a part at a random place, uniform over all places, as torchvision's RandomCrop; after padding, if any."""

    op: Literal["random_crop"]
    """Name of the operation."""
    size: Sides
    """Height and width of the result in pixels; a single number gives both."""
    padding: Margins = (0, 0, 0, 0)
    """Pixels added first, left, top, right and bottom; two numbers: left and right, top and bottom; one: all sides."""
    pad_if_needed: bool = False
    """Add the pixels that are still missing, on both opposite sides each; false: quarantine an image that is too
    small."""
    mode: PadMode = "constant"
    """How padding continues the image: `constant` (one colour), `edge`, `reflect` or `symmetric`; see `pad`."""
    fill: Fill = (0,)
    """Level of the padding where `mode` is `constant`: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """Row and column."""
        return 2

    def size_after(self, image: Size | None) -> Size | None:
        """Return `size`."""
        if image is not None:
            try:
                self._padding(image)
            except ItemError as error:
                raise ValueError(str(error)) from None
        return self.size

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the padding, if there is any, and the crop."""
        padding = self._padding(image)
        room = padding.size(image)
        y, x = whole(room[0] - self.size[0] + 1, draws[0]), whole(room[1] - self.size[1] + 1, draws[1])
        crop = Crop(Window(y, x, *self.size))
        return (padding, crop) if room != image else (crop,)

    def _padding(self, image: Size) -> Pad:
        left, top, right, bottom = self.padding
        down = self.size[0] - (image[0] + top + bottom)
        across = self.size[1] - (image[1] + left + right)
        if max(down, across) > 0 and not self.pad_if_needed:
            raise ItemError(
                f"random_crop cuts {self.size[0]} × {self.size[1]} pixels (height × width), more than the image's "
                f"{image[0] + top + bottom} × {image[1] + left + right} with its padding: cut less, resize first, or "
                "set pad_if_needed = true"
            )
        down, across = max(0, down), max(0, across)
        return Pad(top + down, left + across, bottom + down, right + across, self.mode, self.fill)
