"""Padding as a step."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Step
from penstock.worker.imaging.operations.geometry import moves
from penstock.worker.imaging.operations.parameters import Fill


def _four(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    """Return one number, or one for left and right and one for top and bottom, as four."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,) * 4
    if isinstance(value, list | tuple) and len(value) == 2:  # noqa: PLR2004 - a pair
        return (*value, *value)
    return value


_Pixels = Annotated[int, Field(ge=0, le=4096)]
Margins = Annotated[tuple[_Pixels, _Pixels, _Pixels, _Pixels], BeforeValidator(_four)]


class Pad(Step):
    """Add pixels around the image, as torchvision's Pad. Draws no numbers."""

    op: Literal["pad"]
    """Name of the operation."""
    padding: Margins
    """Pixels added left, top, right and bottom; two numbers: left and right, top and bottom; one: on all sides."""
    mode: moves.PadMode = "constant"
    """How the image continues: `constant` (one colour), `edge` (aaa|abcd|ddd), `reflect` (dcb|abcd|cba) or `symmetric`
    (cba|abcd|dcb)."""
    fill: Fill = (0,)
    """Level of the padding where `mode` is `constant`: one for all channels, or one for each."""

    def size_after(self, image: Size | None) -> Size | None:
        """Return the size with the padding."""
        return None if image is None else self.move().size(image)

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the padding."""
        del image, draws
        return (self.move(),)

    def move(self) -> moves.Pad:
        """Return the padding as a move."""
        left, top, right, bottom = self.padding
        return moves.Pad(top, left, bottom, right, self.mode, self.fill)
