"""Rotation by a random angle."""

from collections.abc import Sequence
from typing import Literal

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Affine, Sampling
from penstock.worker.imaging.operations.parameters import Degrees, Fill, between, sine_cosine

#: Decimals to which Pillow rounds the sine and the cosine.
_DECIMALS = 15


class RandomRotation(Step):
    """Rotate the image about its middle by a random angle, uniform, as torchvision's RandomRotation; its size stays."""

    op: Literal["rotate"]
    """Name of the operation."""
    degrees: Degrees
    """Least and greatest angle in degrees, counter-clockwise; a single number a stands for [-a, a]."""
    filter: Sampling = "nearest"
    """How pixels are sampled: `nearest`, `bilinear` or `bicubic`, as Pillow does."""
    fill: Fill = (0,)
    """Level outside the image: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """The angle."""
        return 1

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the rotation."""
        angle = between(*self.degrees, float(draws[0]))
        return (Affine(rotation(image, angle), self.filter, self.fill),)


def rotation(image: Size, degrees: float) -> tuple[float, float, float, float, float, float]:
    """Return the matrix of Pillow's `rotate`, counter-clockwise about the middle."""
    sine, cosine = (round(value, _DECIMALS) for value in sine_cosine(-degrees))
    x, y = image[1] / 2, image[0] / 2
    return cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y
