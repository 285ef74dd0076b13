"""Changes of single levels: negative, fewer bits, solarisation and gamma."""

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from penstock.protocol.spec.operation import Pixels
from penstock.protocol.spec.step import Float64s, LevelStep
from penstock.worker.imaging.operations.parameters import between, ordered

_LEVELS = np.arange(256, dtype=np.uint8)


class Invert(LevelStep):
    """Replace each level by 255 less itself. Draws no numbers."""

    op: Literal["invert"]
    """Name of the operation."""

    def table(self, draws: Float64s) -> Pixels:
        """Return the negative."""
        del draws
        return 255 - _LEVELS


class Posterize(LevelStep):
    """Keep the highest bits of each level. Draws no numbers."""

    op: Literal["posterize"]
    """Name of the operation."""
    bits: int = Field(ge=1, le=8)
    """Bits that are kept, 1 to 8."""

    def table(self, draws: Float64s) -> Pixels:
        """Return the levels without their lowest bits."""
        del draws
        return _LEVELS & np.uint8(256 - (1 << (8 - self.bits)))


class Solarize(LevelStep):
    """Replace each level from a threshold on by 255 less itself. Draws no numbers."""

    op: Literal["solarize"]
    """Name of the operation."""
    threshold: int = Field(default=128, ge=0, le=256)
    """Least level that is inverted; 256 changes nothing."""

    def table(self, draws: Float64s) -> Pixels:
        """Return the levels, the bright ones inverted."""
        del draws
        return np.where(_LEVELS < self.threshold, _LEVELS, 255 - _LEVELS)


_Exponent = Annotated[float, Field(ge=0, le=100)]


class RandomGamma(LevelStep):
    """Gamma correction by a random exponent: each level v becomes 255.999 · (v / 255)^gamma, rounded down."""

    op: Literal["gamma"]
    """Name of the operation."""
    gamma: Annotated[tuple[_Exponent, _Exponent], AfterValidator(ordered)]
    """Least and greatest exponent, uniform; below 1 brightens."""

    @property
    def uniforms(self) -> int:
        """The exponent."""
        return 1

    def table(self, draws: Float64s) -> Pixels:
        """Return the corrected levels."""
        gamma = between(*self.gamma, float(draws[0]))
        return np.array([int(255.999 * (level / 255.0) ** gamma) for level in range(256)], np.uint8)
