"""Random brightness, contrast, saturation and hue, in random order."""

from collections.abc import Sequence
from functools import partial
from itertools import permutations
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Change, Float64s, Levels, Step
from penstock.worker.imaging.operations.color import blending
from penstock.worker.imaging.operations.parameters import between, ordered, whole

_ORDERS = tuple(permutations(range(4)))


def _about_one(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    return (max(0.0, 1.0 - value), 1.0 + value) if isinstance(value, int | float) and value >= 0 else value


def _about_zero(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    return (-value, value) if isinstance(value, int | float) else value


_Factor = Annotated[float, Field(ge=0, le=100)]
_Turn = Annotated[float, Field(ge=-0.5, le=0.5)]
_Factors = Annotated[tuple[_Factor, _Factor], BeforeValidator(_about_one), AfterValidator(ordered)]


class ColorJitter(Step):
    """Change brightness, contrast, saturation and hue by random amounts, in random order: torchvision's ColorJitter."""

    op: Literal["color_jitter"]
    """Name of the operation."""
    brightness: _Factors = (1.0, 1.0)
    """Least and greatest factor, uniform; 1 changes nothing. A single number b stands for [max(0, 1 - b), 1 + b]."""
    contrast: _Factors = (1.0, 1.0)
    """As `brightness`: 0 gives a grey image of the mean level."""
    saturation: _Factors = (1.0, 1.0)
    """As `brightness`: 0 gives the grey levels."""
    hue: Annotated[tuple[_Turn, _Turn], BeforeValidator(_about_zero), AfterValidator(ordered)] = (0.0, 0.0)
    """Least and greatest turn of the hue, as a fraction of the circle, -0.5 to 0.5; a single number h stands for
    [-h, h]."""

    @property
    def uniforms(self) -> int:
        """Order (one of 24), brightness, contrast, saturation, hue."""
        return 5

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return the changes in the drawn order, without those that the spec leaves alone."""
        del image
        order, *amounts = draws.tolist()
        brightness, contrast, saturation, hue = (
            between(low, high, draw)
            for (low, high), draw in zip(
                (self.brightness, self.contrast, self.saturation, self.hue), amounts, strict=True
            )
        )
        changes: list[Action | None] = [
            Levels(blending.brightness_table(brightness)) if self.brightness != (1.0, 1.0) else None,
            Change(partial(blending.contrast, factor=contrast)) if self.contrast != (1.0, 1.0) else None,
            Change(partial(blending.saturation, factor=saturation)) if self.saturation != (1.0, 1.0) else None,
            Change(partial(blending.hue, turn=hue)) if self.hue != (0.0, 0.0) else None,
        ]
        wanted = (changes[place] for place in _ORDERS[whole(len(_ORDERS), order)])
        return [change for change in wanted if change is not None]
