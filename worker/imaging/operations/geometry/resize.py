"""Resizing as a step: to a size, or by the shorter or the longer side."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Filter, Scale
from penstock.worker.imaging.operations.parameters import Sides

_Side = Annotated[int, Field(ge=1, le=65_535)]


class Resize(Step):
    """Resize the image: to `size`; or so that its `shorter` or `longer` side has a length, at the same aspect ratio.

    With both sides given, `shorter` applies unless the longer side would exceed `longer`. Sides as torchvision's
    Resize computes them. Draws no numbers.
    """

    op: Literal["resize"]
    """Name of the operation."""
    size: Sides | None = None
    """Height and width of the result in pixels, whatever the aspect ratio; a single number gives both."""
    shorter: _Side | None = None
    """Length of the shorter side in pixels."""
    longer: _Side | None = None
    """Length of the longer side in pixels; its greatest length if `shorter` is given too."""
    filter: Filter = "bilinear"
    """Filter of Pillow's `resize`."""

    @model_validator(mode="after")
    def _one_way(self) -> "Resize":
        if (self.size is None) == (self.shorter is None and self.longer is None):
            raise ValueError("give size = [height, width], or the length of a side: shorter, longer or both")
        if self.shorter is not None and self.longer is not None and self.longer <= self.shorter:
            raise ValueError(f"longer = {self.longer} must exceed shorter = {self.shorter}")
        return self

    def size_after(self, image: Size | None) -> Size | None:
        """Return `size`, or what the sides become."""
        return self.size if image is None else self._sides(image)

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the resampling."""
        del draws
        return (Scale(self._sides(image), self.filter),)

    def _sides(self, image: Size) -> Size:
        if self.size is not None:
            return self.size
        height, width = image
        short, long = min(image), max(image)
        if self.shorter is None:
            assert self.longer is not None  # noqa: S101 - _one_way
            new_short, new_long = int(self.longer * short / long), self.longer
        else:
            new_short, new_long = self.shorter, int(self.shorter * long / short)
            if self.longer is not None and new_long > self.longer:
                new_short, new_long = int(self.longer * new_short / new_long), self.longer
        new_short = max(1, new_short)
        return (new_long, new_short) if width <= height else (new_short, new_long)
