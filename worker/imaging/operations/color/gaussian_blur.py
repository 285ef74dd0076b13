"""Gaussian blur of random width."""

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, field_validator

from penstock.protocol.spec.operation import Pixels
from penstock.protocol.spec.step import Float64s, PixelStep
from penstock.worker.imaging.operations.parameters import between, ordered

_Sigma = Annotated[float, Field(ge=0.1, le=100)]


class GaussianBlur(PixelStep):
    """Blur by a Gaussian of random standard deviation, as torchvision's GaussianBlur."""

    op: Literal["gaussian_blur"]
    """Name of the operation."""
    kernel_size: int = Field(ge=1, le=255)
    """Side of the kernel in pixels, an odd number."""
    sigma: Annotated[tuple[_Sigma, _Sigma], AfterValidator(ordered)] = (0.1, 2.0)
    """Least and greatest standard deviation in pixels, uniform."""

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} is even: a kernel has a middle, so give an odd number")
        return value

    @property
    def uniforms(self) -> int:
        """The standard deviation."""
        return 1

    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the blurred image.

        OpenCV blurs 8-bit images in fixed-point arithmetic, the same on every CPU; Intel's library inside it does not.
        """
        import cv2

        cv2.ipp.setUseIPP(False)
        sigma = between(*self.sigma, float(draws[0]))
        side = self.kernel_size
        blurred = cv2.GaussianBlur(pixels, (side, side), sigma, sigmaY=sigma, borderType=cv2.BORDER_REFLECT_101)
        return blurred.reshape(pixels.shape).astype(np.uint8, copy=False)
