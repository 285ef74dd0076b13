"""A random part of the image, resized: the first step of most recipes for classification."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from penstock.protocol.spec.operation import Size, Window
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Crop, Filter, Scale
from penstock.worker.imaging.operations.parameters import (
    Fractions,
    Ratios,
    Sides,
    between,
    exponential,
    logarithm,
    whole,
)

_TRIES = 10


class RandomResizedCrop(Step):
    """Cut a part of random area and aspect ratio, and resize it to `size`. Of a large JPEG only this part is decoded.

    As torchvision's RandomResizedCrop: area and ratio are drawn until the part fits into the image, at most ten times;
    then the largest centred part of a permitted ratio is taken.
    """

    op: Literal["random_resized_crop"]
    """Name of the operation."""
    size: Sides
    """Height and width of the result in pixels; a single number gives both."""
    scale: Fractions = (0.08, 1.0)
    """Least and greatest area of the part, as fractions of the image's; uniform."""
    ratio: Ratios = (3 / 4, 4 / 3)
    """Least and greatest aspect ratio (width / height) of the part; its logarithm is uniform."""
    filter: Filter = "bilinear"
    """Filter of Pillow's `resize`."""
    dct_scaling: bool = False
    """Whether large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where the part is still no smaller than `size`
    then: faster, and slightly other pixels."""

    @property
    def uniforms(self) -> int:
        """Row and column of the part; then area and ratio of each try."""
        return 2 + 2 * _TRIES

    def size_after(self, image: Size | None) -> Size | None:
        """Return `size`."""
        del image
        return self.size

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the crop and the resampling."""
        return Crop(self.window(image, draws.tolist())), Scale(self.size, self.filter, self.dct_scaling)

    def window(self, image: Size, draws: Sequence[float]) -> Window:
        """Return the part that is cut from an image of this size."""
        height, width = image
        low, high = self._log_ratio
        for area_draw, ratio_draw in zip(draws[2::2], draws[3::2], strict=True):
            area = height * width * between(*self.scale, area_draw)
            ratio = exponential(between(low, high, ratio_draw))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return Window(whole(height - h + 1, draws[0]), whole(width - w + 1, draws[1]), h, w)
        return self._central(height, width)

    def _central(self, height: int, width: int) -> Window:
        h, w = height, width
        if width / height < self.ratio[0]:
            h = max(1, round(width / self.ratio[0]))
        elif width / height > self.ratio[1]:
            w = max(1, round(height * self.ratio[1]))
        return Window((height - h) // 2, (width - w) // 2, h, w)

    @cached_property
    def _log_ratio(self) -> tuple[float, float]:
        return logarithm(self.ratio[0]), logarithm(self.ratio[1])
