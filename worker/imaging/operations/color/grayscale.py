"""Grey levels in place of colours."""

from typing import Literal

import numpy as np

from penstock.protocol.spec.operation import Pixels
from penstock.protocol.spec.step import Float64s, PixelStep
from penstock.worker.imaging.operations.color import blending


class Grayscale(PixelStep):
    """Replace the colours by their grey level in all channels, as torchvision's Grayscale. Draws no numbers."""

    op: Literal["grayscale"]
    """Name of the operation."""

    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the grey image."""
        del draws
        return np.repeat(blending.gray(pixels)[..., np.newaxis], pixels.shape[2], axis=2)
