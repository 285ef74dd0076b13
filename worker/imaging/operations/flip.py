"""Mirroring as a step."""

from typing import Literal

from penstock.protocol.spec.operation import Float64s, Pixels, Step


class Flip(Step):
    """Mirror the sample, with probability `p`. Draws no numbers of its own."""

    op: Literal["flip"]
    """Name of the operation."""
    direction: Literal["horizontal", "vertical"] = "horizontal"
    """`horizontal` exchanges left and right; `vertical` exchanges top and bottom."""

    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the mirrored sample."""
        from penstock.worker.imaging.augment.apply import flip

        del draws
        flip(pixels, pixels, horizontal=self.direction == "horizontal", vertical=self.direction == "vertical")
        return pixels
