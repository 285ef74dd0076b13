"""Gamma correction as a manipulation."""

from typing import Literal

import numpy as np
from pydantic import Field

from penstock.protocol.spec.operation import Kernel, Manipulation, Pixels, Unchanged, Window
from penstock.worker.imaging.operations.names import digits


class Gamma(Manipulation):
    """Gamma correction: each value v of 0 to 255 becomes 255 · (v / 255)^value, rounded half up."""

    kind: Literal["gamma"]
    """Kind of the manipulation."""
    value: float = Field(gt=0, le=100, allow_inf_nan=False)
    """The exponent; below 1 brightens, above 1 darkens."""

    @property
    def name(self) -> str:
        """Short name, such as `gamma08`."""
        return f"gamma{digits(self.value)}"

    def kernel(self) -> Kernel:
        """Return what computes its patches."""
        return _Table([int(255.0 * (level / 255.0) ** self.value + 0.5) for level in range(256)])


class _Table(Unchanged):
    """Looks every level up in a table."""

    def __init__(self, levels: list[int]) -> None:
        self._levels: Pixels = np.array(levels, np.uint8)

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        import cv2

        part = window.of(pixels)
        changed = cv2.LUT(part, self._levels).reshape(part.shape)  # OpenCV drops the axis of a single channel
        return changed.astype(np.uint8, copy=False)
