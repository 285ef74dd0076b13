"""An elastic distortion: each pixel is moved by a random, smooth amount (Simard, Steinkraus and Platt, ICDAR 2003)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Pixels, Size
from penstock.protocol.spec.step import Action, Float64s, Move, Points, Step, corners_of
from penstock.worker.imaging.operations.geometry.moves import levels_outside
from penstock.worker.imaging.operations.parameters import Fill, decay

#: Longest side (pixels) that OpenCV resamples.
_MOST_SIDE = 32_000
#: Bits of the noise and of the blur's weights: sums of both passes, 15 + 18 + 18 bits, are exact in float64, so that
#: every CPU gives the same bytes in whatever order it adds.
_NOISE_BITS, _WEIGHT_BITS = 16, 18
#: Coordinates are rounded to this part of a pixel, for the same reason: see `worker/imaging/augment/warp.py`.
_PART = 256.0
#: A point is shown if a pixel shows a place that is no farther off (pixels): neighbours may be so far apart where a
#: distortion squeezes the image.
_FARTHEST = 2.0


@dataclass(frozen=True, slots=True)
class Displace(Move):
    """Moves each pixel by smoothed noise."""

    #: Determines the noise.
    key: int
    alpha: float
    sigma: float
    filter: Literal["nearest", "bilinear"]
    fill: Fill

    def size(self, image: Size) -> Size:
        """Return the image's size."""
        return image

    def pixels(self, image: Pixels) -> Pixels:
        """Return the distorted image."""
        import cv2

        method = cv2.INTER_LINEAR if self.filter == "bilinear" else cv2.INTER_NEAREST
        places = self.places((image.shape[0], image.shape[1]), self.filter)
        return _remapped(image, places, method, levels_outside(self.fill, image.shape[2]))

    def mask(self, mask: Pixels, outside: int) -> Pixels:
        """Return the mask with the class of the nearest pixel."""
        import cv2

        return _remapped(mask, self.places((mask.shape[0], mask.shape[1]), "nearest"), cv2.INTER_NEAREST, (outside,))

    def points(self, points: Points, image: Size) -> Points:
        """Return the centres of the pixels that show the nearest places: the first in reading order of several."""
        x, y = self.places(image, "bilinear")
        moved = []
        for left, top in points.tolist():
            distances = (x + 0.5 - left) ** 2 + (y + 0.5 - top) ** 2
            nearest = int(np.argmin(distances))
            row, column = divmod(nearest, image[1])
            is_shown = distances.flat[nearest] <= _FARTHEST**2
            moved.append((column + 0.5, row + 0.5) if is_shown else (np.nan, np.nan))
        return np.array(moved, np.float64).reshape(-1, 2)

    def polygon(self, corners: Points, image: Size) -> Points:
        """Return the rectangle around the pixels that show a part of the polygon."""
        from penstock.worker.imaging.targets.polygons import inside

        x, y = self.places(image, "bilinear")
        found = inside(corners, x + 0.5, y + 0.5)
        rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
        if not len(rows):
            return np.empty((0, 2))
        return corners_of(float(columns[0]), float(rows[0]), float(columns[-1]) + 1.0, float(rows[-1]) + 1.0)

    def places(
        self, image: Size, filter_: Literal["nearest", "bilinear"]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return where each pixel of the result lies in an image of this size: its column and its row."""
        places = []
        for axis, shift in enumerate(self.shifts(image)):
            side = np.arange(image[1 - axis], dtype=np.float64)
            place = np.rint((shift + (side if axis == 0 else side[:, np.newaxis])) * _PART) / _PART
            places.append((np.floor(place + 0.5) if filter_ == "nearest" else place).astype(np.float32))
        return places[0], places[1]

    def shifts(self, image: Size) -> npt.NDArray[np.float64]:
        """Return how far each pixel is moved along x and y, (2, height, width), in pixels."""
        import cv2

        words = np.random.Philox(key=self.key).random_raw(-(-image[0] * image[1] // 2))
        noise = words.astype("<u8").view("<u2")[: 2 * image[0] * image[1]].reshape(2, *image)
        weights = _weights(self.sigma)
        unit = 2.0 ** (1 - _NOISE_BITS - 2 * _WEIGHT_BITS)
        shifts = np.empty(noise.shape)
        for out, each in zip(shifts, noise, strict=True):
            centered = each.astype(np.float64) - 2.0 ** (_NOISE_BITS - 1)
            smooth = cv2.sepFilter2D(centered, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_REFLECT_101)
            np.multiply(smooth, self.alpha / 2.0 * unit, out)
        return shifts


def _remapped(
    image: Pixels,
    places: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    method: int,
    outside: tuple[int, ...],
) -> Pixels:
    import cv2

    cv2.ipp.setUseIPP(False)
    moved = cv2.remap(image, *places, method, borderMode=cv2.BORDER_CONSTANT, borderValue=outside)
    return np.asarray(moved, np.uint8).reshape(image.shape)


def _weights(sigma: float) -> npt.NDArray[np.float64]:
    """Return a Gaussian as whole numbers whose sum is a power of two; as long as torchvision's."""
    half = int(8.0 * sigma + 1.0) // 2
    bell = np.array([decay(0.5 * (place / sigma) ** 2) for place in range(-half, half + 1)])
    total = 0.0
    for weight in bell.tolist():  # in this order on every host
        total += weight
    weights = np.rint(bell / total * 2.0**_WEIGHT_BITS)
    weights[half] += 2.0**_WEIGHT_BITS - weights.sum()
    return weights


class RandomElastic(Step):
    """Move each pixel by random noise that a Gaussian has smoothed, as torchvision's ElasticTransform."""

    op: Literal["elastic"]
    """Name of the operation."""
    alpha: float = Field(default=50.0, ge=0, le=10_000)
    """Strength: the noise is uniform over [-alpha/2, alpha/2] pixels before it is smoothed."""
    sigma: float = Field(default=5.0, ge=0.1, le=50)
    """Standard deviation of the Gaussian in pixels: the larger, the smoother and the weaker."""
    filter: Literal["nearest", "bilinear"] = "bilinear"
    """How pixels are sampled."""
    fill: Fill = (0,)
    """Level outside the image: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """The key of the noise, of which each pixel has two numbers."""
        return 1

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the distortion."""
        if max(image) > _MOST_SIDE:
            raise ItemError(
                f"elastic takes images of at most {_MOST_SIDE} pixels a side, not {image[0]} × {image[1]} (height × "
                "width): resize before"
            )
        return (Displace(int(float(draws[0]) * 2.0**53), self.alpha, self.sigma, self.filter, self.fill),)
