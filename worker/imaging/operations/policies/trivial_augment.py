"""TrivialAugment: one change of a random magnitude (Müller and Hutter, ICCV 2021)."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Sampling
from penstock.worker.imaging.operations.parameters import Fill, whole
from penstock.worker.imaging.operations.policies.augmentations import NAMES, actions, bits, signed, spaced


class TrivialAugment(Step):
    """Apply one of fourteen changes with a magnitude, both chosen at random, as torchvision's TrivialAugmentWide."""

    op: Literal["trivial_augment"]
    """Name of the operation."""
    num_magnitude_bins: int = Field(default=31, ge=2, le=1000)
    """Number of magnitudes."""
    filter: Sampling = "nearest"
    """How pixels are sampled by rotations, shears and translations, as Pillow does."""
    fill: Fill = (0,)
    """Level outside the image: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """Which change, the place of its magnitude, its sign."""
        return 3

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the change."""
        choice, place, sign = draws.tolist()
        name = NAMES[whole(len(NAMES), choice)]
        magnitude = signed(name, self.magnitude_of(name, whole(self.num_magnitude_bins, place)), sign)
        return actions(name, magnitude, image, self.filter, self.fill)

    def magnitude_of(self, name: str, place: int) -> float:
        """Return the magnitude of a change, without its sign, by its place among all of them."""
        bins = self.num_magnitude_bins
        match name:
            case "ShearX" | "ShearY" | "Brightness" | "Color" | "Contrast" | "Sharpness":
                return spaced(0.0, 0.99, bins, place)
            case "TranslateX" | "TranslateY":
                return spaced(0.0, 32.0, bins, place)
            case "Rotate":
                return spaced(0.0, 135.0, bins, place)
            case "Posterize":
                return bits(bins, place, 6)
            case "Solarize":
                return spaced(1.0, 0.0, bins, place)
            case _:
                return 0.0
