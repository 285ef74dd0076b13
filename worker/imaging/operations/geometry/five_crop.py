"""Five crops of an image, or ten: corners and middle, and those of the mirrored image. Each is a sample of its own."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import PrivateAttr

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size, Window
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Crop, Mirror
from penstock.worker.imaging.operations.parameters import Sides

_CROPS = 5


class _Crops(Step):
    """A step whose patches of one image are its crops."""

    size: Sides
    """Height and width of each crop in pixels; a single number gives both. Smaller images are quarantined."""
    _view: int = PrivateAttr(default=0)

    def of_patch(self, patch: int) -> Self:
        """Return the step that makes the crop of this patch."""
        step = self.model_copy()
        step._view = patch % self.views  # noqa: SLF001 - its own
        return step

    def size_after(self, image: Size | None) -> Size | None:
        """Return `size`. Raises ValueError if the image is smaller."""
        if image is not None and (image[0] < self.size[0] or image[1] < self.size[1]):
            raise ValueError(self._too_small(image))
        return self.size

    def _too_small(self, image: Size) -> str:
        return (
            f"size = {list(self.size)} is larger than the image, {image[0]} × {image[1]} pixels (height × width): "
            "resize before, or make the crops smaller"
        )

    def _crop(self, image: Size, place: int) -> Action:
        """Return the crop at top left, top right, bottom left, bottom right (0 to 3), or in the middle."""
        if image[0] < self.size[0] or image[1] < self.size[1]:
            raise ItemError(f"{self.name}: {self._too_small(image)}")
        down, right = image[0] - self.size[0], image[1] - self.size[1]
        corners = ((0, 0), (0, right), (down, 0), (down, right))
        y, x = (*corners, (round(down / 2), round(right / 2)))[place]
        return Crop(Window(y, x, *self.size))


class FiveCrop(_Crops):
    """Cut the four corners and the middle, as torchvision's FiveCrop: patch k of an image is crop k.

    The stream's `patches` has to be 5, or a multiple. Draws no numbers.
    """

    op: Literal["five_crop"]
    """Name of the operation."""

    @property
    def views(self) -> int:
        """Five: top left, top right, bottom left, bottom right, middle."""
        return _CROPS

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the crop."""
        del draws
        return (self._crop(image, self._view),)


class TenCrop(_Crops):
    """Cut the four corners and the middle, and those of the mirrored image, as torchvision's TenCrop.

    Patch k of an image is crop k; the stream's `patches` has to be 10, or a multiple. Draws no numbers.
    """

    op: Literal["ten_crop"]
    """Name of the operation."""
    vertical_flip: bool = False
    """Mirror top and bottom instead of left and right."""

    @property
    def views(self) -> int:
        """Ten: those of `five_crop`, and then of the mirrored image."""
        return 2 * _CROPS

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the crop, of the mirrored image for the last five."""
        del draws
        mirrored, place = divmod(self._view, _CROPS)
        crop = self._crop(image, place)
        return (Mirror(not self.vertical_flip, self.vertical_flip), crop) if mirrored else (crop,)
