"""The traces of JPEG compression, of random quality."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Change, Float64s, Step
from penstock.worker.imaging.operations.jpeg import MAX_SIDE, recompressed
from penstock.worker.imaging.operations.parameters import ordered, pair, whole

_Quality = Annotated[int, Field(ge=1, le=100)]


class RandomJpeg(Step):
    """Compress the image as a JPEG of random quality and decompress it, as torchvision's JPEG does on PIL images."""

    op: Literal["jpeg"]
    """Name of the operation."""
    quality: Annotated[tuple[_Quality, _Quality], BeforeValidator(pair), AfterValidator(ordered)]
    """Least and greatest quality, 1 to 100, uniform over the whole numbers; a single number gives both."""

    @property
    def uniforms(self) -> int:
        """The quality."""
        return 1

    def size_after(self, image: Size | None) -> Size | None:
        """Return the image's size. Raises ValueError if a JPEG cannot have it."""
        if image is not None and max(image) > MAX_SIDE:
            raise ValueError(_too_large(image))
        return image

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the compression. Raises ItemError if a JPEG cannot have the image's size."""
        if max(image) > MAX_SIDE:
            raise ItemError(_too_large(image))
        low, high = self.quality
        return (Change(partial(recompressed, quality=low + whole(high - low + 1, float(draws[0])))),)


def _too_large(image: Size) -> str:
    return (
        f"images of {image[0]} × {image[1]} pixels (height × width) cannot be JPEGs, whose sides have at most "
        f"{MAX_SIDE} pixels: crop or resize first"
    )
