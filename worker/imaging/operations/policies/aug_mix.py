"""AugMix: a mixture of the image and of several chains of changes (Hendrycks et al., ICLR 2020)."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from penstock.protocol.spec.operation import Pixels, Size
from penstock.protocol.spec.step import Action, Change, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Sampling
from penstock.worker.imaging.operations.parameters import Fill, waiting_time, whole
from penstock.worker.imaging.operations.policies.augmentations import actions, bits, magnitude_of, signed, spaced

_BINS = 10
#: Most changes of a chain whose depth is drawn.
_DEPTH = 3
#: The changes, in torchvision's order; the last four are left out unless `all_ops`.
NAMES = (
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
)
_OTHERS = 4


class AugMix(Step):
    """Mix the image with several chains of random changes, with random weights, as torchvision's AugMix.

    The weights are those of its `alpha` = 1. The changes are those of PIL images; torchvision computes on tensors.
    """

    op: Literal["aug_mix"]
    """Name of the operation."""
    severity: int = Field(default=3, ge=1, le=_BINS)
    """Number of magnitudes, of the ten evenly spaced ones, that are drawn from, lowest first."""
    mixture_width: int = Field(default=3, ge=1, le=16)
    """Number of chains."""
    chain_depth: int | None = Field(default=None, ge=1, le=16)
    """Number of changes in each chain; default: 1 to 3, drawn for each."""
    all_ops: bool = True
    """Whether brightness, colour, contrast and sharpness are among the changes."""
    filter: Sampling = "bilinear"
    """How pixels are sampled by rotations, shears and translations, as Pillow does."""
    fill: Fill = (0,)
    """Level outside the image: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """Weight of the image; weight of each chain; for each chain its depth, and which, magnitude, sign of each."""
        return 1 + self.mixture_width * (2 + 3 * self._depth)

    @property
    def hides_moves(self) -> bool:
        """Its chains rotate, shear and translate, and are mixed: no place of the image has one place in the mixture."""
        return True

    @property
    def _depth(self) -> int:
        return self.chain_depth or _DEPTH

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the mixture."""
        numbers = draws.tolist()
        chains = np.array(numbers[1 + self.mixture_width :]).reshape(self.mixture_width, -1)
        mixture = partial(
            _mixed,
            own=np.float32(numbers[0]),
            weights=_shares(1.0 - numbers[0], numbers[1 : 1 + self.mixture_width]),
            chains=[self.chain(image, chain.tolist()) for chain in chains],
        )
        return (Change(mixture),)

    def chain(self, image: Size, numbers: Sequence[float]) -> Sequence[Action]:
        """Return the changes of one chain: `numbers` are its depth, and which, magnitude and sign of each."""
        names = NAMES if self.all_ops else NAMES[:-_OTHERS]
        depth = self.chain_depth or 1 + whole(_DEPTH, numbers[0])
        chosen: list[Action] = []
        for at in range(1, 1 + 3 * depth, 3):
            name = names[whole(len(names), numbers[at])]
            magnitude = signed(
                name, self.magnitude_of(name, whole(self.severity, numbers[at + 1]), image), numbers[at + 2]
            )
            chosen += actions(name, magnitude, image, self.filter, self.fill)
        return chosen

    def magnitude_of(self, name: str, place: int, image: Size) -> float:
        """Return the magnitude of a change, without its sign, in an image of this size."""
        match name:
            case "TranslateX" | "TranslateY":
                return spaced(0.0, image[1 if name == "TranslateX" else 0] / 3.0, _BINS, place)
            case "Posterize":
                return bits(_BINS, place, 4) - 4
            case _:
                return magnitude_of(name, place, _BINS, image)


def _shares(whole_: float, draws: Sequence[float]) -> list[np.float32]:
    """Return how `whole_` is divided: uniform over all divisions, which is Dirichlet's distribution with alpha 1."""
    times = [waiting_time(draw) for draw in draws]
    total = sum(times) or 1.0
    return [np.float32(whole_ * time / total) for time in times]


def _mixed(
    pixels: Pixels, own: np.float32, weights: Sequence[np.float32], chains: Sequence[Sequence[Action]]
) -> Pixels:
    """Return the weighted sum, in single precision, its fraction dropped."""
    from penstock.worker.imaging.program import Programmer

    size = pixels.shape[0], pixels.shape[1]
    total = own * pixels.astype(np.float32)
    for weight, chain in zip(weights, chains, strict=True):
        programmer = Programmer(size, size[0] * size[1])
        programmer.add(chain)
        total += weight * programmer.program().run(pixels).astype(np.float32)
    mixed: Pixels = total.astype(np.uint8)
    return mixed
