"""Mirroring as a step."""

from collections.abc import Sequence
from typing import Literal

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry.moves import Mirror


class Flip(Step):
    """Mirror the sample, with probability `p`. Draws no numbers of its own."""

    op: Literal["flip"]
    """Name of the operation."""
    direction: Literal["horizontal", "vertical"] = "horizontal"
    """`horizontal` exchanges left and right; `vertical` exchanges top and bottom."""

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the mirroring."""
        del image, draws
        return (Mirror(horizontal=self.direction == "horizontal", vertical=self.direction == "vertical"),)
