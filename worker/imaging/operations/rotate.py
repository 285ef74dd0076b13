"""Quarter turns as a manipulation."""

from typing import Literal

import numpy as np
from pydantic import Field

from penstock.protocol.spec.operation import Kernel, Manipulation, Pixels, Size, Unchanged, Window


class Rotate(Manipulation):
    """Rotation by quarter turns, counter-clockwise, as numpy's rot90."""

    kind: Literal["rot90"]
    """Kind of the manipulation."""
    turns: int = Field(default=1, ge=1, le=3)
    """Quarter turns."""

    @property
    def name(self) -> str:
        """Short name, such as `rot90`."""
        return f"rot{90 * self.turns}"

    def kernel(self) -> Kernel:
        """Return what computes its patches."""
        return _Turned(self.turns)

    def unturned(self, patch: Size) -> Size:
        """Return the size of the part that becomes a patch of this size when it is turned."""
        return (patch[1], patch[0]) if self.turns % 2 else patch


class _Turned(Unchanged):
    def __init__(self, turns: int) -> None:
        self._turns = turns

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        return np.rot90(window.of(pixels), self._turns)
