"""RandAugment: several changes of one magnitude, chosen at random (Cubuk et al., CVPR workshops 2020)."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Sampling
from penstock.worker.imaging.operations.parameters import Fill, whole
from penstock.worker.imaging.operations.policies.augmentations import NAMES, actions, magnitude_of, signed


class RandAugment(Step):
    """Apply `num_ops` of fourteen changes, each chosen at random, with one magnitude, as torchvision's RandAugment."""

    op: Literal["rand_augment"]
    """Name of the operation."""
    num_ops: int = Field(default=2, ge=1, le=16)
    """Number of changes."""
    magnitude: int = Field(default=9, ge=0)
    """Place of the magnitude among `num_magnitude_bins` evenly spaced ones, from 0."""
    num_magnitude_bins: int = Field(default=31, ge=2, le=1000)
    """Number of magnitudes."""
    filter: Sampling = "nearest"
    """How pixels are sampled by rotations, shears and translations, as Pillow does."""
    fill: Fill = (0,)
    """Level outside the image: one for all channels, or one for each."""

    @model_validator(mode="after")
    def _magnitude_is_there(self) -> "RandAugment":
        if self.magnitude >= self.num_magnitude_bins:
            raise ValueError(
                f"magnitude = {self.magnitude} must be less than num_magnitude_bins = {self.num_magnitude_bins}"
            )
        return self

    @property
    def uniforms(self) -> int:
        """For each change: which, and its sign."""
        return 2 * self.num_ops

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the changes."""
        chosen: list[Action] = []
        for choice, sign in zip(draws[0::2].tolist(), draws[1::2].tolist(), strict=True):
            name = NAMES[whole(len(NAMES), choice)]
            magnitude = signed(name, self.magnitude_of(name, image), sign)
            chosen += actions(name, magnitude, image, self.filter, self.fill)
        return chosen

    def magnitude_of(self, name: str, image: Size) -> float:
        """Return the magnitude of a change, without its sign, in an image of this size."""
        return magnitude_of(name, self.magnitude, self.num_magnitude_bins, image)
