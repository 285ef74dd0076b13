"""Channels in random order."""

from itertools import permutations
from typing import Literal

import numpy as np

from penstock.protocol.spec.operation import Pixels
from penstock.protocol.spec.step import Float64s, PixelStep
from penstock.worker.imaging.operations.parameters import whole

_ORDERS = tuple(permutations(range(3)))


class ChannelPermutation(PixelStep):
    """Put red, green and blue in random order, as torchvision's RandomChannelPermutation; grey images stay."""

    op: Literal["channel_permutation"]
    """Name of the operation."""

    @property
    def uniforms(self) -> int:
        """The order (one of 6)."""
        return 1

    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the image, channel k of which is channel `order[k]` of `pixels`."""
        if pixels.shape[2] == 1:
            return pixels
        return np.take(pixels, _ORDERS[whole(len(_ORDERS), float(draws[0]))], axis=2)
