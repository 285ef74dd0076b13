"""Groups of items that share an epoch by weight: classes, the parts of a mixture, items of one weight.

A stream's plan holds them, so that every peer knows which item stands where. Groups are ranges of the source's order.
"""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

from pydantic import Field, model_validator

from penstock.protocol.spec.model import Model

#: Largest sum of weights that are kept exactly.
_MOST_WEIGHT = 2**53


class Phase(Model):
    """The weights of the groups from one epoch on."""

    from_epoch: int = Field(default=0, ge=0)
    """First epoch, from 0."""
    weights: tuple[int, ...]
    """Share of each group, relative to the sum of all."""


class Groups(Model):
    """Consecutive groups of a source's items, with their shares of an epoch."""

    sizes: tuple[int, ...] = Field(min_length=1)
    """Items of each group in the whole source."""
    phases: tuple[Phase, ...] = Field(min_length=1)
    """Weights by epoch, in ascending order."""

    @model_validator(mode="after")
    def _fit(self) -> "Groups":
        starts = [phase.from_epoch for phase in self.phases]
        if starts[0] != 0 or any(low >= high for low, high in itertools.pairwise(starts)):
            raise ValueError(f"phases from epochs {starts}: they must begin at 0 and ascend")
        for phase in self.phases:
            if len(phase.weights) != len(self.sizes) or min(phase.weights) < 0 or not any(phase.weights):
                raise ValueError(
                    f"phase from epoch {phase.from_epoch}: not a weight for each of {len(self.sizes)} groups"
                )
        return self

    def weights(self, epoch: int) -> tuple[int, ...]:
        """Return the weights in an epoch."""
        return next(phase.weights for phase in reversed(self.phases) if phase.from_epoch <= epoch)

    def members(self, shard: tuple[int, int]) -> list[int]:
        """Return how many items of each group belong to a shard, (index, count): every `count`-th of the group."""
        first, stride = shard
        return [len(range(first, size, stride)) for size in self.sizes]

    def most_even(self, shard: tuple[int, int]) -> int:
        """Return the longest epoch, in items, in which no item needs to come twice."""
        most = []
        for phase in self.phases:
            total = sum(phase.weights)
            most += [
                members * total // weight
                for members, weight in zip(self.members(shard), phase.weights, strict=True)
                if weight
            ]
        return min(most)


def whole(weights: Sequence[float]) -> tuple[int, ...]:
    """Return weights as whole numbers of the same proportions: exact if they have few decimals, else to 1 part in 10^9.

    A positive weight stays positive.
    """
    exact = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(each.denominator for each in exact))
    scaled = [int(each * scale) for each in exact]
    divisor = math.gcd(*scaled) or 1
    if sum(scaled) // divisor > _MOST_WEIGHT:
        unit = max(exact) * len(exact) / 10**12
        return tuple(max(1, round(each / unit)) if each else 0 for each in exact)
    return tuple(each // divisor for each in scaled)
