"""A random perspective."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry import moves
from penstock.worker.imaging.operations.parameters import Fill, whole

_Point = tuple[int, int]


class RandomPerspective(Step):
    """Move each corner of the image inwards at random, as torchvision's RandomPerspective; the image's size stays."""

    op: Literal["perspective"]
    """Name of the operation."""
    distortion_scale: float = Field(default=0.5, ge=0, le=1)
    """How far a corner may move, as a fraction of half the side; 0 to 1."""
    filter: moves.Sampling = "bilinear"
    """How pixels are sampled: `nearest`, `bilinear` or `bicubic`, as Pillow does."""
    fill: Fill = (0,)
    """Level outside the image: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """Column and row of each corner: top left, top right, bottom right, bottom left."""
        return 8

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the perspective."""
        return (moves.Perspective(coefficients(image, self.corners(image, draws.tolist())), self.filter, self.fill),)

    def corners(self, image: Size, draws: Sequence[float]) -> list[_Point]:
        """Return where the corners (x, y) go, clockwise from top left."""
        height, width = image
        down = min(height, int(self.distortion_scale * (height // 2)) + 1)
        across = min(width, int(self.distortion_scale * (width // 2)) + 1)
        inwards = [(whole(across, x), whole(down, y)) for x, y in zip(draws[0::2], draws[1::2], strict=True)]
        starts = [(0, 0), (width - across, 0), (width - across, height - down), (0, height - down)]
        return [(x + left, y + top) for (x, y), (left, top) in zip(inwards, starts, strict=True)]


def coefficients(image: Size, corners: Sequence[_Point]) -> tuple[float, ...]:
    """Return the perspective that takes each of `corners` to the image's own corner, clockwise from top left.

    Solves eight linear equations in a fixed order of operations, so that hosts agree, which LAPACK's do not. Rounds to
    single precision, as torchvision does.
    """
    right, bottom = image[1] - 1, image[0] - 1
    rows = []
    for (x, y), (u, v) in zip(corners, ((0, 0), (right, 0), (right, bottom), (0, bottom)), strict=True):
        rows.append([float(number) for number in (x, y, 1, 0, 0, 0, -u * x, -u * y, u)])
        rows.append([float(number) for number in (0, 0, 0, x, y, 1, -v * x, -v * y, v)])
    return _solved(rows)


def _solved(rows: list[list[float]]) -> tuple[float, ...]:
    """Solve linear equations, each a list of factors and the right-hand side, by Gauss-Jordan elimination."""
    size = len(rows)
    for column in range(size):
        best = max(range(column, size), key=lambda place: abs(rows[place][column]))
        rows[column], rows[best] = rows[best], rows[column]
        pivot = rows[column]
        if not pivot[column]:  # an image one pixel wide or high
            return 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
        for other in range(size):
            factor = rows[other][column] / pivot[column]
            if other != column and factor:
                rows[other] = [a - factor * b for a, b in zip(rows[other], pivot, strict=True)]
    return tuple(float(np.float32(row[-1] / row[place])) for place, row in enumerate(rows))
