"""A random affine map: rotation, translation, scale and shear."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Affine, Sampling
from penstock.worker.imaging.operations.parameters import Degrees, Fill, between, ordered, sine_cosine

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Factor = Annotated[float, Field(ge=0.01, le=100)]
_Shear = Annotated[float, Field(gt=-90, lt=90)]


class RandomAffine(Step):
    """Rotate, move, scale and shear the image about its middle, as torchvision's RandomAffine; its size stays."""

    op: Literal["affine"]
    """Name of the operation."""
    degrees: Degrees = (0.0, 0.0)
    """Least and greatest angle in degrees, clockwise; a single number a stands for [-a, a]."""
    translate: tuple[_Fraction, _Fraction] = (0.0, 0.0)
    """Greatest translation to the sides and up or down, as fractions of width and height; rounded to whole pixels."""
    scale: Annotated[tuple[_Factor, _Factor], AfterValidator(ordered)] = (1.0, 1.0)
    """Least and greatest factor."""
    shear_x: Annotated[tuple[_Shear, _Shear], AfterValidator(ordered)] = (0.0, 0.0)
    """Least and greatest shear along x in degrees."""
    shear_y: Annotated[tuple[_Shear, _Shear], AfterValidator(ordered)] = (0.0, 0.0)
    """Least and greatest shear along y in degrees."""
    filter: Sampling = "nearest"
    """How pixels are sampled: `nearest`, `bilinear` or `bicubic`, as Pillow does."""
    fill: Fill = (0,)
    """Level outside the image: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """Angle, translation along x and y, factor, shear along x and y."""
        return 6

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the map."""
        degrees, x, y, factor, shear_x, shear_y = draws.tolist()
        across, down = self.translate[0] * image[1], self.translate[1] * image[0]
        matrix = affine_matrix(
            image,
            between(*self.degrees, degrees),
            (round(between(-across, across, x)), round(between(-down, down, y))),
            between(*self.scale, factor),
            (between(*self.shear_x, shear_x), between(*self.shear_y, shear_y)),
        )
        return (Affine(matrix, self.filter, self.fill),)


def affine_matrix(
    image: Size, degrees: float, translate: tuple[float, float], scale: float, shear: tuple[float, float]
) -> tuple[float, float, float, float, float, float]:
    """Return where the result's pixels lie in the image, with torchvision's order: shear, scale, rotation, translation.

    Angles are in degrees, clockwise; the map is about the image's middle.
    """
    sine, cosine = sine_cosine(degrees)
    less_sine, less_cosine = sine_cosine(degrees - shear[1])
    sine_x, cosine_x = sine_cosine(shear[0])
    tangent, cosine_y = sine_x / cosine_x, sine_cosine(shear[1])[1]
    a, b = less_cosine / cosine_y, -less_cosine * tangent / cosine_y - sine
    c, d = less_sine / cosine_y, -less_sine * tangent / cosine_y + cosine
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale
    x, y = image[1] * 0.5, image[0] * 0.5
    left, up = -x - translate[0], -y - translate[1]
    return a, b, a * left + b * up + x, c, d, c * left + d * up + y
