"""AutoAugment: two changes by one of twenty-five learned sub-policies (Cubuk et al., CVPR 2019)."""

from collections.abc import Sequence
from typing import Literal

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Sampling
from penstock.worker.imaging.operations.parameters import Fill, whole
from penstock.worker.imaging.operations.policies.augmentations import actions, magnitude_of, signed

_BINS = 10
#: The change, its probability, and the place of its magnitude among `_BINS`.
_Change = tuple[str, float, int]


def _read(lines: str) -> tuple[tuple[_Change, _Change], ...]:
    """Return sub-policies, one a line: two changes, each with its probability and, if it has one, its magnitude."""
    policies = []
    for line in lines.split("\n")[1:-1]:
        first, second = (change.split() for change in line.split(","))
        policies.append((_change(*first), _change(*second)))
    return tuple(policies)


def _change(name: str, probability: str, place: str = "0") -> _Change:
    return name, float(probability), int(place)


#: The learned sub-policies, in torchvision's order; a uniform chooses one.
POLICIES = {
    "imagenet": _read(
        """
        Posterize 0.4 8, Rotate 0.6 9
        Solarize 0.6 5, AutoContrast 0.6
        Equalize 0.8, Equalize 0.6
        Posterize 0.6 7, Posterize 0.6 6
        Equalize 0.4, Solarize 0.2 4
        Equalize 0.4, Rotate 0.8 8
        Solarize 0.6 3, Equalize 0.6
        Posterize 0.8 5, Equalize 1
        Rotate 0.2 3, Solarize 0.6 8
        Equalize 0.6, Posterize 0.4 6
        Rotate 0.8 8, Color 0.4 0
        Rotate 0.4 9, Equalize 0.6
        Equalize 0, Equalize 0.8
        Invert 0.6, Equalize 1
        Color 0.6 4, Contrast 1 8
        Rotate 0.8 8, Color 1 2
        Color 0.8 8, Solarize 0.8 7
        Sharpness 0.4 7, Invert 0.6
        ShearX 0.6 5, Equalize 1
        Color 0.4 0, Equalize 0.6
        Equalize 0.4, Solarize 0.2 4
        Solarize 0.6 5, AutoContrast 0.6
        Invert 0.6, Equalize 1
        Color 0.6 4, Contrast 1 8
        Equalize 0.8, Equalize 0.6
        """
    ),
    "cifar10": _read(
        """
        Invert 0.1, Contrast 0.2 6
        Rotate 0.7 2, TranslateX 0.3 9
        Sharpness 0.8 1, Sharpness 0.9 3
        ShearY 0.5 8, TranslateY 0.7 9
        AutoContrast 0.5, Equalize 0.9
        ShearY 0.2 7, Posterize 0.3 7
        Color 0.4 3, Brightness 0.6 7
        Sharpness 0.3 9, Brightness 0.7 9
        Equalize 0.6, Equalize 0.5
        Contrast 0.6 7, Sharpness 0.6 5
        Color 0.7 7, TranslateX 0.5 8
        Equalize 0.3, AutoContrast 0.4
        TranslateY 0.4 3, Sharpness 0.2 6
        Brightness 0.9 6, Color 0.2 8
        Solarize 0.5 2, Invert 0
        Equalize 0.2, AutoContrast 0.6
        Equalize 0.2, Equalize 0.6
        Color 0.9 9, Equalize 0.6
        AutoContrast 0.8, Solarize 0.2 8
        Brightness 0.1 3, Color 0.7 0
        Solarize 0.4 5, AutoContrast 0.9
        TranslateY 0.9 9, TranslateY 0.7 9
        AutoContrast 0.9, Solarize 0.8 3
        Equalize 0.8, Invert 0.1
        TranslateY 0.7 9, AutoContrast 0.9
        """
    ),
    "svhn": _read(
        """
        ShearX 0.9 4, Invert 0.2
        ShearY 0.9 8, Invert 0.7
        Equalize 0.6, Solarize 0.6 6
        Invert 0.9, Equalize 0.6
        Equalize 0.6, Rotate 0.9 3
        ShearX 0.9 4, AutoContrast 0.8
        ShearY 0.9 8, Invert 0.4
        ShearY 0.9 5, Solarize 0.2 6
        Invert 0.9, AutoContrast 0.8
        Equalize 0.6, Rotate 0.9 3
        ShearX 0.9 4, Solarize 0.3 3
        ShearY 0.8 8, Invert 0.7
        Equalize 0.9, TranslateY 0.6 6
        Invert 0.9, Equalize 0.6
        Contrast 0.3 3, Rotate 0.8 4
        Invert 0.8, TranslateY 0 2
        ShearY 0.7 6, Solarize 0.4 8
        Invert 0.6, Rotate 0.8 4
        ShearY 0.3 7, TranslateX 0.9 3
        ShearX 0.1 6, Invert 0.6
        Solarize 0.7 2, TranslateY 0.6 7
        ShearY 0.8 4, Invert 0.8
        ShearX 0.7 9, TranslateY 0.8 3
        ShearY 0.8 5, AutoContrast 0.7
        ShearX 0.7 2, Invert 0.1
        """
    ),
}


class AutoAugment(Step):
    """Apply the two changes of a sub-policy that is chosen at random, each with its own probability and magnitude.

    As torchvision's AutoAugment.
    """

    op: Literal["auto_augment"]
    """Name of the operation."""
    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
    """The data set that the sub-policies were learned on."""
    filter: Sampling = "nearest"
    """How pixels are sampled by rotations, shears and translations, as Pillow does."""
    fill: Fill = (0,)
    """Level outside the image: one for all channels, or one for each."""

    @property
    def uniforms(self) -> int:
        """Which sub-policy; for each of its changes: whether it is applied, and its sign."""
        return 5

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the changes."""
        choice, *numbers = draws.tolist()
        policies = POLICIES[self.policy]
        chosen: list[Action] = []
        changes = policies[whole(len(policies), choice)]
        for (name, probability, place), chance, sign in zip(changes, numbers[0::2], numbers[1::2], strict=True):
            if chance < probability:
                magnitude = signed(name, magnitude_of(name, place, _BINS, image), sign)
                chosen += actions(name, magnitude, image, self.filter, self.fill)
        return chosen
